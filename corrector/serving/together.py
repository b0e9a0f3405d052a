"""Rows decoded together, each with keys and values of its own: continuous batching without padding.

All tokens of a step go through the model as one sequence, so that its weights are read once for all rows; only
attention, which this file puts in the place of the model's own, takes the rows apart. So a row may enter or leave at
any step, be in the middle of its prompt while others write, and check several proposed tokens at once.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from corrector.serving.row import Row
from corrector.serving.sampling import choose

BLOCK = 256  # keys and values grow by so many tokens
STEP_TOKENS = 512  # of prompts in one step, so that a long one does not keep the others waiting


class Kept:
    """Keys and values of one row, layer by layer. The first `known` tokens are good; what is beyond is written over."""

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
    """What one row adds to a step: its tokens from `kept.known` on, as far as they fit, and then proposed ones."""

    def __init__(self, row: Row, tokens: list[int], proposed: list[int], at: int) -> None:
        self.row = row
        self.kept: Kept = row.state
        self.proposed = proposed
        self.tokens = tokens + proposed
        self.where = slice(at, at + len(self.tokens))
        self.reaches_end = self.kept.known + len(tokens) == len(row.ids)
        self._masks: dict[int | None, torch.Tensor | None] = {}

    @property
    def positions(self) -> range:
        return range(self.kept.known, self.kept.known + len(self.tokens))

    def asked(self) -> range:
        """Where in the step the logits are wanted: after the row's last token, and after each proposed one."""
        return range(self.where.stop - len(self.proposed) - 1, self.where.stop) if self.reaches_end else range(0)

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor | None:
        """Which keys each of the tokens may look at; None for all. The same for every layer with the same window."""
        if window not in self._masks:
            known, new = self.kept.known, len(self.tokens)
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


class Together:
    """A model that rows can go through together. Raises `ValueError` for one whose attention is not to be replaced."""

    def __init__(self, model: Any, draft_length: int = 0, draft_in_flight: int = 1) -> None:
        self._model = model
        self._draft_length = draft_length
        self._draft_in_flight = draft_in_flight
        self._parts: list[Part] = []
        self.steps = 0
        plain = model.config._attn_implementation
        try:
            self._compare()
        except Exception as error:  # whatever a model of unknown code answers to this, it is a no
            model.set_attn_implementation(plain)
            raise ValueError(f"{type(model).__name__} cannot take several rows at once: {error}") from error

    def step(self, rows: Sequence[Row]) -> None:
        """Every row one step further: into its prompt, or one token on, or as many as were rightly proposed."""
        self._parts = list(self._divided(rows))
        asked = [at for part in self._parts for at in part.asked()]
        logits = self._logits(asked)
        best = logits.argmax(-1).tolist()
        at = 0
        for part in self._parts:
            here = slice(at, at + len(part.asked()))
            at = here.stop
            part.kept.known += len(part.tokens) - len(part.proposed)
            if not part.reaches_end:
                continue
            if part.row.sampling.temperature > 0:
                _draw(logits[here][0], part.row)
                continue
            right = _agreed(part.proposed, best[here])
            part.kept.known += right
            part.row.take(best[here][: right + 1])
        self._parts = []
        self.steps += 1

    def _divided(self, rows: Sequence[Row]) -> Iterator[Part]:
        """Rows that write first, a token each; then prompts in their order, until the step is full."""
        for row in rows:
            row.state = row.state or Kept()
        left = STEP_TOKENS
        at = 0
        for row in sorted(rows, key=lambda row: len(row.ids) - row.state.known > 1):
            tokens = row.ids[row.state.known :][:left]
            if not tokens:
                continue
            proposed: list[int] = []
            if len(tokens) == 1 and row.lookup and len(rows) <= self._draft_in_flight:
                room = min(self._draft_length, row.limit - row.generated - 1)
                proposed = row.lookup.propose(row.ids, room)
            if len(tokens) > 1:
                left -= len(tokens)
            yield (part := Part(row, tokens, proposed, at))
            at = part.where.stop

    def _logits(self, asked: list[int]) -> torch.Tensor:
        device = self._model.device
        ids = [token for part in self._parts for token in part.tokens]
        positions = [position for part in self._parts for position in part.positions]
        with torch.inference_mode():
            answered = self._model(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.tensor([positions], device=device),
                use_cache=False,
                logits_to_keep=torch.tensor(asked, dtype=torch.long, device=device),
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
            keys, values = part.kept.extend(module.layer_idx, key[:, :, new], value[:, :, new])
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
        """Two rows, of a prompt and one more token each, have to come out as the model says of each alone."""
        from transformers import AttentionInterface

        model = self._model
        rows = [[(start + 7 * n) % model.config.vocab_size for n in range(size)] for start, size in ((5, 12), (11, 7))]
        with torch.inference_mode():
            alone = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -2:] for ids in rows]
        name = f"rows_{id(self)}"  # among all attentions that transformers knows, and not another model's
        AttentionInterface.register(name, self.attend)
        model.set_attn_implementation(name)
        kept = [Kept() for _ in rows]
        for which, (start, end) in enumerate(((0, -1), (-1, None))):
            self._parts, at = [], 0
            for ids, state in zip(rows, kept, strict=True):
                row = Row(ids[:end], 1, frozenset(), text=None, tell=_nobody)  # type: ignore[arg-type]
                row.state = state
                self._parts.append(Part(row, ids[start:end], [], at))
                at = self._parts[-1].where.stop
            together = self._logits([part.where.stop - 1 for part in self._parts])
            for part, ours, theirs in zip(self._parts, together, alone, strict=True):
                part.kept.known += len(part.tokens)
                if not torch.allclose(ours, theirs[which], atol=0.1 * float(theirs[which].std()), rtol=0.05):
                    raise NotImplementedError("it says otherwise of a row that is not alone")
        self._parts = []


def _draw(logits: torch.Tensor, row: Row) -> None:
    """The row's next token. One that cannot be drawn is this row's failure, and not that of all who share the step."""
    try:
        token = choose(logits, row)
    except (RuntimeError, ValueError) as error:
        row.fail(f"no token can be drawn: {error}")
    else:
        row.take([token])


def _agreed(proposed: Sequence[int], best: Sequence[int]) -> int:
    """How many of the proposed tokens are what greedy decoding would have written."""
    for count, (token, wanted) in enumerate(zip(proposed, best, strict=False)):
        if token != wanted:
            return count
    return len(proposed)


def _nobody(_: object) -> None:
    return
