"""Server-sent events, both ways: an incremental decoder over bytes, and encoders.

Lines end in CR LF, LF or CR and in nothing else (WHATWG HTML, "Server-sent events"): U+2028 and its
kin are text. The decoder takes chunks cut anywhere, inside a character or between CR and LF. An event is its data: no
service that is asked here gives its events names that matter.
"""

from codecs import BOM_UTF8
from typing import Any, NamedTuple

from wire.codec import dumps

DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": keep-alive\n\n"


class Event(NamedTuple):
    data: str


class Decoder:
    """Feed bytes, get events. One instance a stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip_newline = False  # the last chunk ended in CR: a leading LF belongs to it
        self._begun = False
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Event]:
        if self._skip_newline and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_newline = False
        if not chunk:
            return []
        if b"\n" not in chunk and b"\r" not in chunk:  # one byte at a time must not rescan the buffer
            self._buffer += chunk
            return []
        if chunk.endswith(b"\r"):
            self._skip_newline = True
        lines = (bytes(self._buffer) + chunk).splitlines()  # of bytes: at CR LF, LF and CR only
        self._buffer = bytearray() if chunk.endswith((b"\n", b"\r")) else bytearray(lines.pop())
        return self._events(lines)

    def close(self) -> list[Event]:
        """What stood unfinished at the end; some servers omit the last blank line."""
        lines = [bytes(self._buffer), b""]
        self._buffer.clear()
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[Event]:
        if not self._begun:
            lines[0] = lines[0].removeprefix(BOM_UTF8)
            self._begun = True
        events = []
        for raw in lines:
            if not raw:
                if self._data:
                    events.append(Event("\n".join(self._data)))
                self._data = []
                continue
            name, _, value = raw.decode("utf-8", errors="replace").partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
        return events


def encode(value: Any) -> bytes:
    """One `data:` event holding a JSON value."""
    return b"data: " + dumps(value) + b"\n\n"
