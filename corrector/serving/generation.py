"""One answer on its way: its tokens so far, what ends it, and who is told. Knows neither model nor HTTP."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from corrector.serving.detokenizer import IncrementalDetokenizer
from corrector.serving.lookup import Lookup

if TYPE_CHECKING:
    import torch

    from corrector.serving.continuous_batching import KVCache

Finish = Literal["stop", "length"]
OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, slots=True)
class Piece:
    """A bit more of the answer; the last one says why it is the last."""

    text: str
    finish: Finish | None = None
    failure: str | None = None
    code: str | None = None  # of the failure


@dataclass(frozen=True, slots=True)
class Sampling:
    """`temperature` 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(slots=True, eq=False)
class Generation:
    """`ids` begins with the prompt. `tell` is called by the thread that decodes."""

    ids: list[int]
    limit: int  # tokens that the answer may have
    eos_token_ids: frozenset[int]
    detokenizer: IncrementalDetokenizer
    tell: Callable[[Piece], Any]
    sampling: Sampling = Sampling()
    lookup: Lookup | None = None
    prompt_tokens: int = field(init=False)
    finish: Finish | None = field(default=None, init=False)
    cancelled: bool = field(default=False, init=False)  # nobody waits for it any more
    cache: "KVCache | None" = field(default=None, init=False)  # if the decoder keeps one
    random: "torch.Generator | None" = field(default=None, init=False)  # that tokens are drawn with

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.ids)

    @property
    def generated(self) -> int:
        return len(self.ids) - self.prompt_tokens

    def take(self, tokens: Iterable[int]) -> None:
        """The next tokens of the answer; those beyond its end are left out."""
        text = ""
        for token in tokens:
            self.ids.append(token)
            if token not in self.eos_token_ids:
                text += self.detokenizer.add(token)
            if token in self.eos_token_ids or self.detokenizer.stopped:
                self.finish = "stop"
            elif self.generated >= self.limit:
                self.finish = "length"
            if self.finish:
                text += self.detokenizer.end()
                break
        if text or self.finish:
            self.tell(Piece(text, self.finish))

    def fail(self, why: str, code: str | None = None) -> None:
        self.cancelled = True
        self.tell(Piece("", failure=why, code=code))
