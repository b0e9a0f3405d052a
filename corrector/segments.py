"""Cuts long text into parts that fit a corrector, at the gentlest border there is.

Pure functions; `"".join(split(text, size)) == text`. Lengths are estimated tokens: no tokenizer is at
hand for an engine behind a URL, so the estimate errs on the long side.
"""

import re
from collections import Counter

_BORDERS = (
    re.compile(r"\n[ \t]*\n+"),  # paragraphs
    re.compile(r"\n"),  # lines, list items
    re.compile(r"[.!?…。！？][\"')\]]*\s+|[。！？]"),  # sentences
    re.compile(r"\s+"),  # words
)


def tokens(text: str) -> int:
    """Estimated tokens, rather too many: 3 characters of ASCII, or 1 of anything else, make one."""
    ascii_chars = len(text.encode("ascii", "ignore"))
    return (ascii_chars + 2) // 3 + (len(text) - ascii_chars)


def split(text: str, size: int) -> list[str]:
    """Parts of at most `size` estimated tokens, as few and as whole as the borders allow."""
    parts: list[str] = []
    start = 0
    while len(text) - start > size * 3 or tokens(text[start:]) > size:
        cut = _cut(text[start : start + size * 3 + 1], size)
        parts.append(text[start : start + cut])
        start += cut
    if start < len(text) or not parts:
        parts.append(text[start:])
    return parts


def _cut(text: str, size: int) -> int:
    """Where to cut: the last border, of the best kind, that leaves a part neither too long nor tiny."""
    limit = _longest(text, size)
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(text, 0, limit) if match.end() > limit // 3]
        if ends:
            return ends[-1]
    # No border at all. A placeholder of protect.py must not be cut in two, though.
    halved = re.compile(r"\[\[?\d*\]?\Z").search(text, 0, limit)
    return halved.start() if halved and halved.start() else limit


def _longest(text: str, size: int) -> int:
    """The most characters, at least one, from the start that are at most `size` tokens."""
    low, high = 1, min(len(text), size * 3)
    while low < high:
        middle = (low + high + 1) // 2
        if tokens(text[:middle]) <= size:
            low = middle
        else:
            high = middle - 1
    return low


def shorten(text: str, size: int) -> str:
    """The head and the tail of a text that is too long, with a mark where its middle was."""
    if tokens(text) <= size:
        return text
    half = max(1, size // 2)
    head = text[: _longest(text, half)]
    tail = text[::-1][: _longest(text[::-1], half)][::-1]
    return f"{head}\n[...]\n{tail}"


def resumed(draft: str, written: str) -> tuple[int, bool]:
    """How far into the draft a partly written correction has come, in characters; and may the rest follow as it is?

    To the end of the last three words of the correction that stand in the draft too, and once only. If
    the correction went on in other words, then back to the start of that sentence: better twice than
    not at all. 0 where nothing matches.
    """
    words = written.split()
    for last in range(len(words), max(2, len(words) - 60), -1):
        run = r"(?<!\w)" + r"\s+".join(re.escape(word) for word in words[last - 3 : last]) + r"(?!\w)"
        matches = list(re.finditer(run, draft))
        if len(matches) == 1 and _covered(draft[: matches[0].end()], words[:last]):
            end = matches[0].end()
            if last == len(words):
                return end, True
            borders = [border.end() for kind in _BORDERS[1:3] for border in kind.finditer(draft)]
            return max(
                (border for border in borders if border < end or not draft[end:border].strip()), default=0
            ), False
    return 0, not words


def _covered(draft: str, words: list[str]) -> bool:
    """Does the correction say at least half of it? Three words in common may stand far ahead of all else."""
    wanted = Counter(draft.lower().split())
    said = Counter(word.lower() for word in words)
    return 2 * (wanted & said).total() >= wanted.total()


def at_border(text: str, place: int) -> bool:
    """Does a sentence or a line begin there, or the text?"""
    before, after = text[:place].rstrip(), text[place:].lstrip()
    gap = text[len(before) : len(text) - len(after)]
    return not before or "\n" in gap or re.search(r"[.!?…。！？][\"')\]]*\Z", before[-8:]) is not None


def continued(sent: str, rest: str) -> str:
    """What to append to the text that was sent, so that the rest goes on in the same line."""
    if sent[-1:].isspace():
        return rest.lstrip(" \t")
    return rest if rest[0].isspace() or rest[0] in ".,;:!?…)]}'\"%。，、；：！？" else f" {rest}"
