"""Tenant, headers and body to one alignment plan: what will be done with this request's answer. Pure.

A request chooses within what its tenant allows; what a tenant requires always stays.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from corrector.objectives import MAX_OBJECTIVES, Mode, Objective, Objectives, Tenant, description_fault
from gateway import wishes
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest
from gateway.upstreams import PolicyOptions
from gateway.wishes import Wish

MAX_DEFINED = 8
MAX_DESCRIPTION = 500
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
    required: tuple[Objective, ...]  # those of the objectives that are the tenant's, whatever a request asks for
    defined: tuple[Objective, ...]  # those of the objectives that are the request's own
    mode: Mode
    return_draft: bool
    live_draft: bool  # and as the policy writes it
    skip: Skip | None
    salt: str  # for an engine's prefix cache: whose prompts begin alike is not to be read off a clock

    @property
    def drops_thinking(self) -> bool:
        """A `<think>` block in an answer's text: what is required cannot be made to hold for it."""
        return self.tenant.reasoning == "drop" or bool(self.tenant.required)

    @property
    def keeps_draft(self) -> bool:
        """Is the draft sent where it cannot be corrected?"""
        return self.tenant.keeps_draft


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
    policy_name, chosen_set = policy_of(config, tenant, allowed, request.model)
    wish = wishes.read(request)
    objectives = _objectives(config.objectives, tenant, wish, chosen_set)
    required = config.objectives.ordered(config.objectives.expand(tenant.required))
    mode = _mode(tenant, required, wish)
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
        required=required,
        defined=objectives[len(objectives) - len(wish.define) :],
        mode=mode,
        return_draft=wish.return_draft,
        live_draft=wish.live_draft,
        skip=_skip(tenant, policy, objectives, mode, request.body),
        salt=_salt(config.objectives, tenant_name),
    )


def policy_of(config: Config, tenant: Tenant, allowed: list[str], model: str) -> tuple[str, str | None]:
    """The policy that `model` names, of those allowed, and the set of objectives behind its `@`, if any.

    Raises `GatewayError`: 404 for a policy, 400 for a set that is not there or not allowed, which is not told apart.
    """
    if model in allowed:
        return model, None
    name, at, chosen_set = model.rpartition("@")
    if at and name in allowed:
        known = config.objectives
        sets = choosable_sets(known, choosable(known, tenant))
        if chosen_set in sets:
            return name, chosen_set
        message = f"no objective set {chosen_set!r}; there are: {', '.join(sets) or 'none'}"
        raise GatewayError(400, "unknown_set", message, param="model")
    message = f"no model {model!r} here; there are: {', '.join(allowed) or 'none'}"
    raise GatewayError(404, "model_not_found", message, param="model")


def _objectives(known: Objectives, tenant: Tenant, wish: Wish, chosen_set: str | None) -> tuple[Objective, ...]:
    chosen: Iterable[str] = known.expand(tenant.objectives)
    names = wish.objectives
    if chosen_set is not None:
        if names is not None and set(names) != {chosen_set}:
            raise wishes.contradiction("objectives", "the model's set", "`objectives`")
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


def choosable_sets(known: Objectives, allowed: Collection[str]) -> list[str]:
    """The sets of which a request may name all objectives."""
    return [name for name, keys in known.sets.items() if all(key in allowed for key in keys)]


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
            listed += [f"{name} (a set)" for name in choosable_sets(known, allowed)]
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
    allowed = choosable(known, tenant) if define else ()
    # What the corrector reads is the title: one that reads like another's would give it a second meaning.
    titles = {_as_read(word) for key in allowed for word in (key, known.objectives[key].name)} - {""}
    taken = titles | {_as_read(name) for name in choosable_sets(known, allowed)}
    defined: dict[str, Objective] = {}
    for name, description in define.items():
        title = title_of(name)
        if not _NAME.fullmatch(name):
            raise bad(f"the name {name[:64]!r} may hold up to 64 letters, digits, - and _ only")
        if _as_read(title) in taken:
            raise bad(f"{name!r} has a meaning here already; choose another name")
        if (wrong := _description_fault(description, titles)) is not None:
            raise bad(f"the description of {name!r} {wrong}")
        defined[name] = Objective(key=name, name=title, description=description)
        taken.add(_as_read(title))
    return defined


def _description_fault(description: str, titles: Collection[str]) -> str | None:
    """Why it would not reach the corrector as one sentence about one objective, after `the description of 'x' `.

    `titles`: other objectives', as they are read, for which it may not speak.
    """
    if (wrong := description_fault(description, MAX_DESCRIPTION)) is not None:
        return wrong
    plain = unicodedata.normalize("NFKC", description)  # U+037E is a `;` to many a tokenizer
    if (wrong := description_fault(plain, len(plain))) is not None:
        return wrong
    read = _as_read(description)
    other = next((one for one in sorted(titles) if re.search(rf"(?<![a-z0-9]){re.escape(one)} ?:", read)), None)
    return other and f"may not hold {f'{other}:'!r}: what follows would be read as another objective's description"


def title_of(name: str) -> str:
    """What a corrector reads of an objective that has no other name."""
    return " ".join(re.split("[-_ ]+", name)).strip().capitalize()


def _as_read(text: str) -> str:
    """For comparing: without what a reader overlooks, such as case, hyphens and characters that have no width."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return re.sub(r"[\s_-]+", " ", text).strip()


def _mode(tenant: Tenant, required: tuple[Objective, ...], wish: Wish) -> Mode:
    mode = wish.mode or tenant.mode
    if mode == tenant.mode or mode == "full":
        return mode
    why = None
    if mode == "segment":
        if refusing := [aim.key for aim in required if aim.may_refuse]:
            # By segments, what came before the one that is refused is out already.
            why = f"mode 'segment' is refused: required is {', '.join(refusing)}, which may refuse an answer whole"
    elif required:
        why = f"mode {mode!r} is refused: required are {', '.join(tenant.required)}"
    elif not tenant.allow_off:
        why = f"this tenant does not allow mode {mode!r}"
    if why is not None:
        raise GatewayError(403, "mode_not_allowed", why, param="align.mode")
    return mode


def _rolled_out(tenant: Tenant, tenant_name: str, who: str) -> bool:
    """Is this user, or request, among the `roll_out` percent? The same one always is, and more are as that grows."""
    if tenant.roll_out >= 100:
        return True
    lot = hashlib.sha256(f"metaaligner roll-out {tenant_name} {who}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(lot[:8]) < tenant.roll_out / 100 * 2**64


def _user(body: Mapping[str, Any]) -> str:
    """Whom the client says that it asks for, in OpenAI's fields."""
    user = body.get("safety_identifier") or body.get("user")
    return user if isinstance(user, str) else ""


def _salt(known: Objectives, tenant_name: str) -> str:
    """The same on every replica; where the tenant has keys, nobody can compute it who has not one of them."""
    key = known.first_digests.get(tenant_name, b"")
    return hashlib.sha256(f"metaaligner tenant {tenant_name} ".encode() + key).hexdigest()[:32]


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
