"""What code, formulas and addresses say in sentences: is there any, and how does it read? Pure functions over spans.

Also of sentences whose words are joined by marks (`take_the_key`), whose lines begin with one (`> take the key`), or
that stand in an address. Does not know ciphers, encodings, nor words that are spelled.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import unquote_plus

from corrector.words import UNSPACED

FEWEST_WORDS = 6  # of a span that says something, rather than names it
FEWEST_IN_A_PATH = 16  # of an address: fewer are a title's
MOST = 0.7  # so many of its words, or lines, have marks beside them, if a text is dressed in marks
LITTLE = 0.25  # of the words of a sentence are, at least
MARKS_OF_CODE = 0.3  # a word, of what is code beyond doubt
_WORD = re.compile(r"[^\W\d_]{2,}")
_CODE = re.compile(r"[{}\[\]<>=_$\\/|#+&@%^~]|\w\(|\w\.\w|[;:](?=\n|\Z)")  # marks that prose has few of
_IN_BRACES = r"(?:[^{}<>=;\[\]$\\|_@^~\"(]|(?<!\w)\()*"  # no code, in which a string may stand
_SAYS = re.compile(
    r"(?<!\\)\"(?P<double>(?:[^\"\\\n]|\\.)*)\"|(?<!\w\w)'(?P<single>[^'\n]*)'|(?<=[\s(=,:+])`(?P<ticks>[^`\n]*)`"
    rf"|>(?P<tags>{_IN_BRACES})<|\{{(?P<braces>{_IN_BRACES})\}}"
    r"|(?m:(?:(?<!\S)(?:#+|//+|--|/\*+|;+|%+|<!--)|^[ \t]*\*+)[ \t]+(?P<comment>[^\n]*))"
)
_PHRASE = re.compile(rf"\S\s+\S+\s+\S|[{UNSPACED}\uac00-\ud7af]{{4}}")  # three words at least
_SAID = re.compile(r"[^\W_]")
_SCHEME = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]{1,15}://|www\.)")
_IN_ADDRESS = re.compile(r"[/?&=#;]+")
_BEFORE_A_LINE = re.compile(r"(?:[^\w\s]{1,4}[ \t]{0,4}){1,3}(?=\w)")
_BEHIND_A_LINE = re.compile(r"(?<=\w)[^\w\s]{1,4}\Z")
_LETTERS = r"[^\W_]++(?:['\u2019][^\W_]++)*+"
_COMMA = r"[.,;:!?]"
_MARKS = r"[ \t]{0,2}(?:[^\w\s]|_)(?:[^\n]{0,8}?(?:[^\w\s]|_))?[ \t]{0,2}"
# Three words and more with the same marks between, each with its comma: `take_the_key,_wait`, `"take", "the", "key"`.
_JOINED = re.compile(
    rf"(?<![^\W_])(?<![^\W_]['\u2019]){_LETTERS}{_COMMA}??(?P<joiner>{_MARKS})"
    rf"{_LETTERS}(?:{_COMMA}(?=(?P=joiner)))?(?:(?P=joiner){_LETTERS}(?:{_COMMA}(?=(?P=joiner)))?)+"
)
# What a sentence has every few words and a name in a program seldom, where the letters do not tell a language already.
_LITTLE = (
    "the a an of in to and for on with at they them their you your he she his her we our us it its these those this "
    "that which who how when while before after until then into from out up below above so but because are was were "
    "will would can could should "
    "der die das den dem ein eine einen und mit auf im von zu sie ihr ihre wir ich bis wenn dann aus vor nach sich es "
    "le la les un une des du de et dans sur avec pour vous votre il elle ils que qui au aux ce en puis se est "
    "el los las una y con por para su sus del al lo como o os um uma seu sua na da no do e ao gli di che non si "
    "per il nel della het een en van op met je zijn uw of och att ett som det har og til er af jeg i w z na ze nie to "
    "ve bir bu ile da ja on ei se ne yang dan di untuk dengan ini itu az egy meg hogy"
)
_LITTLE_WORDS = frozenset(_LITTLE.split())


def hides(spans: Sequence[str]) -> bool:
    """Do the spans say something, as code does not: one of them, a line, what is in its strings, or all together?"""
    if any(map(_has_prose, spans)):
        return True
    if sum(_words(said) for span in spans for said in _phrases(span)) >= FEWEST_WORDS:
        return True
    together = " ".join(_within_marks(_SCHEME.sub("", span)) for span in spans)
    return _reads_as_prose(together) or _dressed_together(spans)


def reader(spans: Sequence[str]) -> Callable[[str], str]:
    """Makes of one of the spans what it says: strings, comments and the like, a line each, then the rest.

    What says nothing stays as it is, unless all of them together do.
    """
    together = _dressed_together(spans)

    def said(span: str) -> str:
        rest = (_plain(_within_marks(line)) for line in _SAYS.sub("\n", span).splitlines())
        lines = [*_in_address(span), *_phrases(span), *filter(None, rest)]
        whole = _undressed(span) or (_within_marks(_bare(span)) if together else "")
        return whole if _words(whole) > 2 * _words(" ".join(lines)) else "\n".join(lines) or span

    return said


def is_code(text: str) -> bool:
    """Has it many marks of code, and no line that reads as prose or leads in to something?"""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    prose = (line for line in lines if len(line.split()) > 2 and not _CODE.search(line) and line[:1].isupper())
    marks = len(_CODE.findall(text))
    return marks >= max(2, _words(text) * MARKS_OF_CODE) and not any(prose) and lines[-1][-1:] not in ":."


def _within_marks(span: str) -> str:
    """From its first letter or figure to its last."""
    first, last = _SAID.search(span), _SAID.search(span[::-1])
    return span[first.start() : len(span) - last.start()] if first and last else ""


def _has_prose(span: str) -> bool:
    parts = (span, *span.splitlines())
    return any(_reads_as_prose(_within_marks(part)) or _undressed(part) for part in parts) or bool(_in_address(span))


def _phrases(span: str) -> list[str]:
    """In strings, in comments, between tags and in braces; where it is but a word or two, it is a name."""
    said = (match[match.lastgroup or 0] for match in _SAYS.finditer(span))
    return [text.strip() for text in map(_plain, said) if text]


def _plain(text: str) -> str:
    """What it says, without the marks that it is dressed in; nothing if it says nothing."""
    return text if _says_something(text) else _undressed(text)


def _says_something(text: str) -> bool:
    return _PHRASE.search(text) is not None and not _mostly_code(text)


def _reads_as_prose(said: str) -> bool:
    return _words(said) >= FEWEST_WORDS and not _mostly_code(said)


def _mostly_code(said: str) -> bool:
    return len(_CODE.findall(said)) >= _words(said) * 0.1


def _words(said: str) -> int:
    return max(len(_WORD.findall(said)), sum(map(str.isalpha, said)) // 4)  # some languages have no spaces


def _in_address(span: str) -> list[str]:
    """The sentences in a URL: `/take%20the%20key`, `?q=take+the+key`; and those over all of it, `/take/the/key`."""
    if not _SCHEME.match(span):
        return []
    parts = _IN_ADDRESS.split(_SCHEME.sub("", span))[1:]
    said = [_in_part_of_address(part) for part in parts]
    return list(filter(None, said)) or list(filter(None, [_in_part_of_address("/".join(parts))]))


def _in_part_of_address(part: str) -> str:
    text = unquote_plus(part)
    said = _undressed(text) or (text if _is_a_sentence(text) else "")
    return said if len(_WORD.findall(said)) >= (FEWEST_WORDS if " " in text else FEWEST_IN_A_PATH) else ""


def _dressed_together(spans: Sequence[str]) -> bool:
    return len(spans) > 1 and bool(_undressed("\n".join(span for span in spans if not _SCHEME.match(span))))


def _undressed(text: str) -> str:
    """What a text says that has marks between its words or around its lines; nothing if it has none, or is code."""
    bare = _within_marks(_bare(text, MOST))
    return bare if bare != _within_marks(text) and _is_a_sentence(bare) else ""


def _is_a_sentence(text: str) -> bool:
    """A stricter test than `_reads_as_prose`: where the marks are gone, names and lists have as few of them."""
    words = _WORD.findall(text)
    if not _reads_as_prose(text) or (text.isascii() and len(words) < FEWEST_WORDS):
        return False
    little = sum(not word.isascii() or word.lower() in _LITTLE_WORDS for word in words)
    return little >= max(1, len(words) * LITTLE)


def _bare(text: str, most: float = 0.0) -> str:
    """Without the marks around its lines and between its words, if at least so many of them have any."""
    return _parted(_unframed(text.replace("%20", " "), most), most)


def _unframed(text: str, most: float) -> str:
    """Without the marks that most lines begin with, and those that most end in."""
    lines = text.splitlines()
    several = [line.strip() for line in lines if len(line.split()) > 1 or _JOINED.search(line)]
    for marks in (_BEFORE_A_LINE.match, _BEHIND_A_LINE.search):
        found = Counter(match[0].strip() for line in several if (match := marks(line)))
        [(mark, times)] = found.most_common(1) or [("", 0)]
        if times > 1 and times >= most * len(several):
            drop = str.removeprefix if marks == _BEFORE_A_LINE.match else str.removesuffix
            lines = [drop(line.strip(), mark).strip() for line in lines]
    return "\n".join(lines)


def _parted(text: str, most: float) -> str:
    """With a space in place of what most words are joined by."""
    joined = 0

    def part(match: re.Match[str]) -> str:
        nonlocal joined
        if text[match.end() : match.end() + 1] in ("(", "["):  # a name, of what is called
            return match[0]
        parted = match[0].replace(match["joiner"], " ")
        joined += len(_WORD.findall(parted))
        return parted

    parted = _JOINED.sub(part, text)
    return parted if joined >= most * len(_WORD.findall(parted)) else text
