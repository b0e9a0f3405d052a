"""Spans that a correction must not touch: masked before it, restored after it, byte for byte.

Fenced code, inline code, LaTeX, URLs and e-mail addresses become placeholders `[[1]]`, `[[2]]`, ...
Pure functions over text; what a lost span means is the gate's business.
"""

import functools
import re
from dataclasses import dataclass, field

_CONTAINER = r"[ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]*)*"  # of list items and block quotes
_URL_TEXT = r"(?:[^\s<>\"'`()\]}]|\([^\s<>()]{0,300}\))"  # a closing bracket belongs to it if its opening one does
_IPV6 = r"\[[0-9A-Fa-f:.]{2,45}\]"
# Where a span may begin. Most of them are whole then; the first three end where their closing mark stands.
_OPENER = re.compile(
    "|".join(
        (
            rf"^{_CONTAINER}(?P<fence>`{{3,}}(?=[^`\n]*$)|~{{3,}})[^\n]*",
            r"(?P<ticks>`+)",
            r"(?P<math>\$\$|\\\[|\\\(|\\begin\{[A-Za-z*]{1,20}\})",
            r"(?<![\w$\\])\$(?![\s$])[^$\n]{0,300}[^\s$\\]\$(?![\d$])",  # pandoc's rule: "$5 and $10" is money
            rf"\b[A-Za-z][A-Za-z0-9+.-]{{1,15}}://(?:{_IPV6}{_URL_TEXT}{{0,2000}}|{_URL_TEXT}{{1,2000}})(?<![.,;:!?*])",
            rf"\bwww\.{_URL_TEXT}{{1,2000}}(?<![.,;:!?*])",
            r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
            r"\[\[\d{1,6}\]\]",  # what already looks like a placeholder is one more span
        )
    ),
    re.MULTILINE,
)
LONGEST_MATH = 4000
LONGEST_CODE = 4000  # inline, in characters; looking further for each of many opening marks would take for ever
PLACEHOLDER = re.compile(r"\[\[(\d{1,6})\]\]")
_UNFINISHED = re.compile(r"\[(?:\[(?:\d{1,6}\]?)?)?\Z")  # a tail that may become a placeholder


@dataclass(frozen=True, slots=True)
class Masked:
    """Text with placeholders, and the spans that they stand for, in order."""

    text: str
    spans: tuple[str, ...]


def mask(text: str) -> Masked:
    """`restore(mask(text)) == text`, for every text."""
    spans: list[str] = []
    kept: list[str] = []
    done = at = 0
    while opener := _OPENER.search(text, at):
        end = _end(text, opener)
        if end is None:
            at = opener.end()
            continue
        spans.append(text[opener.start() : end])
        kept += (text[done : opener.start()], f"[[{len(spans)}]]")
        done = at = end
    return Masked("".join((*kept, text[done:])), tuple(spans))


def _end(text: str, opener: re.Match[str]) -> int | None:
    """Where the span ends that begins here; None if its closing mark is missing, and it is text after all."""
    if opener["fence"]:
        closing = _closing_fence(opener["fence"][0], len(opener["fence"])).search(text, opener.end())
        return closing.end() if closing else len(text)
    if opener["ticks"]:
        closing = _closing_ticks(len(opener["ticks"])).search(text, opener.end(), opener.end() + LONGEST_CODE)
        # A blank line ends the paragraph, and what was begun in it.
        return closing.end() if closing and not _blank_line(text, opener.end(), closing.start()) else None
    if opener["math"]:
        mark = _CLOSING_MATH.get(opener["math"]) or opener["math"].replace(r"\begin", r"\end")
        start = text.find(mark, opener.end(), opener.end() + LONGEST_MATH)
        return start + len(mark) if start > opener.end() else None
    return opener.end()


_CLOSING_MATH = {"$$": "$$", r"\[": r"\]", r"\(": r"\)"}


@functools.cache
def _closing_ticks(count: int) -> re.Pattern[str]:
    return re.compile(rf"(?<!`)`{{{count}}}(?!`)")


@functools.cache
def _closing_fence(mark: str, count: int) -> re.Pattern[str]:
    """At least as long as the opening one, and alone on its line (CommonMark, 4.5)."""
    return re.compile(rf"^[ \t>]*{mark}{{{count},}}[ \t]*(?=\r?$)", re.MULTILINE)


def _blank_line(text: str, start: int, end: int) -> bool:
    return re.compile(r"\n[ \t\r]*\n").search(text, start, end) is not None


def restore(masked: Masked) -> str:
    return PLACEHOLDER.sub(lambda match: masked.spans[int(match.group(1)) - 1], masked.text)


def prose(masked_text: str) -> bool:
    """Is there anything beside the placeholders that could be rewritten?"""
    return any(char.isalpha() for char in PLACEHOLDER.sub("", masked_text))


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
        return PLACEHOLDER.sub(self._span, text[:cut])

    def finish(self) -> str:
        """The rest. Raises `SpanLost` if a span has not come."""
        held, self._held = self._held, ""
        if self.restored < self._expected:
            raise SpanLost
        return held

    @property
    def _expected(self) -> int:
        return len(self.spans) if self.expected is None else self.expected

    def _span(self, match: re.Match[str]) -> str:
        if int(match.group(1)) != self.restored + 1 or self.restored >= self._expected:
            raise SpanLost
        self.restored += 1
        return self.spans[self.restored - 1]
