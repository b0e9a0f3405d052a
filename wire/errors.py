"""What can go wrong between us and a service we call.

WireError
  +- Unreachable   no connection could be made
  +- TimedOut      connected, but silent for too long
  +- Dropped       the connection ended before the answer did
  +- Malformed     an answer that is not the protocol
  +- Rejected      an answer with an error status: `status`, `headers`, `body`
  +- Reported      an `error` object inside a stream that had begun: `body`
"""

from collections.abc import Mapping
from typing import Any

# No key, no credit, no such model or address, no time: whatever the service is asked gets the same answer.
_OF_THE_SERVICE = (401, 402, 403, 404, 405, 407, 408, 429)


class WireError(Exception):
    """Base of all. The message names the service, never its key and never a text of a user."""


class Unreachable(WireError):
    pass


class TimedOut(WireError):
    pass


class Dropped(WireError):
    pass


class Malformed(WireError):
    pass


class Rejected(WireError):
    def __init__(self, message: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def of_the_request(self) -> bool:
        """Is the request itself at fault? Asked again, here or elsewhere, it would be once more."""
        return 400 <= self.status < 500 and self.status not in _OF_THE_SERVICE


class Reported(WireError):
    def __init__(self, message: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.body = body
