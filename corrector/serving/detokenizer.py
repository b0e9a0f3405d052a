"""Tokens to text, as they come: no character before it is whole, and nothing of a stop string. Knows no model."""

from collections.abc import Callable, Sequence

BEFORE = 6  # tokens that are decoded along with a new one: what it says may hang on them, as a leading space does
BROKEN = "\ufffd"  # what a decoder makes of bytes that are no whole character yet


class IncrementalDetokenizer:
    """The text of one answer. `decode` turns tokens into text; `before` are the tokens that the answer follows."""

    def __init__(self, decode: Callable[[list[int]], str], before: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._decode = decode
        self._ids = list(before[-BEFORE:])
        self._read = len(self._ids)  # so many of them are behind the text so far
        self._stops = stops
        self._held = ""  # may be the beginning of a stop string
        self.stopped = False

    def add(self, token: int) -> str:
        """The text that may be sent now. `stopped` once a stop string has come: it and the rest are left out."""
        self._ids.append(token)
        new = self._undecoded()
        if not new or new.endswith(BROKEN):
            return ""
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        return self._before_a_stop(new)

    def end(self) -> str:
        """What was held back, once no token will follow."""
        if self.stopped:
            return ""
        return self._before_a_stop(self._undecoded().rstrip(BROKEN)) + self._held

    def _undecoded(self) -> str:
        return self._decode(self._ids)[len(self._decode(self._ids[: self._read])) :]

    def _before_a_stop(self, new: str) -> str:
        text, self._held = self._held + new, ""
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        begun = max((_begun(text, stop) for stop in self._stops), default=0)
        if begun:
            text, self._held = text[:-begun], text[-begun:]
        return text


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop string."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-size:])), 0)
