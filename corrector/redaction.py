"""What is taken out of a text before it is kept: known kinds by name, others by a pattern. Knows nothing of trails.

Each kind's pattern takes time in proportion to the text, whatever stands in it: it looks a bounded way ahead.
"""

import re
from collections.abc import Iterable

REDACTED = "[redacted]"
# Rather too much than too little: what is taken out of a kept text is missed by nobody. Words of other scripts border
# on numbers without a space: only letters of ours make a number part of a word.
KINDS = {
    "email": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
    "phone": r"(?<![A-Za-z_\d])(?<!\d\.)\+?\d(?:[ ()/.-]{0,2}\d){6,14}(?![A-Za-z_\d])",
    "card": r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)",
    "ip": r"(?<![A-Za-z_\d.])(?:\d{1,3}\.){3}\d{1,3}(?![A-Za-z_\d]|\.\d)"
    r"|(?<![A-Za-z_\d:.])(?:(?=[0-9a-fA-F:]{0,37}::)|(?=(?:[0-9a-fA-F]{1,4}:){4}))[0-9a-fA-F:]{2,39}"
    r"(?:(?:\.\d{1,3}){3})?(?![A-Za-z_\d:])",
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
    for found in patterns:
        text = re.sub(found, _taken_out, text)
    return text


def _taken_out(match: re.Match[str]) -> str:
    return REDACTED if match[0] else ""  # a pattern may match a mere place, as `\b` does
