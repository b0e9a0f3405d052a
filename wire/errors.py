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


class Reported(WireError):
    def __init__(self, message: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.body = body
