"""Requests to generations: texts to tokens, by the model's tokenizer, and wishes to limits that can be kept."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from corrector.serving.detokenizer import IncrementalDetokenizer
from corrector.serving.generation import Generation, Piece, Sampling
from corrector.serving.lookup import Lookup
from corrector.serving.request import CompletionRequest, Refused

GREEDY_BELOW = 1e-5  # logits that are divided by less leave what a float holds
SEEDS = 2**64  # so many there are


@dataclass(frozen=True, slots=True)
class Limits:
    """`lookup`: tokens that prompt lookup goes by, 0 for none."""

    context: int
    max_tokens: int
    lookup: int = 0


class Decoding(Protocol):
    """Where generations go on: `worker.Worker`."""

    def submit(self, generation: Generation) -> None: ...

    def stalled(self) -> bool: ...


class Generator:
    """One model by name, its tokenizer, and what decodes with it."""

    def __init__(
        self, name: str, tokenizer: Any, eos_token_ids: frozenset[int], limits: Limits, decoding: Decoding
    ) -> None:
        self.name = name
        self.submit = decoding.submit
        self.stalled = decoding.stalled
        self._tokenizer = tokenizer
        self._decoding = copy.deepcopy(tokenizer)  # is used by another thread, and a tokenizer is not for two
        self._eos_token_ids = eos_token_ids
        self._limits = limits

    def prompt_of_text(self, prompt: str | list[Any]) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer(prompt)["input_ids"])
        if any(not 0 <= token < len(self._tokenizer) for token in prompt):
            raise Refused("prompt: there is no such token", "prompt")
        return prompt

    def prompt_of_messages(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> list[int]:
        """In the model's own template, which may refuse some."""
        from jinja2 import TemplateError

        if not self._tokenizer.chat_template:
            raise Refused(f"{self.name} has no chat template: it completes texts, at /v1/completions", "messages")
        # Variables of the template may be set; what the tokenizer itself is told, such as another template, may not.
        if ours := sorted(variables.keys() & inspect.signature(self._tokenizer.apply_chat_template).parameters):
            raise Refused(f"chat_template_kwargs: {ours[0]} is not for a request to set", "chat_template_kwargs")
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **variables
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise Refused(f"messages: the model's chat template cannot render them: {error}", "messages") from None
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def generation(
        self, prompt: list[int], request: CompletionRequest, limit: int | None, tell: Callable[[Piece], Any]
    ) -> Generation:
        if not prompt:
            raise Refused("the prompt is empty", "prompt")
        room = self._limits.context - len(prompt)
        if room < 1:
            most = self._limits.context
            told = f"This model's maximum context length is {most} tokens, and the prompt has {len(prompt)}"
            raise Refused(told, code="context_length_exceeded")
        sampling = _sampling(request)
        drafts = self._limits.lookup and sampling.temperature == 0  # what is drawn is not held against a proposal
        return Generation(
            prompt,
            limit=min(limit or self._limits.max_tokens, room),
            eos_token_ids=self._eos_token_ids,
            detokenizer=IncrementalDetokenizer(self._text_of, prompt, request.stops),
            tell=tell,
            sampling=sampling,
            lookup=Lookup(self._limits.lookup) if drafts else None,
        )

    def _text_of(self, ids: list[int]) -> str:
        return self._decoding.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)  # type: ignore[no-any-return]


def _sampling(request: CompletionRequest) -> Sampling:
    temperature = 1.0 if request.temperature is None else request.temperature
    return Sampling(
        temperature if temperature >= GREEDY_BELOW else 0.0,
        1.0 if request.top_p is None else request.top_p,
        None if request.seed is None else request.seed % SEEDS,
    )
