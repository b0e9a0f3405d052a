"""Words, also of what is written without spaces between them: there a character stands for a part of one.

Pure functions over text. Korean, Hindi and Arabic have spaces, as Latin letters have.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

A_FEW = 3.0  # words that say something of their own; eight characters of what has no spaces
_PART_OF_A_WORD = 3 / 8  # what such a character is taken for: a Chinese word has two, a Thai one four or five
# Thai, Lao, Burmese and Khmer without their figures; kana without the mark that parts words; Chinese characters.
UNSPACED = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ece\u1000-\u103f\u1780-\u17d3"
    r"\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_CHARACTER = re.compile(rf"[{UNSPACED}]")
_SPACED = rf"[^\W{UNSPACED}]"


def split(text: str) -> list[str]:
    """As `str.split()`, but what is written without spaces comes character by character."""
    return _WORD.findall(text)


def worth(words: Iterable[str]) -> float:
    """How many words they are, where a character is a part of one."""
    return sum(_PART_OF_A_WORD if _unspaced(word) else 1 for word in words)


def pattern(words: Sequence[str]) -> str:
    """Of these words one after the other, and no longer ones, whatever white space stands between them."""
    found = re.escape(words[0]) if _unspaced(words[0]) else rf"(?<!{_SPACED}){re.escape(words[0])}"
    for before, word in pairwise(words):
        gap = r"\s*" if _unspaced(before) or _unspaced(word) else r"\s+"
        found += gap + re.escape(word)
    return found if _unspaced(words[-1]) else rf"{found}(?!{_SPACED})"


def counted(text: str) -> Counter[str]:
    """How often each is said, in small letters. A character together with the next two: all texts share single ones."""
    words = split(text.lower())
    return Counter("".join(words[at : at + 3]) if _unspaced(word) else word for at, word in enumerate(words))


def _unspaced(word: str) -> bool:
    return _CHARACTER.match(word) is not None
