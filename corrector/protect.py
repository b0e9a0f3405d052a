"""Spans that a correction must not touch: masked before it, restored after it, byte for byte.

Fenced code, inline code, LaTeX, URLs and e-mail addresses become placeholders `[[1]]`, `[[2]]`, ...
Pure functions over text; what a lost span means is the gate's business.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corrector import hidden
from corrector.words import UNSPACED

_CONTAINER = r"(?:[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t])))*[ \t]*"  # of list items and block quotes
# Letters that may stand beside an address at once: those without spaces, and Hangul, whose particles follow a word.
_UNSPACED = rf"{UNSPACED}\uac00-\ud7af"
_NAME = rf"(?:[^\W{_UNSPACED}]|-)"  # a character of a name in an address
# A line break inside inline code, but no border of a block: CommonMark's spans end with their paragraph.
_SOFT = r"\r?\n(?![ \t]*(?:[\r\n>#|~]|[-*+][ \t]|[0-9]{1,9}[.)][ \t]|```))"
_UNESCAPED = r"(?<!(?<!\\)\\`)"  # CommonMark: what a backslash stands before is text
_ALONE = (
    r"(?<![A-Za-z0-9_$\\]\$)"  # of a dollar; behind it, as a pattern is tried faster whose first character is known
)
# What models put behind a fence that begins behind words, `1. Install it: ```bash`: no sentence.
_INFO = r"(?=[A-Za-z][\w+#.-]{0,30}[ \t]*(?:(?<=[ \t])[\w-]{1,30}=(?:(?!```)[^\n\r]){0,200})?[\n\r])"
_SIGN = r"[\\^_={]"  # that a formula has and a price has not
# Of a formula that has a sign: it may have spaces at its ends, or a line break. `$5 (x_1)` is an amount.
_LINE = rf"(?=[^$]*{_SIGN})(?![ \t]*[0-9.,]+\s+(?:[A-Za-z]{{2}}|\())[^$\n]"
# Where a span may begin. The named ones end where their closing mark stands; the rest are whole.
_OPENER = (
    rf"(?<![^\n\r])\ufeff?(?P<fence>{_CONTAINER}(?P<mark>`{{3,}}(?=[^`\n\r]*(?:[\n\r]|\Z))|~{{3,}}))",
    rf"(?P<ticks>`{_UNESCAPED}`*)(?P<late>(?<=```){_INFO})?",
    r"(?P<math>\$\$|\\[(\[]|\\begin\{(?P<env>[A-Za-z*]{1,20})\})",
    r"(?P<tag><(?P<element>tool_call|pre)(?:[ \t][^<>\n]{0,200})?>)",
    r"(?P<url>(?<![A-Za-z0-9])(?:[A-Za-z][A-Za-z0-9+.-]{1,15}+://|www\.))",
    # Pandoc's rule: "$5 and $10" is money, and so is "US$5", but none is in "H$_2$O" and "5$^\circ$C".
    r"(?:(?<![A-Za-z0-9_$\\])\$(?![\s$])|(?<=[A-Za-z0-9])\$(?=[\\^_]))[^$\n]{0,300}[^\s$\\]\$(?![\d$])",
    # Where there is a sign of a formula, it may have spaces at both ends, go on in a second line, or be longer.
    rf"\${_ALONE}(?=[ \t]){_LINE}{{1,300}}[ \t]\$(?![\d$])",
    rf"\${_ALONE}(?![\s$0-9]){_LINE}{{1,300}}{_SOFT}[^$\n]{{0,300}}[^\s$\\]\$(?![\d$])",
    rf"\${_ALONE}(?![\s$])(?=[^$]*\\[A-Za-z])[^$\n]{{300,2000}}[^\s$\\]\$(?![\d$])",
    rf"(?<![^\W{_UNSPACED}])(?<![.+-])(?:{_NAME}|[.+]){{1,64}}+@{_NAME}{{1,63}}(?:\.{_NAME}{{1,63}}){{1,8}}",
    r"\[\[[0-9]{1,9}\]\]",  # what already looks like a placeholder is one more span
)
_CLOSER = re.compile(r"`+|~{3,}|\$\$|\\[)\]]|\\end\{[A-Za-z*]{1,20}\}|</(?:tool_call|pre)>")
# Behind a fence, to the end of its line, if nothing but what it opens stands there.
_BEHIND_FENCE = re.compile(r"[ \t]*(?P<info>[^`\n\r]*)(?=[\n\r]|\Z)")
_FENCE_WITH_INFO = re.compile(r"(?<![^\n\r])[ \t>]*(?:`{3,}|~{3,})[ \t]*[^\s`~][^`\n\r]*[\n\r]")
_FENCE_LINE = re.compile(r"(?<![^\n\r])[ \t>]*(?P<mark>`{3,}|~{3,})(?P<info>[^`\n\r]*)(?=[\n\r]|\Z)")
_NEWLINE = re.compile(r"\r\n?|\n")
_SOFT_BREAK = re.compile(_SOFT)
_URL_STOP = re.compile(r"[\s<>\"'`\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f\u300a-\u3011]|[()\[\]{}]")
# A host of Latin letters ends before others; a path may go on in them, as a wiki's does.
_HOST_END = re.compile(rf"[A-Za-z0-9.:@-]*[A-Za-z0-9](?=[{_UNSPACED}])")
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_PARAGRAPH_END = re.compile(r"\n[ \t]*(?=[\r\n])")
LONGEST_MATH = 4000
LONGEST_BLOCK = 20_000  # of a formula that begins a line, of an environment, and of what stands in tags
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
    if done := _begun_code(text):
        spans.append(text[:done])
        kept.append("[[1]]")
    for opener, end in _openers(text, also, done, whole=True):
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

    said = hidden.reader(masked.spans)
    return PLACEHOLDER.sub(lambda match: said(masked.spans[int(match[1]) - 1]), masked.text)


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
                start, end = opener.start(), _last_end(text, opener, closed)
        if not start < place < end:
            yield place


def _last_end(text: str, opener: re.Match[str], closed: int) -> int:
    """How far a span could reach that begins here, if its closing mark is missing so far."""
    if opener["late"] is not None and not _FENCE_WITH_INFO.search(text, opener.end()):
        # What looks like an inline span now may still be a fence.
        return _late_fence_end(opener, _Closers(text)) or len(text) + 1
    if closed:
        return closed
    if opener["math"] or opener["tag"]:
        return opener.end() + _longest(text, opener)
    if opener["ticks"]:
        border = _PARAGRAPH_END.search(text, opener.end())
        return border.start() if border else len(text) + 1
    return opener.end()


def _openers(text: str, also: str, at: int = 0, *, whole: bool = False) -> Iterator[tuple[re.Match[str], int]]:
    """Where spans may begin, each with its end: 0 if its closing mark is missing, and it is text after all.

    `whole`: no more text will come. A formula that is open then has been cut off.
    """
    opener = re.compile("|".join((*_OPENER, f"(?:{also})")))
    closers = _Closers(text)
    while match := opener.search(text, at):
        end = _end(text, match, closers) or (len(text) if whole and _cut_off(match, closers) else 0)
        yield match, end
        # Within `\[` that nothing closes, what looks like a placeholder may begin: `\[[1]]`.
        at = end or (match.start() + 1 if match["math"] else match.end())


class _Closers:
    """Where the closing marks stand: found once, so that a thousand openers look none of them up in vain for long."""

    def __init__(self, text: str) -> None:
        self._places: dict[str, list[int]] = {}
        for match in _CLOSER.finditer(text):
            mark, start = match.group(), match.start()
            self._places.setdefault(mark, []).append(start)
            fence = mark[0] in "`~" and len(mark) > 2 and _begins_line(text, start)
            if fence and (behind := _BEHIND_FENCE.match(text, match.end())):
                mark = "```info" if behind["info"].strip() else f"{mark}\n"
                self._places.setdefault(mark, []).append(match.end())
        self.last_sign = max(text.rfind(sign) for sign in "^_={")
        self.last_paragraph = max((match.end() for match in _PARAGRAPH_END.finditer(text.rstrip())), default=0)

    def after(self, mark: str, start: int) -> int:
        """The first place of the mark from `start` on; -1 if there is none."""
        places = self._places.get(mark, [])
        index = bisect_left(places, start)
        return places[index] if index < len(places) else -1


def _end(text: str, opener: re.Match[str], closers: _Closers) -> int:
    """Where the span ends that begins here; 0 if its closing mark is missing, and it is text after all."""
    if opener["fence"] is not None:
        return _fence_end(text, opener)
    if opener["late"] is not None and (end := _late_fence_end(opener, closers)):
        return end
    if opener["ticks"]:
        place = closers.after(opener["ticks"], opener.end())
        return place + len(opener["ticks"]) if place > 0 and _one_paragraph(text, opener.end(), place) else 0
    if opener["math"]:
        mark = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}.get(opener["math"], rf"\end{{{opener['env']}}}")
        place = closers.after(mark, opener.end() + 1)
        near = 0 < place <= opener.end() + _longest(text, opener)
        broken = mark == r"\)" and near and not _one_formula(text, opener.end(), place)
        return place + len(mark) if near and not broken else 0
    if opener["tag"]:
        mark = f"</{opener['element']}>"
        place = closers.after(mark, opener.end())
        return place + len(mark) if 0 < place <= opener.end() + LONGEST_BLOCK else 0
    if opener["url"]:
        return _url_end(text, opener)
    return opener.end()


def _late_fence_end(opener: re.Match[str], closers: _Closers) -> int:
    """Past the next fence that is alone on its line, if none begins in between with what it opens; else 0."""
    place = closers.after(f"{opener['ticks']}\n", opener.end())
    return place if place > 0 and not 0 < closers.after("```info", opener.end()) < place else 0


def _longest(text: str, opener: re.Match[str]) -> int:
    """How many characters a formula or an element may have."""
    return LONGEST_BLOCK if opener["tag"] or _is_display(text, opener) else LONGEST_MATH


def _is_display(text: str, opener: re.Match[str]) -> bool:
    """Is it a formula of its own: an environment, or one that begins a line?"""
    if opener["env"] or opener["math"] not in ("$$", r"\["):
        return bool(opener["env"])
    return _begins_line(text, opener.start())


def _begins_line(text: str, place: int) -> bool:
    """Is there nothing before it in its line but a few marks of block quotes?"""
    before = text[max(0, place - 32) : place]
    return not before.rpartition("\n")[2].strip(" \t>") and ("\n" in before or place <= 32)


def _cut_off(opener: re.Match[str], closers: _Closers) -> bool:
    """Is it a formula that the text ends in, before its closing mark?"""
    late = closers.last_paragraph <= opener.start() and closers.last_sign >= opener.end()
    return late and _is_display(opener.string, opener)


def _begun_code(text: str) -> int:
    """Past the fence that closes the code which a text begins with, as its opening one stood in what it goes on from.

    One fence of an odd number, alone on its line, behind lines of which none reads as prose; else 0.
    """
    first = _FENCE_LINE.search(text)
    if first is None or first["info"].strip() or not text[: first.start()].strip():
        return 0
    if sum(1 for _ in _FENCE_LINE.finditer(text)) % 2 == 0:
        return 0
    return first.end() if hidden.is_code(text[: first.start()]) else 0


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


def _one_paragraph(text: str, start: int, end: int, breaks: int = 2) -> bool:
    """Do at most so many line breaks stand between, and no border of a block?"""
    at = start
    while breaks and (first := text.find("\n", at, end)) >= 0:
        first -= text[first - 1] == "\r" and first > start
        soft = _SOFT_BREAK.match(text, first)
        if soft is None:
            return False
        at, breaks = soft.end(), breaks - 1
    return text.find("\n", at, end) < 0


def _one_formula(text: str, start: int, end: int) -> bool:
    """Is it one line, or two and has a sign that prose has not? `\\(` may be an escaped bracket."""
    first, _, second = text[start:end].partition("\n")
    return not second or ("\n" not in second and bool(second.strip()) and any(map((first + second).count, "\\^_={+")))


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
    return hidden.hides(masked.spans)


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
