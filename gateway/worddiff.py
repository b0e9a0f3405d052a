"""What was changed from one text to another, by words."""

import difflib
import re
from collections import Counter
from typing import Literal

Kind = Literal["=", "-", "+"]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
# Beyond so many words on both sides together the exact way takes seconds: lines then stand for words.
MANY_WORDS = 8_000


def diff(before: str, after: str) -> list[tuple[Kind, str]]:
    """What stays, what was taken out, and what was put in, in order; joined without `+` it is `before` again."""
    cut = _WORD.findall if len(before) + len(after) < MANY_WORDS * 6 else _lines
    old, new = cut(before), cut(after)
    told: list[tuple[Kind, str]] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            told.append(("=", "".join(old[i:j])))
            continue
        if i < j:
            told.append(("-", "".join(old[i:j])))
        if k < m:
            told.append(("+", "".join(new[k:m])))
    return told


def changed(before: str, after: str) -> float:
    """How much, as a share of 1: of the words of both texts, those that the other lacks. Cheap; ignores their order."""
    if before == after:
        return 0.0
    old, new = Counter(before.split()), Counter(after.split())
    both = old.total() + new.total()
    return round(1 - 2 * (old & new).total() / both, 4) if both else 0.0


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
