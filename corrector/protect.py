"""Spans that a correction must not touch: masked before it, restored after it, byte for byte.

Fenced code, inline code, LaTeX, URLs and e-mail addresses become placeholders `[[1]]`, `[[2]]`, ...
Pure functions over text; what a lost span means is the gate's business.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corrector.words import UNSPACED

_CONTAINER = r"(?:[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t])))*[ \t]*"  # of list items and block quotes
# Letters that may stand beside an address at once: those without spaces, and Hangul, whose particles follow a word.
_UNSPACED = rf"{UNSPACED}\uac00-\ud7af"
_NAME = rf"(?:[^\W{_UNSPACED}]|-)"  # a character of a name in an address
# Where a span may begin. The named ones end where their closing mark stands; the rest are whole.
_OPENER = (
    rf"(?<![^\n\r])(?P<fence>{_CONTAINER}(?P<mark>`{{3,}}(?=[^`\n\r]*(?:[\n\r]|\Z))|~{{3,}}))",
    r"(?P<ticks>`+)",
    r"(?P<math>\$\$|\\[(\[]|\\begin\{(?P<env>[A-Za-z*]{1,20})\})",
    r"(?P<url>(?<![A-Za-z0-9])(?:[A-Za-z][A-Za-z0-9+.-]{1,15}://|www\.))",
    # Pandoc's rule: "$5 and $10" is money, and so is "US$5", but none is in "H$_2$O" and "5$^\circ$C".
    r"(?:(?<![A-Za-z0-9_$\\])\$(?![\s$])|(?<=[A-Za-z0-9])\$(?=[\\^_]))[^$\n]{0,300}[^\s$\\]\$(?![\d$])",
    rf"(?<![^\W{_UNSPACED}])(?<![.+-])(?:{_NAME}|[.+]){{1,64}}@{_NAME}{{1,63}}(?:\.{_NAME}{{1,63}}){{1,8}}",
    r"\[\[[0-9]{1,9}\]\]",  # what already looks like a placeholder is one more span
)
_CLOSER = re.compile(r"`+|\$\$|\\[)\]]|\\end\{[A-Za-z*]{1,20}\}")
_NEWLINE = re.compile(r"\r\n?|\n")
# A line break inside inline code, but no border of a block: CommonMark's spans end with their paragraph.
_SOFT_BREAK = re.compile(r"\r?\n(?![ \t]*(?:[\r\n>#|~]|[-*+][ \t]|[0-9]{1,9}[.)][ \t]|```))")
_URL_STOP = re.compile(r"[\s<>\"'`\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\u300a-\u3011]|[()\[\]{}]")
# A host of Latin letters ends before others; a path may go on in them, as a wiki's does.
_HOST_END = re.compile(rf"[A-Za-z0-9.:@-]*[A-Za-z0-9](?=[{_UNSPACED}])")
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_PARAGRAPH_END = re.compile(r"\n[ \t]*(?=[\r\n])")
LONGEST_MATH = 4000
FEWEST_WORDS = 6  # of a span that says something, rather than names it
_WORD = re.compile(r"[^\W\d_]{2,}")
_CODE = re.compile(r"[{}\[\]<>=_$\\/|#+&@%^~]|\w\(|\w\.\w|[;:](?=\n|\Z)")  # marks that prose has few of
_IN_BRACES = r"(?:[^{}<>=;\[\]$\\|_@^~\"(]|(?<!\w)\()*"  # no code, in which a string may stand
_SAYS = re.compile(
    r"(?<!\\)\"(?P<double>(?:[^\"\\\n]|\\.)*)\"|(?<!\w\w)'(?P<single>[^'\n]*)'|(?<=[\s(=,:+])`(?P<ticks>[^`\n]*)`"
    rf"|>(?P<tags>{_IN_BRACES})<|\{{(?P<braces>{_IN_BRACES})\}}"
    r"|(?m:(?:(?<!\S)(?:#+|//+|--|/\*+|;+|%+|<!--)|^[ \t]*\*+)[ \t]+(?P<comment>[^\n]*))"
)
_PHRASE = re.compile(rf"\S\s+\S+\s+\S|[{_UNSPACED}]{{4}}")  # three words at least
_SAID = re.compile(r"[^\W_]")
_SCHEME = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]{1,15}://|www\.)")
NOTHING = r"(?!)"  # the pattern of no further spans
PLACEHOLDER = re.compile(r"\[\[([0-9]{1,9})\]\]")
_UNFINISHED = re.compile(r"\[(?:\[(?:[0-9]{1,9}\]?)?)?\Z")  # a tail that may become a placeholder


@dataclass(frozen=True, slots=True)
class Masked:
    """Text with placeholders, and the spans that they stand for, in order."""

    text: str
    spans: tuple[str, ...]


def mask(text: str, also: str = NOTHING) -> Masked:
    """`restore(mask(text)) == text`, for every text. `also`: the pattern of spans of the caller's own.

    In time that grows with the length only, also for a text full of opening marks without closing ones.
    """
    spans: list[str] = []
    kept: list[str] = []
    done = 0
    for opener, end in _openers(text, also):
        if end:
            spans.append(text[opener.start() : end])
            kept += (text[done : opener.start()], f"[[{len(spans)}]]")
            done = end
    return Masked("".join((*kept, text[done:])), tuple(spans))


def shown(text: str) -> Masked:
    """The same with what looks like a placeholder alone: what code blocks and formulas say stands there as it is."""
    spans: list[str] = []

    def span(match: re.Match[str]) -> str:
        spans.append(match.group())
        return f"[[{len(spans)}]]"

    return Masked(PLACEHOLDER.sub(span, text), tuple(spans))


def spoken(masked: Masked) -> str:
    """The text again, but of its spans only what they say, a line each: strings, comments and the like, then the rest.

    A small model that is to say whether it would refuse it sees a program there else, and nothing to refuse.
    """

    def said(match: re.Match[str]) -> str:
        span = masked.spans[int(match[1]) - 1]
        rest = map(_within_marks, _SAYS.sub("\n", span).splitlines())
        return "\n".join((*_phrases(span), *(line for line in rest if _says_something(line)))) or span

    return PLACEHOLDER.sub(said, masked.text)


def uncut(text: str, places: Iterable[int], also: str = NOTHING) -> Iterator[int]:
    """Of ascending places within a text that still grows, those that no span reaches across, and none can later.

    An opening mark whose closing one has not come yet may belong to a span that is still being written.
    """
    openers = _openers(text, also)
    start = end = 0
    for place in places:
        while end <= place and start < place:
            opener, closed = next(openers, (None, 0))
            if opener is None:
                start = end = len(text) + 1
            else:
                start, end = opener.start(), closed or _last_end(text, opener)
        if not start < place < end:
            yield place


def _last_end(text: str, opener: re.Match[str]) -> int:
    """How far a span could reach that begins here, and whose closing mark is missing so far."""
    if opener["math"]:
        return opener.end() + LONGEST_MATH
    if opener["ticks"]:
        border = _PARAGRAPH_END.search(text, opener.end())
        return border.start() if border else len(text) + 1
    return opener.end()


def _openers(text: str, also: str) -> Iterator[tuple[re.Match[str], int]]:
    """Where spans may begin, each with its end: 0 if its closing mark is missing, and it is text after all."""
    opener = re.compile("|".join((*_OPENER, f"(?:{also})")))
    closers = _Closers(text)
    at = 0
    while match := opener.search(text, at):
        end = _end(text, match, closers)
        yield match, end
        # Within `\[` that nothing closes, what looks like a placeholder may begin: `\[[1]]`.
        at = end or (match.start() + 1 if match["math"] else match.end())


class _Closers:
    """Where the closing marks stand: found once, so that a thousand openers look none of them up in vain for long."""

    def __init__(self, text: str) -> None:
        self._places: dict[str, list[int]] = {}
        for match in _CLOSER.finditer(text):
            self._places.setdefault(match.group(), []).append(match.start())

    def after(self, mark: str, start: int) -> int:
        """The first place of the mark from `start` on; -1 if there is none."""
        places = self._places.get(mark, [])
        index = bisect_left(places, start)
        return places[index] if index < len(places) else -1


def _end(text: str, opener: re.Match[str], closers: _Closers) -> int:
    """Where the span ends that begins here; 0 if its closing mark is missing, and it is text after all."""
    if opener["fence"] is not None:
        return _fence_end(text, opener)
    if opener["ticks"]:
        place = closers.after(opener["ticks"], opener.end())
        return place + len(opener["ticks"]) if place > 0 and _one_paragraph(text, opener.end(), place) else 0
    if opener["math"]:
        mark = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}.get(opener["math"], rf"\end{{{opener['env']}}}")
        place = closers.after(mark, opener.end() + 1)
        near = 0 < place <= opener.end() + LONGEST_MATH
        inline = mark == r"\)" and near and "\n" in text[opener.end() : place]
        return place + len(mark) if near and not inline else 0
    if opener["url"]:
        return _url_end(text, opener)
    return opener.end()


def _fence_end(text: str, opener: re.Match[str]) -> int:
    """Past the closing fence, which is as long at least and alone on its line (CommonMark, 4.5).

    Without one: to where the block quote ends that the code stands in, else to the end of the text.
    """
    mark, quotes = opener["mark"], opener["fence"].count(">")
    indent = len(opener["fence"].expandtabs(4)) - len(mark) + 3  # of a closing fence, at most
    last = len(text)
    newline = _NEWLINE.search(text, opener.end())
    while newline:
        end_before, start = newline.span()
        newline = _NEWLINE.search(text, start)
        last = newline.start() if newline else len(text)
        line = text[start:last].expandtabs(4)
        for _ in range(quotes):
            marker, line = line.lstrip()[:1], line.lstrip()[1:]
            if marker != ">":
                return end_before
        run = line.strip()
        if len(run) >= len(mark) and not run.strip(mark[0]) and len(line) - len(line.lstrip()) <= indent:
            return last
    return last


def _one_paragraph(text: str, start: int, end: int) -> bool:
    """Does at most one line break stand between, and no border of a block?"""
    first = text.find("\n", start, end)
    if first < 0:
        return True
    first -= text[first - 1] == "\r" and first > start
    soft = _SOFT_BREAK.match(text, first)
    return soft is not None and text.find("\n", soft.end(), end) < 0


def _url_end(text: str, opener: re.Match[str]) -> int:
    """To white space, a quote, or a closing bracket whose opening one is not the URL's; less a sentence's own mark."""
    if host := _HOST_END.match(text, opener.end()):
        return host.end()
    brackets: list[str] = []
    end = len(text)
    for stop in _URL_STOP.finditer(text, opener.end()):
        char = stop.group()
        if char in "([{":
            brackets.append(char)
        elif not brackets or brackets.pop() != _BRACKETS.get(char):
            end = stop.start()
            break
    while end > opener.end() and text[end - 1] in ".,;:!?*":
        end -= 1
    return end if end > opener.end() else 0


def restore(masked: Masked) -> str:
    return PLACEHOLDER.sub(lambda match: masked.spans[int(match.group(1)) - 1], masked.text)


def prose(masked_text: str) -> bool:
    """Is there anything beside the placeholders that could be rewritten?"""
    return any(char.isalpha() for char in PLACEHOLDER.sub("", masked_text))


def hides_prose(masked: Masked) -> bool:
    """Do the spans say something, as code does not: one of them, a line, what is in its strings, or all together?"""
    if any(map(_has_prose, masked.spans)):
        return True
    if sum(_words(said) for span in masked.spans for said in _phrases(span)) >= FEWEST_WORDS:
        return True
    return _reads_as_prose(" ".join(_within_marks(_SCHEME.sub("", span)) for span in masked.spans))


def _within_marks(span: str) -> str:
    """From its first letter or figure to its last."""
    first, last = _SAID.search(span), _SAID.search(span[::-1])
    return span[first.start() : len(span) - last.start()] if first and last else ""


def _has_prose(span: str) -> bool:
    return any(_reads_as_prose(_within_marks(part)) for part in (span, *span.splitlines()))


def _phrases(span: str) -> list[str]:
    """In strings, in comments, between tags and in braces; where it is but a word or two, it is a name."""
    said = (match[match.lastgroup or 0] for match in _SAYS.finditer(span))
    return [text.strip() for text in said if _says_something(text)]


def _says_something(text: str) -> bool:
    return _PHRASE.search(text) is not None and not _mostly_code(text)


def _reads_as_prose(said: str) -> bool:
    return _words(said) >= FEWEST_WORDS and not _mostly_code(said)


def _mostly_code(said: str) -> bool:
    return len(_CODE.findall(said)) >= _words(said) * 0.1


def _words(said: str) -> int:
    return max(len(_WORD.findall(said)), sum(map(str.isalpha, said)) // 4)  # some languages have no spaces


class SpanLost(Exception):
    """A placeholder was left out, repeated or invented."""


@dataclass(slots=True)
class Restorer:
    """Restores a stream of text, in pieces cut anywhere.

    Spans must come in order and once each: then a missing one shows when the next comes, and not
    only at the end, when text beyond it has long been sent.
    """

    spans: tuple[str, ...]
    restored: int = 0  # how many of the spans have come
    expected: int | None = None  # how many must have come at the end; None: all of them
    _held: str = field(default="")

    def feed(self, piece: str) -> str:
        """What is certain by now. Raises `SpanLost` at a placeholder that should not stand there."""
        text = self._held + piece
        tail = _UNFINISHED.search(text)
        cut = tail.start() if tail else len(text)
        self._held = text[cut:]
        before = self.restored
        try:
            return PLACEHOLDER.sub(self._span, text[:cut])
        except SpanLost:
            self.restored = before  # what came before it in the same piece is lost with it
            raise

    def finish(self) -> str:
        """The rest. Raises `SpanLost` if a span has not come."""
        held, self._held = self._held, ""
        if self.restored < self._expected:
            raise SpanLost
        return held

    @property
    def held(self) -> int:
        """Characters that may yet become a placeholder, and have not been given back."""
        return len(self._held)

    @property
    def _expected(self) -> int:
        return len(self.spans) if self.expected is None else self.expected

    def _span(self, match: re.Match[str]) -> str:
        if int(match.group(1)) != self.restored + 1 or self.restored >= self._expected:
            raise SpanLost
        self.restored += 1
        return self.spans[self.restored - 1]
