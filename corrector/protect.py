"""Spans that a correction must not touch: masked before it, restored after it, byte for byte.

Fenced code, inline code, LaTeX, URLs and e-mail addresses become placeholders `[[1]]`, `[[2]]`, ...
Pure functions over text; what a lost span means is the gate's business.
"""

import re
from dataclasses import dataclass, field

_FENCE = r"^(?P<fence>[ \t]{0,3}(?P<mark>`{3,}|~{3,}))[^\n]*(?:\n(?s:.*?))?(?:^[ \t]{0,3}(?P=mark)[`~]*[ \t]*$|\Z)"
_SPAN = re.compile(
    "|".join(
        (
            rf"(?:{_FENCE})",
            r"\$\$[^$]{1,4000}\$\$",
            r"\\\[(?s:.{1,4000}?)\\\]",
            r"\\\([^\n]{1,1000}?\\\)",
            r"\\begin\{(?P<env>[A-Za-z*]{1,20})\}(?s:.{0,4000}?)\\end\{(?P=env)\}",
            r"(?<!`)(?P<tick>`{1,3})(?!`)[^\n]{1,500}?(?<!`)(?P=tick)(?!`)",
            r"(?<![\w$\\])\$(?![\s$])[^$\n]{0,300}[^\s$\\]\$(?![\d$])",  # pandoc's rule: "$5 and $10" is money
            r"\b[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s<>\"'`\])}]{1,2000}(?<![.,;:!?*_])",
            r"\bwww\.[^\s<>\"'`\])}]{1,2000}(?<![.,;:!?*_])",
            r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
            r"\[\[\d{1,6}\]\]",  # what already looks like a placeholder is one more span
        )
    ),
    re.MULTILINE,
)
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

    def placeholder(match: re.Match[str]) -> str:
        spans.append(match.group())
        return f"[[{len(spans)}]]"

    return Masked(_SPAN.sub(placeholder, text), tuple(spans))


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
