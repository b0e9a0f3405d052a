"""Generations decoded together, each with keys and values of its own: continuous batching without padding.

All tokens of a step go through the model as one sequence, so that its weights are read once for all generations; only
attention, which this file puts in the place of the model's own, takes them apart. So one may enter or leave at any
step, be in the middle of its prompt while others write, and check several proposed tokens at once.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from corrector.serving.generation import Generation
from corrector.serving.sampling import choose

BLOCK = 256  # keys and values grow by so many tokens
STEP_TOKENS = 512  # of prompts in one step, so that a long one does not keep the others waiting


class KVCache:
    """Of one generation, layer by layer. The first `known` tokens are good; what is beyond them is written over."""

    def __init__(self) -> None:
        self.known = 0
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values of a layer, (1, heads, tokens, size), with the new ones after the known ones."""
        end = self.known + key.shape[2]
        kept = self._layers.get(layer)
        if kept is None or kept[0].shape[2] < end:
            room = -(-end // BLOCK) * BLOCK
            kept = self._layers[layer] = tuple(
                self._grown(kept and kept[which], new, room) for which, new in enumerate((key, value))
            )
        for all_of_it, new in zip(kept, (key, value), strict=True):
            all_of_it[:, :, self.known : end] = new
        return kept[0][:, :, :end], kept[1][:, :, :end]

    def _grown(self, old: torch.Tensor | None, new: torch.Tensor, room: int) -> torch.Tensor:
        grown = new.new_empty((*new.shape[:2], room, new.shape[3]))
        if old is not None:
            grown[:, :, : self.known] = old[:, :, : self.known]
        return grown


class Part:
    """What one generation adds to a step: its tokens from `cache.known` on, as far as they fit, and proposed ones.

    `at`: where in the step they begin. `complete`: are its last tokens among them, so that the next may be told?
    """

    def __init__(self, cache: KVCache, tokens: list[int], proposed: list[int], at: int, *, complete: bool) -> None:
        self.cache = cache
        self.proposed = proposed
        self.tokens = tokens + proposed
        self.where = slice(at, at + len(self.tokens))
        self.complete = complete
        self._masks: dict[int | None, torch.Tensor | None] = {}

    @property
    def positions(self) -> range:
        return range(self.cache.known, self.cache.known + len(self.tokens))

    @property
    def wanted(self) -> range:
        """Where in the step the logits are: after the last token, and after each proposed one."""
        return range(self.where.stop - len(self.proposed) - 1, self.where.stop) if self.complete else range(0)

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor | None:
        """Which keys each of the tokens may look at; None for all. The same for every layer with the same window."""
        if window not in self._masks:
            known, new = self.cache.known, len(self.tokens)
            outside_window = window is not None and known + new > window
            made = None
            if outside_window or (known and new > 1):
                at = torch.arange(known, known + new, device=device)[:, None]
                before = torch.arange(known + new, device=device)[None, :]
                made = before <= at
                if outside_window:
                    made &= before > at - window
            self._masks[window] = made
        return self._masks[window]


class ContinuousBatching:
    """A model that generations go through together. Raises `ValueError` for one whose attention cannot be replaced."""

    def __init__(self, model: Any, draft_length: int = 0, draft_in_flight: int = 1) -> None:
        self._model = model
        self._draft_length = draft_length
        self._draft_in_flight = draft_in_flight
        self._parts: list[Part] = []
        plain = model.config._attn_implementation
        try:
            self._compare()
        except Exception as error:  # whatever a model of unknown code answers to this, it is a no
            model.set_attn_implementation(plain)
            raise ValueError(f"{type(model).__name__} cannot take several answers at once: {error}") from error

    def step(self, generations: list[Generation]) -> None:
        """Every one a step further: into its prompt, or one token on, or as many as were rightly proposed."""
        divided = list(self._divided(generations))
        self._parts = [part for _, part in divided]
        logits = self._logits([at for part in self._parts for at in part.wanted])
        best = logits.argmax(-1).tolist()
        at = 0
        for generation, part in divided:
            here = slice(at, at + len(part.wanted))
            at = here.stop
            part.cache.known += len(part.tokens) - len(part.proposed)
            if not part.complete:
                continue
            if generation.sampling.temperature > 0:
                _draw(logits[here][0], generation)
                continue
            right = _agreed(part.proposed, best[here])
            part.cache.known += right
            generation.take(best[here][: right + 1])
        self._parts = []

    def step_tokens(self, generations: list[Generation]) -> int:
        return min(STEP_TOKENS, sum(len(one.ids) - (one.cache.known if one.cache else 0) for one in generations))

    def _divided(self, generations: list[Generation]) -> Iterator[tuple[Generation, Part]]:
        """Those that write first, a token each; then prompts in their order, until the step is full."""
        unread: list[tuple[Generation, KVCache, list[int]]] = []
        for generation in generations:
            generation.cache = cache = generation.cache or KVCache()
            unread.append((generation, cache, generation.ids[cache.known :]))
        left = STEP_TOKENS
        at = 0
        for generation, cache, rest in sorted(unread, key=lambda one: len(one[2]) > 1):
            writes = len(rest) == 1
            tokens = rest if writes else rest[:left]
            if not tokens:
                continue
            proposed: list[int] = []
            if writes and generation.lookup and len(generations) <= self._draft_in_flight:
                room = min(self._draft_length, generation.limit - generation.generated - 1)
                proposed = generation.lookup.propose(generation.ids, room)
            if not writes:
                left -= len(tokens)
            part = Part(cache, tokens, proposed, at, complete=len(tokens) == len(rest))
            yield generation, part
            at = part.where.stop

    def _logits(self, wanted: list[int]) -> torch.Tensor:
        device = self._model.device
        ids = [token for part in self._parts for token in part.tokens]
        positions = [position for part in self._parts for position in part.positions]
        with torch.inference_mode():
            answered = self._model(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([positions], device=device),
                use_cache=False,
                logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=device),
            )
        logits: torch.Tensor = answered.logits[0]
        return logits

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any,
        scaling: float | None = None, sliding_window: int | None = None, **more: Any,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        """In the place of the model's own attention, at every layer: (1, heads, tokens, size) each."""
        if attention_mask is not None or any(more.get(name) is not None for name in ("softcap", "s_aux")):
            raise NotImplementedError("its attention is of a kind of its own")
        done = []
        for part in self._parts:
            new = part.where
            keys, values = part.cache.extend(module.layer_idx, key[:, :, new], value[:, :, new])
            mask = part.mask(sliding_window, query.device)
            causal = mask is None and len(part.tokens) > 1
            grouped = query.shape[1] != keys.shape[1]
            done.append(
                scaled_dot_product_attention(
                    query[:, :, new], keys, values, attn_mask=mask, is_causal=causal, scale=scaling, enable_gqa=grouped
                )
            )
        return torch.cat(done, dim=2).transpose(1, 2), None

    def _compare(self) -> None:
        """Two, of a prompt and one more token each, have to come out as the model says of each alone."""
        from transformers import AttentionInterface

        model = self._model
        shapes, vocabulary = ((5, 12), (11, 7)), model.config.vocab_size
        prompts = [[(start + 7 * n) % vocabulary for n in range(size)] for start, size in shapes]
        with torch.inference_mode():
            alone = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -2:] for ids in prompts]
        name = f"batched_{id(self)}"  # among all attentions that transformers knows, and not another model's
        AttentionInterface.register(name, self.attend)
        model.set_attn_implementation(name)
        caches = [KVCache() for _ in prompts]
        for which, (start, end) in enumerate(((0, -1), (-1, None))):
            self._parts, at = [], 0
            for ids, cache in zip(prompts, caches, strict=True):
                self._parts.append(Part(cache, ids[start:end], [], at, complete=True))
                at = self._parts[-1].where.stop
            together = self._logits([part.where.stop - 1 for part in self._parts])
            for part, ours, theirs in zip(self._parts, together, alone, strict=True):
                part.cache.known += len(part.tokens)
                if not torch.allclose(ours, theirs[which], atol=0.1 * float(theirs[which].std()), rtol=0.05):
                    raise NotImplementedError("it says otherwise of one that is not alone")
        self._parts = []


def _draw(logits: torch.Tensor, generation: Generation) -> None:
    """The next token. One that cannot be drawn is this answer's failure, and not that of all who share the step."""
    try:
        token = choose(logits, generation)
    except (RuntimeError, ValueError) as error:
        generation.fail(f"no token can be drawn: {error}")
    else:
        generation.take([token])


def _agreed(proposed: Sequence[int], best: Sequence[int]) -> int:
    """How many of the proposed tokens are what greedy decoding would have written."""
    for count, (token, wanted) in enumerate(zip(proposed, best, strict=False)):
        if token != wanted:
            return count
    return len(proposed)
