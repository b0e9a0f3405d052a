"""What was changed from one text to another, by words."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from rapidfuzz.distance import LCSseq

Kind = Literal["=", "-", "+"]

_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
# A bit for each word of the one and each of the other is kept: 50 MB here. Beyond it lines are compared, or nothing.
MANY = 400_000_000


def diff(before: str, after: str) -> list[tuple[Kind, str]]:
    """What stays, what was taken out, and what was put in, in order; joined without `+` it is `before` again."""
    cuts: list[tuple[list[str], list[str]]] = [
        (_WORD.findall(before), _WORD.findall(after)),
        (before.splitlines(keepends=True), after.splitlines(keepends=True)),
        ([before] if before else [], [after] if after else []),
    ]
    old, new = next(cut for cut in cuts if len(cut[0]) * len(cut[1]) <= MANY)
    told: list[tuple[Kind, str]] = []
    for same, run in groupby(LCSseq.opcodes(old, new), key=lambda step: step.tag == "equal"):
        steps = list(run)
        out = _joined(old, steps[0].src_start, steps[-1].src_end)
        put = _joined(new, steps[0].dest_start, steps[-1].dest_end)
        said: list[tuple[Kind, str]] = [("=", out)] if same else [("-", out), ("+", put)]
        told += [(kind, words) for kind, words in said if words]
    return told


def changed(before: str, after: str) -> float:
    """How much, as a share of 1: of the different words of both texts, those that the other lacks. Cheap."""
    if before == after:
        return 0.0
    old, new = set(before.split()), set(after.split())
    both = len(old) + len(new)
    return round(1 - 2 * len(old & new) / both, 4) if both else 0.0


def _joined(words: Sequence[str], start: int, end: int) -> str:
    return "".join(words[start:end])
