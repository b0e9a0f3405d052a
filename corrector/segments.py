"""Cuts long text into parts that fit a corrector, at the gentlest border there is.

Pure functions; `"".join(split(text, size)) == text`. Lengths are estimated tokens: no tokenizer is at
hand for an engine behind a URL, so the estimate errs on the long side.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile

from corrector import protect, words

SHORTEST_SEGMENT = 80  # characters; a heading or a short list item waits for what comes after it
LONGEST_SEGMENT = 500  # characters; a longer paragraph is cut after a sentence
LOOKED_BACK = 60  # words that a correction may have gone on in of its own, and still be found in the draft

_BORDERS = (
    re.compile(r"\n[ \t]*\n+"),  # paragraphs
    re.compile(r"\n"),  # lines, list items
    re.compile(r"[.!?…。！？][\"')\]]*\s+|[。！？]"),  # sentences
    re.compile(r"\s+"),  # words
)
_FIGURES = re.compile(r"[\n -@|]?[0-9]")  # each, and the mark or the space before it
_RULE_OF_A_TABLE = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*\|[-|: \t]*\s*")


def tokens(text: str) -> int:
    """Estimated tokens, rather too many: 3 characters of ASCII make one, and 4 bytes of anything else three.

    A small vocabulary has hardly a word of most languages, and not every character: of SmolLM2's, a Chinese one takes
    1.7 tokens, a Korean one 2.2, an emoji 3. Every figure is a token, and so is what parts two numbers. What is
    estimated too short is cut off at its limit.
    """
    figures = sum(map(len, _FIGURES.findall(text)))
    ascii_chars = len(text if text.isascii() else text.encode("ascii", "ignore"))
    other_bytes = 0 if ascii_chars == len(text) else len(text.encode("utf-8", "replace")) - ascii_chars
    return figures + (ascii_chars - figures + 2) // 3 + (other_bytes * 3 + 3) // 4


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
    """Where to cut: the last border, of the best kind, that leaves a part neither too long nor tiny.

    Rather not behind what introduces what follows it, nor between the rows of a table.
    """
    limit = _longest(text, size)
    kinds = [[match.end() for match in border.finditer(text, 0, limit)] for border in _BORDERS]
    kinds = [[end for end in ends if end > limit // 3] for ends in kinds]
    tables = list(_tables(text))
    for ends in kinds[:2]:
        for end in reversed(ends):
            if not _introduces(text[:end]) and not any(start < end < last for start, last in tables):
                return end
    for ends in kinds:
        if ends:
            return ends[-1]
    # No border at all. A placeholder of protect.py must not be cut in two, though.
    halved = re.compile(r"\[\[?\d*\]?\Z").search(text, 0, limit)
    return halved.start() if halved and halved.start() else limit


def _introduces(before: str) -> bool:
    """Is its last line a heading, or does it end in a colon?"""
    line = before.rstrip()
    return re.match(r"[ \t]{0,3}#{1,6}[ \t]|.*[:\uff1a][*_]*\Z", line[line.rfind("\n") + 1 :]) is not None


def _tables(text: str) -> Iterator[tuple[int, int]]:
    """Where tables that have a head begin and end."""
    lines = text.splitlines(keepends=True)
    head, at, start = "", 0, -1
    for line in lines:
        if start >= 0 and "|" not in line:
            yield start, at
            start = -1
        elif start < 0 and "|" in head and _RULE_OF_A_TABLE.fullmatch(line):
            start = at - len(head)
        head, at = line, at + len(line)
    if start >= 0:
        yield start, at + 1  # what follows may go on with it


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

    To the end of the last few words of the correction that stand in the draft too, and once only. If
    the correction went on in other words, then back to the start of that sentence: better twice than
    not at all. 0 where nothing matches. What is a copy so far goes on where it ends.
    """
    said = written.strip()
    lead = len(draft) - len(draft.lstrip())
    end = lead + len(said)
    if said and draft.startswith(said, lead) and not _within(draft, end, written):  # so far it is a copy
        return end, True
    for run, seamless in _last_runs(words.split(said)):
        matches = list(re.finditer(words.pattern(run), draft))
        if len(matches) == 1 and _covered(draft[: matches[0].end()], said):
            end = matches[0].end()
            if seamless and not _within(draft, end, written):
                return end, True
            borders = [border.end() for kind in _BORDERS[1:3] for border in kind.finditer(draft)]
            return max(
                (border for border in borders if border < end or not draft[end:border].strip()), default=0
            ), False
    return 0, not said


def _within(draft: str, end: int, written: str) -> bool:
    """Has white space been written where the draft has none: "You can " of "You cannot", or of "You can't"?"""
    return written[-1:].isspace() and bool(draft[end : end + 1].strip())


