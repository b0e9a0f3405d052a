"""What is asked of a corrector, and what became of it. Knows nothing of engines and prompts."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from corrector.objectives import Objective
from corrector.templates import Turn

Verdict = Literal["corrected", "unchanged", "kept_original", "skipped", "failed"]

# Of several choices: an answer's verdict is the first of these that one of them has.
_GRAVEST_CHOICE: tuple[Verdict, ...] = ("failed", "kept_original", "corrected", "unchanged", "skipped")
REST_REFUSED = "; the rest is refused"  # of a reason, where what comes behind a refusal was left out
_GRAVEST: tuple[Verdict, ...] = ("failed", "corrected", "kept_original", "unchanged", "skipped")


@dataclass(frozen=True, slots=True)
class Task:
    """What to correct. `live`: pieces come as they are made; else only once the gate has passed.

    `segment`: the draft is only a stretch of an answer. `salt`: an engine that can shares computed prefixes among
    tasks of the same salt only. `headers` go to the engine with whatever it is asked.

    `required`: those of the objectives that hold whatever else is asked for. `defined`: those that are in the words of
    who asks.
    """

    context: tuple[Turn, ...]
    draft: str
    objectives: tuple[Objective, ...]
    live: bool = False
    keep_draft_on_failure: bool = True
    segment: bool = False
    salt: str = ""
    headers: Mapping[str, str] | None = None
    required: tuple[Objective, ...] = ()
    defined: tuple[Objective, ...] = ()

    @property
    def may_refuse(self) -> bool:
        return any(aim.may_refuse for aim in self.objectives)

    @property
    def may_change_script(self) -> bool:
        return any(aim.other_script for aim in self.objectives)

    @property
    def only_required(self) -> "Task":
        """The same toward what is required alone."""
        return replace(self, objectives=self.required, defined=())

    @property
    def must_be_able_to_refuse(self) -> bool:
        return any(aim.may_refuse for aim in self.required)

    @property
    def configured(self) -> tuple[Objective, ...]:
        """The objectives whose words who asks may not know."""
        return tuple(aim for aim in self.objectives if aim not in self.defined)


@dataclass(slots=True)
class Correction:
    """What became of one draft. `text` is what was sent, whole; `started` a `time.monotonic()`, 0 if nothing was.

    `refused`: it, or its end, is a refusal by what is required, so nothing may follow it. `error` says of a verdict
    `failed` what went wrong, and holds no key and no text of a user.
    """

    text: str
    verdict: Verdict
    reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    parts: int = 1
    dropped_turns: int = 0
    shortened_turn: bool = False  # of the turns that are left, the oldest has lost its middle
    resumed_at: int | None = None
    queue_s: float | None = None  # until the engine's answer began
    first_token_s: float | None = None
    total_s: float = 0.0
    started: float = 0.0
    gate_s: float = 0.0  # of all of the gate's looks together
    refused: bool = False
    error: str = ""


async def last(pieces: AsyncGenerator[str | Correction, None]) -> Correction:
    """What became of a draft, for who does not want the pieces. Raises what they raise."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Correction):
                return piece
    raise AssertionError("a correction ends in its Correction")


def verdict_of_parts(parts: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    """One verdict for all parts: any failure, else any rewriting, else any fault, else unchanged; and its reason."""
    verdicts = [verdict for verdict, _ in parts]
    gravest = next(verdict for verdict in _GRAVEST if verdict in verdicts)
    reason = ",".join(dict.fromkeys(reason for verdict, reason in parts if verdict == gravest))
    kept = verdicts.count("kept_original")
    if gravest == "corrected" and kept:
        reason = f"{reason}; {kept} of {len(parts)} parts kept"
    return gravest, reason


def verdict_of_choices(choices: Iterable[Correction]) -> Correction | None:
    """The correction whose verdict is that of an answer of several choices; None where there is none."""
    return min(choices, key=lambda correction: _GRAVEST_CHOICE.index(correction.verdict), default=None)


def first_resumed(parts: Iterable[tuple[str, int | None]]) -> int | None:
    """Where, in the joined texts, the first of them went back to its draft, if one did."""
    offset = 0
    for text, resumed_at in parts:
        if resumed_at is not None:
            return offset + resumed_at
        offset += len(text)
    return None
