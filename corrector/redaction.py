"""What is taken out of a text before it is kept: known kinds by name, others by a pattern. Knows nothing of trails.

Each kind's pattern takes time in proportion to the text, whatever stands in it: it looks a bounded way ahead, or
begins once in what it goes over.
"""

import re
from collections.abc import Iterable

REDACTED = "[redacted]"
_SPACE = r" \u00a0\u2000-\u200a\u202f\u205f\u3000"  # none that ends a line or a column: what follows is another number
_DASH = r"\-\u2010-\u2015\u2212"
_BETWEEN = rf"[{_SPACE}().{_DASH}/]"
_YEARS = rf"(?:1[5-9]|20)\d\d[{_SPACE}]?[{_DASH}][{_SPACE}]?(?:1[5-9]|20)\d\d(?!{_BETWEEN}?\d)"
# `10 000 – 20 000`, round as amounts are. Seen from its first digit or, where a number is looked for next, its `000 –`.
_AMOUNTS = (
    rf"(?:[1-9]\d{{0,2}}[{_SPACE}]|(?<=\d[{_SPACE}]))\d00"
    rf"[{_SPACE}]?[{_DASH}][{_SPACE}]?[1-9]\d{{0,2}}[{_SPACE}]\d00(?!{_BETWEEN}?\d)"
)
_LOCAL = r"[\w.+\-'\u2019%&=~]"
# Rather too much than too little: what is taken out of a kept text is missed by nobody. Words of other scripts border
# on numbers without a space: only letters of ours make a number part of a word, but for one that ends as `-4567` or is
# called a phone's; `_` does between the two, elsewhere it is Markdown's. Years and amounts from one to another are no
# phone number. Dots part a card's groups only: elsewhere they are a fraction's.
_ALONE = r"(?<![A-Za-z\d])(?<![A-Za-z\d]_)"
_ENDS = r"(?![A-Za-z\d]|_[A-Za-z\d])"
_CALLED = r"(?i:(?<=tel|fax|fon)|(?<=call|cell|fone|fono)|(?<=phone|mobil|handy)|(?<=mobile|number))"
# `inet6:` before an address: a word with a letter that no address has, or it were a part of one.
_NAMED = rf"(?:{'|'.join(rf'(?<=[g-zG-Z][A-Za-z0-9]{{{more}}}:)' for more in range(8))})(?=[\da-fA-F]|::)"
KINDS = {
    "email": rf"(?<!{_LOCAL}){_LOCAL}++@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}",
    "phone": rf"(?:{_ALONE}|{_CALLED})(?<!\d\.)(?!{_YEARS}|{_AMOUNTS})\+?\d(?:{_BETWEEN}{{0,3}}\d){{6,14}}"
    rf"(?:[{_SPACE}]{{0,2}}(?i:x|ext|extension)\.?[{_SPACE}]?\d{{1,6}})?"
    rf"(?:{_ENDS}|(?<=[{_DASH}]\d{{4}})(?=[A-Za-z]))",
    "card": rf"(?<!\d)(?:\d(?:[{_SPACE}{_DASH}]{{0,3}}\d){{12,18}}"
    r"|\d{4}(?:\.\d{6}\.\d{4,5}|(?:\.\d{4}){3}(?:\.\d{1,3})?))(?!\d)",
    "ip": rf"{_ALONE}(?<!\.)(?:\d{{1,3}}\.){{3}}\d{{1,3}}{_ENDS}(?!\.\d)"
    rf"|(?:{_ALONE}(?<![:.])|{_NAMED})"
    r"(?:(?=[0-9a-fA-F:]{0,37}::)|(?=(?:[0-9a-fA-F]{1,4}:){4}))[0-9a-fA-F:]{2,39}"
    r"(?:(?:\.\d{1,3}){3})?"
    rf"{_ENDS}(?!:)",
}


def pattern(entry: object) -> str:
    """The pattern of one entry of a list: a kind's name, or `{pattern: REGEX}`. Raises `ValueError` that says which."""
    if isinstance(entry, str):
        if entry in KINDS:
            return KINDS[entry]
        raise ValueError(f"no kind {entry!r}; there are {', '.join(KINDS)}, and {{pattern: REGEX}} for others")
    if isinstance(entry, dict) and set(entry) == {"pattern"} and isinstance(entry["pattern"], str):
        try:
            compiled = re.compile(entry["pattern"])
        except re.error as error:
            raise ValueError(f"{entry['pattern']!r} is no regular expression: {error}") from None
        if compiled.match(""):
            raise ValueError(f"{entry['pattern']!r} matches nothing at all, and so everywhere")
        return str(entry["pattern"])
    raise ValueError(f"an entry is one of {', '.join(KINDS)}, or {{pattern: REGEX}}")


def redacted(text: str, patterns: Iterable[str]) -> str:
    """The text without what the patterns find, one after the other, but for `phone`, which other kinds go before."""
    for found in _ordered(list(patterns)):
        text = re.sub(found, _taken_out, text)
    return text


def _ordered(patterns: list[str]) -> list[str]:
    """`phone` takes what it can of a card or an e-mail address, whose rest is then known as neither."""
    if KINDS["phone"] not in patterns:
        return patterns
    at = patterns.index(KINDS["phone"])
    first = [found for found in patterns[at + 1 :] if found in KINDS.values() and found != KINDS["phone"]]
    return [*patterns[:at], *first, *(found for found in patterns[at:] if found not in first)]


def _taken_out(match: re.Match[str]) -> str:
    return REDACTED if match[0] else ""  # a pattern may match a mere place, as `\b` does