def _last_runs(said: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Runs of a few words, from the last on backwards; and is it the last, behind which nothing is said?"""
    for last in range(len(said), 0, -1):
        first = last
        while first and words.worth(said[first:last]) < words.A_FEW:
            first -= 1
        if words.worth(said[first:last]) < words.A_FEW or words.worth(said[last:]) >= LOOKED_BACK:
            return
        yield said[first:last], last == len(said)


def _covered(draft: str, said: str) -> bool:
    """Does the correction say at least half of it? A few words in common may stand far ahead of all else."""
    wanted = words.counted(draft)
    return 2 * (wanted & words.counted(said)).total() >= wanted.total()


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


# Where a segment may end, each with what must be seen behind it.
_BLOCK_END = re.compile(
    r"\n[ \t]*\r?\n(?=[ ]{0,3}[^\s])"  # a paragraph's; what is indented may be code, or belong to the item before it
    r"|\n(?=[ ]{0,3}(?:[-*+]|[0-9]{1,9}[.)])[ \t]|#{1,6}[ \t])"  # a line's, before a list item or a heading
)
# What follows must not begin a block of its own where a line begins with it.
_SENTENCE_END = re.compile(r"[.!?…。！？][\"')\]]*[ \t]+(?=[^\s`~>|#*+$0-9-])|[。！？](?=[^\s`~>|#*+$0-9-])")
_ABBREVIATED = re.compile(r"(?:\b[A-Za-z]|[0-9]|\b(?:Dr|Mr|Mrs|Ms|Prof|St|[Nn]o|vs|etc|e\.g|i\.e))\.[ \t]*\Z")
_UNDER_A_TABLES_HEAD = re.compile(r"[ \t]*:?-+:?[ \t]*\|[-|: \t]*\r?")
_SEEN_BEHIND = 32  # characters, more than any border must have behind it
_OPEN_FORMULA = re.compile(r"\$(?![\s$0-9])[^$]*\Z")
_SLICE = 1024  # characters, of a text that comes at once


class Segmenter:
    """Cuts a text that grows into segments: paragraphs, list items, and of long paragraphs sentences.

    What it gave and what `finish` gives join to the text, and are the same however it was fed. Code, formulas and
    tables are never cut, nor anything else that `protect.mask` would mask, `also` included; what may still become such
    a span waits for its end.
    """

    def __init__(self, also: str = protect.NOTHING) -> None:
        self._also = also
        self._held = ""
        self._look_at = SHORTEST_SEGMENT

    def feed(self, piece: str) -> list[str]:
        """The segments that are complete by now, or were a few words ago."""
        ready: list[str] = []
        for at in range(0, len(piece), _SLICE):
            self._held += piece[at : at + _SLICE]
            while len(self._held) > self._look_at:
                if end := self._end(len(self._held) - _SEEN_BEHIND):
                    ready.append(self._held[:end])
                    self._held = self._held[end:]
                    self._look_at = SHORTEST_SEGMENT
                else:  # not at every token: a long block of code would be read as often as it has any
                    self._look_at = len(self._held) + 16 + max(0, len(self._held) - 1000) // 8
        return ready

    def finish(self) -> list[str]:
        """The rest, at the text's end."""
        ready: list[str] = []
        while self._held:
            end = self._end(len(self._held)) or len(self._held)
            ready.append(self._held[:end])
            self._held = self._held[end:]
        return ready

    def _end(self, seen: int) -> int:
        """The end of the first segment; 0 while it is not complete. No border up to `seen` is still to show."""
        block = self._first(seen, (match.end() for match in _BLOCK_END.finditer(self._held, SHORTEST_SEGMENT)))
        if 0 < block <= LONGEST_SEGMENT or seen <= LONGEST_SEGMENT:
            return block if block <= LONGEST_SEGMENT else 0
        sentence = self._first(seen, _sentence_ends(self._held, LONGEST_SEGMENT // 2))
        return min(block or sentence, sentence or block)

    def _first(self, seen: int, places: Iterable[int]) -> int:
        """Of ascending places up to `seen` the first that no span reaches across; 0 if there is none.

        What stands behind a later one may yet become such a span, together with what stands before it.
        """
        near = takewhile(lambda place: place <= seen, places)
        return next(protect.uncut(self._held, near, self._also), 0)


def _sentence_ends(text: str, start: int) -> Iterator[int]:
    """From `start` on: not after an abbreviation, and neither in a table's row nor perhaps in a formula."""
    table, begin, open_before = False, 0, 0
    for line in text.split("\n"):
        end = begin + len(line)
        table = bool(line.strip()) and (table or _UNDER_A_TABLES_HEAD.fullmatch(line) is not None)
        cell = text.find("|", begin, end)
        dollars, counted = open_before, begin
        for mark in _SENTENCE_END.finditer(text, max(begin, start), end):
            if table or 0 <= cell < mark.end():
                break
            dollars += text.count("$", counted, mark.end())
            counted = mark.end()
            if dollars % 2 == 0 and not _ABBREVIATED.search(text[max(begin, mark.end() - 16) : mark.end()]):
                yield mark.end()
        # A formula may go on in the next line; an amount, `$5`, does not.
        dollars = open_before + line.count("$")
        open_before = int(dollars % 2 == 1 and _OPEN_FORMULA.search(line) is not None)
        begin = end + 1
