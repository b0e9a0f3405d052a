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

from wire.codec import loads

# No key, no credit, no such model or address, no time: whatever the service is asked gets the same answer.
_OF_THE_SERVICE = (401, 402, 403, 404, 405, 407, 408, 429)
# What services call an error that is about what was said, and not about who asks.
_CONTENT_CODES = (
    "content_filter", "content_moderation", "content_policy", "content_policy_violation", "moderation_blocked",
)  # fmt: skip


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
        return 400 <= self.status < 500 and (self.status not in _OF_THE_SERVICE or self.moderated)

    @property
    def moderated(self) -> bool:
        """Is it a 403 for what was said?"""
        try:
            return self.status == 403 and is_moderation(loads(self.body))
        except ValueError:
            return False


class Reported(WireError):
    def __init__(self, message: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.body = body


def is_moderation(body: Any) -> bool:
    """Is it an error for what was said? OpenRouter's has the moderation's `reasons`; others have a code for it."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return False
    metadata, codes = error.get("metadata"), (error.get("code"), error.get("type"))
    return (isinstance(metadata, dict) and "reasons" in metadata) or any(code in _CONTENT_CODES for code in codes)


def of_one_request(error: WireError) -> bool:
    """May it be this request alone that the service cannot do, or not in time, while it does the next one?"""
    if isinstance(error, Rejected):
        return error.of_the_request
    return isinstance(error, (Reported, Malformed, TimedOut))
