"""Drafts and corrections to be read by somebody who does not know which is which, and what they said, counted.

A seed decides what is drawn and which of the two stands first, so that nothing has to be kept beside the sheet.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from train.evaluate import Outcome
from train.rows import DataError

_VOTE = re.compile(r"\s*(\d+)\s+(A|B|tie)\s*(?:#.*)?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A pair of the sheet. `swapped`: the correction stands first."""

    outcome: Outcome
    swapped: bool

    @property
    def texts(self) -> tuple[str, str]:
        both = (self.outcome.draft, self.outcome.correction)
        return both[::-1] if self.swapped else both


def drawn(outcomes: Sequence[Outcome], count: int, seed: int) -> list[Shown]:
    """At most `count` of the outcomes whose correction is another text than the draft; the same two texts once."""
    once: dict[tuple[str, str, str], Outcome] = {}
    for one in outcomes:
        once.setdefault((one.query, one.draft, one.correction), one)
    changed = [one for one in once.values() if one.correction.strip() != one.draft.strip()]
    random.Random(seed).shuffle(changed)  # noqa: S311 - a sample, not a secret
    # Of its own draw, and not the next one's of all: with another count a pair has the same sides.
    draws = (random.Random(f"{seed} {one.draft} {one.correction}") for one in changed)  # noqa: S311
    return [Shown(one, draw.random() < 0.5) for one, draw in zip(changed[:count], draws, strict=False)]


def sheet(shown: Sequence[Shown]) -> str:
    """Markdown to read."""
    parts = ["Which is better? Write a line for each pair into a file: its number, and A, B or tie. `#` begins a note."]
    for number, one in enumerate(shown, 1):
        first, second = one.texts
        parts.append(f"# {number}\n\n{one.outcome.query}\n\n## A\n\n{first}\n\n## B\n\n{second}")
    return "\n\n".join(parts) + "\n"


def counted(shown: Sequence[Shown], votes: str, name: str) -> Counter[str]:
    """`correction`, `draft` and `tie`. Raises `DataError` where a line is no vote, or names no pair of the sheet."""
    said: dict[int, str] = {}
    for line, text in enumerate(votes.splitlines(), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        vote = _VOTE.match(text)
        if vote is None or not 1 <= int(vote[1]) <= len(shown):
            raise DataError(f"{name}:{line}: a number of 1 to {len(shown)} and A, B or tie, not {text.strip()!r}")
        said[int(vote[1])] = vote[2].upper()
    told: Counter[str] = Counter()
    for number, choice in said.items():
        correction = "A" if shown[number - 1].swapped else "B"
        told["tie" if choice == "TIE" else "correction" if choice == correction else "draft"] += 1
    return told
