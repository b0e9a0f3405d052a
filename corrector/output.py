"""What an engine says while it runs, kept as far as it may be needed: lines as they come, and why it died.

Knows no engine. What an engine says may hold a user's text once it answers requests, so nothing of it is logged but
what its kind picks out (`Launch.progress`), and why it died: a line if it never was ready, else the error's name.
"""

import re
from collections import deque
from collections.abc import Iterator

KEPT_LINES = 400
LONGEST_LINE = 1000
LONGEST_CAUSE = 300

# As Python ends a traceback, after whatever the program's own log puts before a line; or as argparse and C say it.
_ERROR = re.compile(
    r"(?:^|[\])|:]\s+)"
    r"((?P<name>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit)): \S.*|(?:\S+ )*error: \S.*|error loading .*)$"
)
_POINTS_ELSEWHERE = re.compile(r"root cause|stack trace|see .{0,40}above", re.IGNORECASE)
_GOES_ON = re.compile(r"validation errors? for \w+$")


class Output:
    """Feed it what comes; it gives whole lines, and remembers the last of them."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._was_ready = False

    def ready(self) -> None:
        """It answers requests from now on: how it started is past, and a line may hold what a user wrote."""
        self._was_ready = True
        self._lines.clear()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that are whole now; a progress bar's carriage return ends one too."""
        *lines, self._rest = re.split(rb"[\r\n]+", self._rest + chunk)
        self._rest = self._rest[-LONGEST_LINE:]
        for line in lines:
            text = line[:LONGEST_LINE].decode(errors="replace").rstrip()
            if text:
                self._lines.append(text)
                yield text

    def cause(self) -> str:
        """Why it died, in its own words: the last error that does not point to another one, or the last line.

        Of one that was ready, that error's name alone, or nothing.
        """
        lines = [*self._lines, *filter(None, [self._rest.decode(errors="replace").strip()])]
        for at in range(len(lines) - 1, -1, -1):
            found = _ERROR.search(lines[at])
            if found and self._was_ready and not found["name"]:
                continue
            if found and not _POINTS_ELSEWHERE.search(found.group(1)):
                if self._was_ready:
                    return found["name"][:LONGEST_CAUSE]
                rest = lines[at + 1] if _GOES_ON.search(found.group(1)) and at + 1 < len(lines) else ""
                return " ".join(f"{found.group(1)} {rest}".split())[:LONGEST_CAUSE]
        return lines[-1][-LONGEST_CAUSE:] if lines and not self._was_ready else ""
