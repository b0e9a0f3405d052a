"""What a client is told when something fails: OpenAI's error body, always.

GatewayError is raised by our own code and carries a status; `from_wire` maps the failures of a
policy. Anything else that escapes leaves as a plain 500 with the request id, its text in the log only.
"""

import re
from collections.abc import Mapping
from typing import Any

from wire.codec import dumps, loads
from wire.errors import Malformed, Rejected, Reported, TimedOut, WireError, is_moderation

# Of an upstream's error answer, what reaches the client. The rest is between us and the upstream.
PASSED_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry", "x-request-id")
PASSED_PREFIXES = ("x-ratelimit-", "openai-", "anthropic-ratelimit-")
HELD_BACK = ("openai-organization", "openai-project")  # whose key the gateway has

_OF_THE_KEY = (401, 403, 407)
_FIELDS = ("message", "type", "param", "code")
_STATUS = re.compile(r"[45][0-9]{2}")
_DEEPEST = 8  # in an error's form that nobody knows


class GatewayError(Exception):
    """An error answer of ours. `code` is for programs, the message for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        discreet: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self._body = body
        self._discreet = discreet

    @property
    def body(self) -> bytes:
        """The JSON body: an upstream's own where there is one."""
        return self._body if self._body is not None else dumps(self.as_object())

    def body_for(self, may_see_draft: bool) -> bytes:
        """The body; for who may not see drafts, of an upstream's only what cannot quote one."""
        return self.body if may_see_draft or self._discreet is None else self._discreet

    def as_object(self) -> dict[str, Any]:
        return error_object(self.status, self.code, self.message, self.param)


def error_object(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": _type(status), "param": param, "code": code}}


def from_wire(error: WireError) -> GatewayError:
    """A policy's failure in the client's terms."""
    if isinstance(error, Rejected):
        return _from_rejected(error)
    if isinstance(error, Reported):
        return _from_reported(error)
    if isinstance(error, TimedOut):
        return GatewayError(504, "upstream_timeout", str(error))
    if isinstance(error, Malformed):
        return GatewayError(502, "upstream_malformed", str(error))
    return GatewayError(502, "upstream_unavailable", str(error))


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The upstream's response headers that are the client's business."""
    return {
        name: value
        for name, value in headers.items()
        if ((lower := name.lower()) in PASSED_HEADERS or lower.startswith(PASSED_PREFIXES)) and lower not in HELD_BACK
    }


def _from_rejected(error: Rejected) -> GatewayError:
    headers = passed_headers(error.headers)
    if error.status in _OF_THE_KEY and not error.moderated:
        return _no_credentials(headers)
    if not 400 <= error.status < 600:
        kind = "a redirect" if error.status < 400 else "no status of HTTP"
        return GatewayError(502, "upstream_unavailable", f"the policy answered {error.status}, {kind}", headers=headers)
    raw: bytes | None = error.body
    try:
        body = loads(error.body)
    except ValueError:
        body = None
    if isinstance(body, list) and len(body) == 1:  # Gemini's
        body, raw = body[0], None
    if _flat(body):
        body, raw = {"error": {name: body.get(name) for name in _FIELDS}}, None
    message = _said(body) or str(error)
    # Ollama and llama-server say in a 5xx what their model wrote, if it is no tool call as it should be.
    safe = message if error.status < 500 else f"the policy answered {error.status}"
    return GatewayError(
        error.status, "upstream_error", message, headers=headers, body=_own_body(body, raw),
        discreet=_discreet(body, error.status, safe),
    )  # fmt: skip


def _from_reported(error: Reported) -> GatewayError:
    """An error that came with a 200, with the status that it names itself, as OpenRouter's does; else 502."""
    told = error.body.get("error")
    named = [str(told.get(name)) for name in ("code", "status")] if isinstance(told, dict) else []
    status = next((int(one) for one in named if _STATUS.fullmatch(one)), 502)
    if status in _OF_THE_KEY and not (status == 403 and is_moderation(error.body)):
        return _no_credentials({})
    return GatewayError(
        status, "upstream_error", _said(error.body) or str(error), body=_own_body(error.body),
        discreet=_discreet(error.body, status, str(error)),
    )  # fmt: skip


def _no_credentials(headers: Mapping[str, str]) -> GatewayError:
    """The gateway's key is wrong, not the client's."""
    return GatewayError(502, "upstream_authentication", "the policy refused the gateway's credentials", headers=headers)


def _flat(body: Any) -> bool:
    """Is it an error that stands outside any `error`, as FastChat's and older vLLM's do?"""
    if not isinstance(body, dict) or "error" in body or not body.keys() & {"type", "param", "code"}:
        return False
    return isinstance(body.get("message"), str) and body["message"] != ""


def _discreet(body: Any, status: int, message: str) -> bytes:
    """An error body with this message, and of an upstream's own what names the error."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return dumps(error_object(status, "upstream_error", message))
    names = {name: error.get(name) for name in _FIELDS[1:]}
    kept = {name: value if isinstance(value, (str, int)) else None for name, value in names.items()}
    return dumps({"error": {"message": message, **kept}})


def _own_body(body: Any, raw: bytes | None = None) -> bytes | None:
    """The upstream's own error body, if it is OpenAI's `error` object; fields that it lacks are null then."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    if raw is not None and error.keys() >= set(_FIELDS):
        return raw
    return dumps({**body, "error": {"type": None, "param": None, "code": None, **error}})


def _said(told: Any, depth: int = 0) -> str | None:
    """What an error in any form says: a text, Cloudflare's `errors`, FastAPI's and Mistral's `detail` (no `input`)."""
    if isinstance(told, str):
        return told or None
    if depth == _DEEPEST:
        return None
    if isinstance(told, list):
        return "; ".join(filter(None, (_said(one, depth + 1) for one in told))) or None
    if not isinstance(told, dict):
        return None
    if isinstance(message := told.get("msg"), str):
        loc = told.get("loc")
        return f"{'.'.join(map(str, loc))}: {message}" if isinstance(loc, list) and loc else message
    parts = (_said(told.get(name), depth + 1) for name in ("error", "message", "detail", "errors"))
    return next(filter(None, parts), None)


def _type(status: int) -> str:
    known = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return known.get(status, "invalid_request_error" if status < 500 else "api_error")
