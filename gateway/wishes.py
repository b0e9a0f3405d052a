"""What a request says of its alignment: headers, and `align` in its body. Knows no tenant and no objective."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import unquote

from corrector.objectives import Mode
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest


@dataclass(frozen=True, slots=True)
class Wish:
    """What the request asks for, None where it leaves that to its tenant."""

    objectives: tuple[str, ...] | None
    define: Mapping[str, str]
    mode: Mode | None
    return_draft: bool
    live_draft: bool


def read(request: ChatRequest) -> Wish:
    """Headers and `align` in the body, which may say the same thing but not different ones.

    Raises `GatewayError` 400 that says what would be right.
    """
    body = request.align if request.align is not None else {}
    if not isinstance(body, dict):
        raise GatewayError(400, "invalid_align", "`align` must be an object", param="align")
    unknown = set(body) - {"objectives", "define", "mode", "return"}
    if unknown:
        message = f"`align` knows objectives, define, mode and return, not {', '.join(sorted(map(str, unknown)))}"
        raise GatewayError(400, "invalid_align", message, param="align")
    named = [value for name, value in request.header_list if name == "x-align-objectives"]
    defines = [value for name, value in request.header_list if name == "x-align-define"]
    objectives = _agreed(
        "objectives",
        _names(unquote(",".join(named))) if named else None,  # a header that comes twice is a list: RFC 9110, 5.3
        _names(body["objectives"]) if body.get("objectives") is not None else None,
    )
    define = _agreed(
        "define",
        _definitions(defines) if defines else None,
        _definitions(body["define"]) if body.get("define") is not None else None,
    )
    mode = _agreed("mode", _one(request, "x-align-mode"), body.get("mode"))
    if mode is not None and mode not in get_args(Mode):
        raise GatewayError(
            400, "invalid_mode", f"no mode {mode!r}; there are: {', '.join(get_args(Mode))}", param="align.mode"
        )
    wanted = _agreed("return", _one(request, "x-align-return"), body.get("return"))
    if wanted not in (None, "draft", "live-draft"):
        raise GatewayError(
            400,
            "invalid_return",
            "beside the correction, `draft` or `live-draft` can be returned",
            param="align.return",
        )
    return Wish(objectives, define or {}, mode, wanted is not None, wanted == "live-draft")


def _one(request: ChatRequest, header: str) -> str | None:
    """A header that says one thing. Raises `GatewayError` where it comes twice and says two."""
    said = {value.strip() for name, value in request.header_list if name == header}
    if len(said) > 1:
        raise contradiction(header.removeprefix("x-align-"), "one " + header.title(), "another")
    return said.pop() if said else None


def _agreed(what: str, header: Any, body: Any) -> Any:
    same = set(header) == set(body) if isinstance(header, tuple) and isinstance(body, tuple) else header == body
    if header is not None and body is not None and not same:
        raise contradiction(what, f"X-Align-{what.capitalize()}", f"`align.{what}`")
    return header if header is not None else body


def contradiction(what: str, one: str, other: str) -> GatewayError:
    return GatewayError(400, "contradiction", f"{one} and {other} say different things", param=f"align.{what}")


def _names(value: Any) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise GatewayError(400, "invalid_objectives", "objectives are names, in a list", param="align.objectives")
    names = tuple(name.strip() for name in listed if name.strip())
    if not names:
        raise GatewayError(400, "invalid_objectives", "name at least one objective", param="align.objectives")
    return names


def _definitions(value: Any) -> dict[str, str]:
    """`{name: description}`, or a list of `name=description`, percent-encoded UTF-8 where needed."""
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return {name.strip(): text.strip() for name, text in value.items()}
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(text, str) and "=" in text for text in listed):
        raise GatewayError(400, "invalid_definition", "a definition is NAME=DESCRIPTION", param="align.define")
    pairs = [text.partition("=") for text in listed]
    names = [name.strip() for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise GatewayError(400, "invalid_definition", "an objective is defined twice", param="align.define")
    try:
        return {name.strip(): unquote(text, errors="strict").strip() for name, _, text in pairs}
    except UnicodeDecodeError:
        raise GatewayError(
            400, "invalid_definition", "a definition is not percent-encoded UTF-8", param="align.define"
        ) from None
