"""Tenant, headers and body to one alignment plan: what will be done with this request's answer. Pure.

A request chooses within what its tenant allows; what a tenant requires always stays.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import unquote

from corrector.objectives import MAX_OBJECTIVES, Mode, Objective, Objectives, Tenant
from corrector.quoting import Quoting
from corrector.templates import load, names
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest
from gateway.upstreams import PolicyOptions

MAX_DEFINED = 8
MAX_DESCRIPTION = 500
_UNPRINTED = ("Cc", "Cs", "Zl", "Zp")  # not Cf: Persian and emoji need their joiners
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Ways to ask for output that a rewriting would break: OpenAI's, vLLM's, SGLang's and llama.cpp's.
_STRUCTURED_TYPES = ("json_object", "json_schema", "json", "regex", "grammar", "structural_tag")
_STRUCTURED = (
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar", "json_schema",
    "regex", "ebnf",
)  # fmt: skip
_JSON_TYPES = ("json_object", "json_schema")  # what `structured: pass` means where something is required

Skip = Literal["mode_off", "structured_output", "audio_output", "no_objectives", "no_corrector"]


@dataclass(frozen=True, slots=True)
class Plan:
    """`skip` says why nothing is corrected, if so."""

    tenant_name: str
    tenant: Tenant
    policy: str
    policies: tuple[str, ...]  # the policy, then its fallbacks that the tenant may use
    corrector: str
    objectives: tuple[Objective, ...]
    required: tuple[Objective, ...]  # of these, the first ones are the tenant's whatever a request asks for
    defined: int  # of these, the last ones are the request's own
    mode: Mode
    return_draft: bool
    live_draft: bool  # and as the policy writes it
    skip: Skip | None

    @property
    def drops_thinking(self) -> bool:
        """A `<think>` block in an answer's text: what is required cannot be made to hold for it."""
        return self.tenant.reasoning == "drop" or bool(self.tenant.required)

    @property
    def keeps_draft(self) -> bool:
        """Is the draft sent where it cannot be corrected?"""
        return self.tenant.keeps_draft

    @property
    def salt(self) -> str:
        """Of vLLM's prefix cache: whether somebody else's prompt began like one's own is not to be read off a clock."""
        return hashlib.sha256(f"metaaligner tenant {self.tenant_name}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the request says, from headers and body taken together."""

    objectives: tuple[str, ...] | None
    define: Mapping[str, str]
    mode: Mode | None
    return_draft: bool
    live_draft: bool


def authenticate(objectives: Objectives, headers: Mapping[str, str]) -> tuple[str, Tenant]:
    """The tenant of the request's API key. Raises `GatewayError` 401.

    Where no tenant has keys, any key is welcome: SDKs insist on sending one.
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else ""
    name = objectives.tenant_of(key) if key else None
    if name is None and (key in ("", "none", "EMPTY") or not objectives.tenant_by_digest):
        name = objectives.anonymous
    if name is None:
        said = "unknown API key" if key else "no API key given: send `Authorization: Bearer KEY`"
        raise GatewayError(401, "invalid_api_key", said, headers={"WWW-Authenticate": "Bearer"})
    return name, objectives.tenants[name]


def usable(config: Config, tenant: Tenant) -> list[str]:
    """The policies that the tenant may use: those it names, and that can be corrected if it requires that."""
    return [
        name
        for name, policy in config.policies.items()
        if (tenant.policies == "any" or name in tenant.policies)
        and not (tenant.required and policy.corrector == "none")
    ]


def resolve(config: Config, tenant_name: str, tenant: Tenant, request: ChatRequest, request_id: str = "") -> Plan:
    """Raises `GatewayError` 400, 403 or 404 that says what would be right.

    `request_id` draws the lot of a request that names no user, where a tenant is rolled out in part.
    """
    allowed = usable(config, tenant)
    policy_name, chosen_set = _policy(config, tenant, allowed, request.model)
    wish = _wish(request)
    objectives = _objectives(config.objectives, tenant, wish, chosen_set)
    mode = _mode(tenant, wish)
    if wish.mode is None and not _rolled_out(tenant, tenant_name, _user(request.body) or request_id):
        mode = "shadow"
    if wish.return_draft and not tenant.may_see_draft:
        raise GatewayError(
            403,
            "draft_not_allowed",
            "this tenant's drafts are not shown: it has required objectives",
            param="align.return",
        )
    policy = config.policies[policy_name]
    return Plan(
        tenant_name=tenant_name,
        tenant=tenant,
        policy=policy_name,
        policies=(policy_name, *(name for name in policy.fallbacks if name in allowed)),
        corrector=policy.corrector,
        objectives=objectives,
        required=config.objectives.ordered(config.objectives.expand(tenant.required)),
        defined=len(wish.define),
        mode=mode,
        return_draft=wish.return_draft,
        live_draft=wish.live_draft,
        skip=_skip(tenant, policy, objectives, mode, request.body),
    )


def _policy(config: Config, tenant: Tenant, allowed: list[str], model: str) -> tuple[str, str | None]:
    if model in allowed:
        return model, None
    name, at, chosen_set = model.rpartition("@")
    if at and name in allowed:
        if chosen_set in config.objectives.sets:
            return name, chosen_set
        may = choosable(config.objectives, tenant)
        known = ", ".join(name for name, keys in config.objectives.sets.items() if set(keys) <= may) or "none"
        raise GatewayError(400, "unknown_set", f"no objective set {chosen_set!r}; there are: {known}", param="model")
    message = f"no model {model!r} here; there are: {', '.join(allowed) or 'none'}"
    raise GatewayError(404, "model_not_found", message, param="model")


def _objectives(known: Objectives, tenant: Tenant, wish: _Wish, chosen_set: str | None) -> tuple[Objective, ...]:
    chosen: Iterable[str] = known.expand(tenant.objectives)
    names = wish.objectives
    if chosen_set is not None:
        if names is not None and set(names) != {chosen_set}:
            raise _contradiction("objectives", "the model's set", "`objectives`")
        names = (chosen_set,)
    defined = _defined(known, tenant, wish.define)
    if names is not None:
        chosen = _allowed(known, tenant, [name for name in names if name not in defined])
    keys = [*known.expand(tenant.required), *chosen]
    objectives = (*known.ordered(keys), *defined.values())
    if len(objectives) > MAX_OBJECTIVES:
        raise GatewayError(400, "too_many_objectives", f"at most {MAX_OBJECTIVES} objectives apply to one request")
    return objectives


def choosable(known: Objectives, tenant: Tenant) -> set[str]:
    """The objectives that a request of the tenant may name."""
    if tenant.allow == "any":
        return set(known.objectives)
    return {*known.expand(tenant.allow), *known.expand(tenant.objectives), *known.expand(tenant.required)}


def _allowed(known: Objectives, tenant: Tenant, names: list[str]) -> list[str]:
    """The objectives that the names stand for. A name that is unknown or not allowed lists what is."""
    allowed = choosable(known, tenant)
    for name in names:
        try:
            keys = known.expand([name])
        except KeyError:
            keys = [name]
        if not set(keys) <= allowed:
            listed = [key for key in known.objectives if key in allowed]
            listed += [f"{name} (a set)" for name, keys in known.sets.items() if set(keys) <= allowed]
            message = f"the objective {name!r} is unknown or not allowed; allowed are: {', '.join(listed)}"
            raise GatewayError(400, "unknown_objective", message, param="align.objectives")
    return known.expand(names)


def _defined(known: Objectives, tenant: Tenant, define: Mapping[str, str]) -> dict[str, Objective]:
    def bad(message: str) -> GatewayError:
        return GatewayError(400, "invalid_definition", message, param="align.define")

    if define and not tenant.define:
        raise GatewayError(403, "define_not_allowed", "this tenant may not define objectives", param="align.define")
    if len(define) > MAX_DEFINED:
        raise bad(f"at most {MAX_DEFINED} objectives can be defined in one request")
    # What the corrector reads is the title: one that reads like another's would give it a second meaning.
    taken = {word.casefold() for key, aim in known.objectives.items() for word in (key, aim.name)} if define else set()
    taken |= {name.casefold() for name in known.sets}
    objectives: dict[str, Objective] = {}
    for name, description in define.items():
        title = title_of(name)
        if not _NAME.fullmatch(name):
            raise bad(f"the name {name[:64]!r} may hold up to 64 letters, digits, - and _ only")
        if taken & {name.casefold(), title.casefold()}:
            raise bad(f"{name!r} has a meaning here already; choose another name")
        check_description(name, description)
        objectives[name] = Objective(key=name, name=title, description=description)
        taken.add(title.casefold())
    return objectives


def check_description(name: str, description: str) -> None:
    """Raises `GatewayError` 400 for what would not reach the corrector as one sentence."""
    wrong = None
    if not 0 < len(description) <= MAX_DESCRIPTION:
        wrong = f"must have 1 to {MAX_DESCRIPTION} characters"
    elif any(unicodedata.category(char) in _UNPRINTED for char in description):
        wrong = "must be one line, without control characters"
    elif imitated := _structure(description):
        wrong = f"may not hold {imitated!r}, which has a meaning in prompts"
    if wrong is not None:
        message = f"the description of {name!r} {wrong}"
        raise GatewayError(400, "invalid_definition", message, param="align.define")


def title_of(name: str) -> str:
    """What a corrector reads of an objective that has no other name."""
    return name.replace("_", " ").replace("-", " ").capitalize()


def _structure(text: str) -> str | None:
    """What in the text would structure some family's prompt: `;` stands between objectives in all of them."""
    for mark in "|;":
        if mark in text:
            return mark
    return Quoting(mark for name in names() for mark in load(name).DELIMITERS).imitates(text)


def _mode(tenant: Tenant, wish: _Wish) -> Mode:
    mode = wish.mode or tenant.mode
    if wish.mode in ("off", "shadow") and wish.mode != tenant.mode:
        if tenant.required:
            required = ", ".join(tenant.required)
            raise GatewayError(
                403, "mode_not_allowed", f"mode {mode!r} is refused: required are {required}", param="align.mode"
            )
        if not tenant.allow_off:
            raise GatewayError(403, "mode_not_allowed", f"this tenant does not allow mode {mode!r}", param="align.mode")
    return mode


def _rolled_out(tenant: Tenant, tenant_name: str, who: str) -> bool:
    """Is this user, or request, among the `roll_out` percent? The same one always is, and more are as that grows."""
    if tenant.roll_out >= 100:
        return True
    lot = hashlib.sha256(f"metaaligner roll-out {tenant_name} {who}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(lot[:8]) < tenant.roll_out / 100 * 2**64


def _user(body: Mapping[str, Any]) -> str:
    """Whom the client says that it asks for, in OpenAI's fields."""
    told = body.get("safety_identifier") or body.get("user")
    return told if isinstance(told, str) else ""


def _skip(
    tenant: Tenant, policy: PolicyOptions, objectives: tuple[Objective, ...], mode: Mode, body: Mapping[str, Any]
) -> Skip | None:
    if mode == "off":
        return "mode_off"
    if policy.corrector == "none":
        return "no_corrector"
    if not objectives:
        return "no_objectives"
    reason = _uncorrectable(body)
    wanted = body.get("response_format")
    is_json = isinstance(wanted, dict) and wanted.get("type") in _JSON_TYPES
    # A grammar may be of any prose, and a server that does not know the field writes it: none opens what is required,
    # also not beside JSON, for it is the server's to say which of the two holds.
    refused = reason == "audio_output" or tenant.structured == "refuse" or not is_json or _has_grammar(body)
    if reason is not None and tenant.required and refused:
        required = ", ".join(tenant.required)
        raise GatewayError(
            403, f"{reason}_refused", f"{reason.replace('_', ' ')} cannot be corrected, and required are: {required}",
            param="response_format" if reason == "structured_output" else "modalities",
        )  # fmt: skip
    return reason


def _uncorrectable(body: Mapping[str, Any]) -> Skip | None:
    """Why the answer to this body is not prose, if so."""
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in _STRUCTURED_TYPES:
        return "structured_output"
    if _has_grammar(body):
        return "structured_output"
    modalities = body.get("modalities")
    if body.get("audio") or (isinstance(modalities, list) and "audio" in modalities):
        return "audio_output"
    return None


def _has_grammar(body: Mapping[str, Any]) -> bool:
    return any(body.get(name) not in (None, False, "") for name in _STRUCTURED)


def _wish(request: ChatRequest) -> _Wish:
    """Headers and `align` in the body, which may say the same thing but not different ones."""
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
    return _Wish(objectives, define or {}, mode, wanted is not None, wanted == "live-draft")


def _one(request: ChatRequest, header: str) -> str | None:
    """A header that says one thing. Raises `GatewayError` where it comes twice and says two."""
    said = {value.strip() for name, value in request.header_list if name == header}
    if len(said) > 1:
        raise _contradiction(header.removeprefix("x-align-"), "one " + header.title(), "another")
    return said.pop() if said else None


def _agreed(what: str, header: Any, body: Any) -> Any:
    same = set(header) == set(body) if isinstance(header, tuple) and isinstance(body, tuple) else header == body
    if header is not None and body is not None and not same:
        raise _contradiction(what, f"X-Align-{what.capitalize()}", f"`align.{what}`")
    return header if header is not None else body


def _contradiction(what: str, one: str, other: str) -> GatewayError:
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
