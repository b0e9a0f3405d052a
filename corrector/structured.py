"""Is a text data, and not prose? Asked for by a prompt alone, JSON comes without a word of it in the request."""

import re

from wire.codec import loads

# How an object or an array begins, as far as it has come; not a footnote, `[1] as this one`.
_BEGINS = re.compile(r"\s*(?:\Z|\{\s*(?:[\"}]|\Z)|\[(?!\s*\d*\s*\]\s*\S)\s*(?:[\[\]{\"0-9-]|\Z))")
_ENDS = {"{": "}", "[": "]"}
_HEAD = 64  # characters, in which it shows


def is_json(text: str) -> bool:
    """Is it an object or an array as a whole, but for white space around it?"""
    text = text.strip()
    if not text or text[-1] != _ENDS.get(text[0]):
        return False
    try:
        loads(text)
    except ValueError:
        return False
    return True


class PerhapsJson:
    """Holds a text that grows back, from its beginning, as long as it may become JSON."""

    def __init__(self, *, holds: bool = True) -> None:
        self._holds = holds
        self._head = ""
        self._held: list[str] = []

    def feed(self, piece: str) -> str:
        """What is held back no longer, and the piece, or nothing."""
        if not self._holds:
            return piece
        self._held.append(piece)
        if len(self._head) < _HEAD:
            self._head = (self._head + piece)[:_HEAD]
            if _BEGINS.match(self._head) is None:
                return self.finish()
        return ""

    def finish(self) -> str:
        """What is held back, and no longer."""
        held, self._held, self._holds = "".join(self._held), [], False
        return held
