"""The only reader of objectives.yaml: objectives, named sets of them, and what each tenant may do.

Knows nothing of policies; `gateway/config.py` holds the two files against each other.
"""

import functools
import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from corrector import redaction
from corrector.quoting import Quoting
from corrector.strictyaml import ConfigError, Source, Strict, Variable, nearest, secret, unset

Mode = Literal["full", "segment", "shadow", "off"]
Audit = Literal["off", "metadata", "full"]

MAX_OBJECTIVES = 32  # that apply to one request: a corrector's prompt is no book
MAX_DESCRIPTION = 2000  # characters of an operator's own
_UNPRINTED = ("Cc", "Cs", "Zl", "Zp")  # not Cf: Persian and emoji need their joiners


class Objective(Strict):
    """What a correction should aim for, in one sentence: the corrector reads the text, not the key.

    The rest is for the gate. `min_ratio`: where this is asked for, as little of a draft may be left. `may_refuse`:
    a correction may be a refusal, which has nothing of the draft, and none of its protected spans either.
    `other_script`: a correction may be in other letters than its draft, as where another language is asked for.
    """

    key: str
    name: str
    description: Annotated[str, Field(min_length=1, max_length=MAX_DESCRIPTION)]
    min_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    may_refuse: bool = False
    other_script: bool = False


class _Written(Strict):
    """An objective in its long form."""

    name: str
    description: Annotated[str, Field(min_length=1, max_length=MAX_DESCRIPTION)]
    min_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    may_refuse: bool = False
    other_script: bool = False


class _Key(Strict):
    """Where a key comes from: an environment variable's name, or the SHA-256 of the key in hex."""

    env: Variable | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_two(cls, value: object) -> object:
        """What stands here instead is not told: it may be the key itself."""
        if not isinstance(value, dict) or set(value) not in ({"env"}, {"sha256"}) or None in value.values():
            raise ValueError("a key is either {env: NAME} or {sha256: HEX}")
        return value


class Tenant(Strict):
    """Who is calling: defaults, what always holds, and what a request may change."""

    keys: Literal["none"] | tuple[_Key, ...]
    objectives: str | tuple[str, ...] = "default"
    required: tuple[str, ...] = ()
    allow: Literal["any"] | tuple[str, ...] = "any"
    define: bool = True
    allow_off: bool = False
    allow_draft: bool | None = None
    structured: Literal["refuse", "pass"] = "refuse"
    reasoning: Literal["pass", "drop"] = "pass"
    mode: Mode = "full"
    release: Literal["live", "checked"] = "live"
    on_failure: Literal["original", "error"] | None = None
    policies: Literal["any"] | tuple[str, ...] = "any"
    roll_out: Annotated[float, Field(ge=0, le=100)] = 100.0  # percent that are sent what was corrected; others: shadow
    audit: Audit = "off"
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 30
    redact: tuple[str, ...] = ()  # patterns
    training: bool = False  # may its trail become training data?

    @field_validator("roll_out", mode="before")
    @classmethod
    def _percent(cls, value: object) -> object:
        return value.removesuffix("%") if isinstance(value, str) else value

    @field_validator("redact", mode="before")
    @classmethod
    def _patterns(cls, value: object) -> object:
        return tuple(map(redaction.pattern, value)) if isinstance(value, (list, tuple)) else value

    @field_validator("keys", mode="before")
    @classmethod
    def _none_or_many(cls, value: object) -> object:
        """Whoever means a key must not be told of `none` alone, which lets everybody in."""
        if value != "none" and not isinstance(value, (list, tuple)):
            raise ValueError("must be `none`, or a list of `{env: NAME}` / `{sha256: HEX}`")
        return value

    @field_validator("required", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("allow", "policies", mode="before")
    @classmethod
    def _any_one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) and value != "any" else value

    @property
    def may_see_draft(self) -> bool:
        """A draft beside the correction would get round a required objective, unless the tenant says so."""
        return not self.required if self.allow_draft is None else self.allow_draft

    @property
    def keeps_draft(self) -> bool:
        """Is the draft sent where the corrector fails? Not where something is required, unless the tenant says so."""
        return not self.required if self.on_failure is None else self.on_failure == "original"


@dataclass(frozen=True)
class Objectives:
    """objectives.yaml, validated. `tenant_by_digest` maps the SHA-256 of a key to a tenant's name.

    `raw` is the file as it was read.
    """

    objectives: Mapping[str, Objective]
    sets: Mapping[str, tuple[str, ...]]
    tenants: Mapping[str, Tenant]
    tenant_by_digest: Mapping[bytes, str]
    anonymous: str | None
    raw: bytes = b""

    def tenant_of(self, key: str) -> str | None:
        """The tenant of an API key, or None, in a time that does not depend on how much of a key is right."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        # A table keyed by the hash: what its timing tells is of the hash, from which no key can be built.
        return self.tenant_by_digest.get(digest)

    @functools.cached_property
    def first_digests(self) -> Mapping[str, bytes]:
        """Of each tenant that has keys, the SHA-256 of its first."""
        return {name: digest for digest, name in reversed(list(self.tenant_by_digest.items()))}

    def expand(self, names: str | Iterable[str]) -> list[str]:
        """Objective keys for a mix of objective and set names. Raises `KeyError` with an unknown name."""
        keys: dict[str, None] = {}
        for name in [names] if isinstance(names, str) else names:
            if name in self.sets:
                keys.update(dict.fromkeys(self.sets[name]))
            elif name in self.objectives:
                keys[name] = None
            else:
                raise KeyError(name)
        return list(keys)

    def ordered(self, keys: Iterable[str]) -> tuple[Objective, ...]:
        """In the file's order, whatever the caller's: equal plans then share one prompt prefix."""
        wanted = set(keys)
        return tuple(objective for key, objective in self.objectives.items() if key in wanted)


def read(path: Path, *, policies: Collection[str] | None = None, keys: bool = True) -> Objectives:
    """Parse and validate; tenants may name only the given policies.

    Without `keys`, those that the environment does not hold are left out: who answers no request needs none.
    Raises `ConfigError` with file, line and the nearest name.
    """
    source = Source(path)
    for key in source.mapping():
        if key not in ("objectives", "sets", "tenants"):
            raise source.error(f"unknown key {key!r}{nearest(key, ('objectives', 'sets', 'tenants'))}", key)
    objectives = {key: _objective(source, key) for key in source.mapping("objectives")}
    sets = {name: _set(source, name, objectives) for name in source.mapping("sets")}
    tenants = {name: source.parse(Tenant, value, "tenants", name) for name, value in source.mapping("tenants").items()}
    if not tenants:
        raise source.error("no tenants: add `public: {keys: none, objectives: [...]}`", "tenants")
    for name, tenant in tenants.items():
        _check_tenant(source, name, tenant, objectives, sets)
        for index, policy in enumerate(() if tenant.policies == "any" else tenant.policies):
            if policies is not None and policy not in policies:
                hint = nearest(policy, policies)
                raise source.error(f"unknown policy {policy!r}{hint}", "tenants", name, "policies", index)
    anonymous = [name for name, tenant in tenants.items() if tenant.keys == "none"]
    if len(anonymous) > 1:
        raise source.error(f"only one tenant may have `keys: none`; {anonymous[0]!r} has it", "tenants", anonymous[1])
    digests = _digests(source, tenants, needed=keys)
    return Objectives(objectives, sets, tenants, digests, next(iter(anonymous), None), source.raw)


def _objective(source: Source, key: str) -> Objective:
    value = source.data["objectives"][key]
    if not key.replace("-", "").replace("_", "").isalnum() or len(key) > 64:
        raise source.error(f"the key {key!r} may hold letters, digits, - and _ only", "objectives", key)
    if isinstance(value, str):
        value = {"name": key.replace("_", " ").replace("-", " ").capitalize(), "description": value}
    if not isinstance(value, (str, dict)):
        message = f"the objective {key!r} must be a sentence, in quotes where it is no plain words, or a mapping"
        raise source.error(f"the objective {key!r} has no description" if value is None else message, "objectives", key)
    written = source.parse(_Written, value, "objectives", key)
    for field, text in (("name", written.name), ("description", written.description)):
        if (wrong := description_fault(text.strip(), MAX_DESCRIPTION)) is not None:
            raise source.error(f"the {field} of {key!r} {wrong}", "objectives", key, field)
    return Objective(**{**written.model_dump(), "key": key, "description": written.description.strip()})


def description_fault(text: str, longest: int) -> str | None:
    """Why the text would not reach a corrector as one sentence, of `longest` characters at most; None if it would.

    What is said follows on a name of the text: "the description of 'x' " + "must be one line".
    """
    if not 0 < len(text) <= longest:
        return f"must have 1 to {longest} characters"
    if any(unicodedata.category(char) in _UNPRINTED for char in text):
        return "must be one line, without control characters"
    for mark in "|;":  # `;` stands between objectives in every family's prompt
        if mark in text:
            return f"may not hold {mark!r}, which has a meaning in prompts"
    if imitated := _structure().imitates(text):
        return f"may not hold {imitated!r}, which has a meaning in prompts"
    return None


@functools.cache
def _structure() -> Quoting:
    """Of the prompts of all families."""
    from corrector.templates import load, names  # they import this module

    return Quoting(mark for name in names() for mark in load(name).DELIMITERS)


def _set(source: Source, name: str, objectives: Mapping[str, Objective]) -> tuple[str, ...]:
    value = source.data["sets"][name]
    if name in objectives:
        raise source.error(f"{name!r} is already the name of an objective", "sets", name)
    if not isinstance(value, list):
        raise source.error(f"the set {name!r} must be a list of objectives", "sets", name)
    for index, key in enumerate(value):
        if not isinstance(key, str) or key not in objectives:
            raise source.error(f"unknown objective {key!r}{nearest(str(key), objectives)}", "sets", name, index)
    return tuple(value)


def _check_tenant(
    source: Source,
    name: str,
    tenant: Tenant,
    objectives: Mapping[str, Objective],
    sets: Mapping[str, tuple[str, ...]],
) -> None:
    known = {*objectives, *sets}
    for field in ("objectives", "required", "allow"):
        value = getattr(tenant, field)
        if field == "allow" and value == "any":
            continue
        for index, key in enumerate([value] if isinstance(value, str) else value):
            if key not in known:
                hint = nearest(key, known)
                raise source.error(f"unknown objective or set {key!r}{hint}", "tenants", name, field, index)
    asked = {aim for key in (*_listed(tenant.objectives), *tenant.required) for aim in sets.get(key, (key,))}
    if len(asked) > MAX_OBJECTIVES:
        message = f"{len(asked)} objectives would apply to each request; {MAX_OBJECTIVES} at most can"
        raise source.error(message, "tenants", name, "objectives")
    if tenant.required and not any(sets.get(key, (key,)) for key in tenant.required):
        raise source.error("`required` names nothing but empty sets", "tenants", name, "required")
    if tenant.required and tenant.mode not in ("full", "segment"):
        raise source.error(
            "a tenant with `required` objectives must have `mode: full` or `segment`", "tenants", name, "mode"
        )
    if tenant.roll_out < 100 and (tenant.required or tenant.mode in ("shadow", "off")):
        why = "has `required` objectives" if tenant.required else f"has `mode: {tenant.mode}`"
        raise source.error(f"a tenant that {why} cannot be rolled out in part", "tenants", name, "roll_out")
    if tenant.keys != "none" and not tenant.keys:
        raise source.error(
            "`keys` is empty: nobody could call; write `keys: none` for anybody", "tenants", name, "keys"
        )


def _listed(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _digests(source: Source, tenants: Mapping[str, Tenant], *, needed: bool) -> dict[bytes, str]:
    digests: dict[bytes, str] = {}
    for name, tenant in tenants.items():
        for index, key in enumerate(() if tenant.keys == "none" else tenant.keys):
            digest = _digest(key)
            if digest is None:
                if needed:
                    raise source.error(unset(key.env or ""), "tenants", name, "keys", index)
                continue
            if digest in digests:
                message = f"this key belongs to the tenant {digests[digest]!r} already"
                raise source.error(message, "tenants", name, "keys", index)
            digests[digest] = name
    return digests


def _digest(key: _Key) -> bytes | None:
    """None where the environment does not hold it."""
    if key.sha256 is not None:
        return bytes.fromhex(key.sha256)
    if not (told := secret(key.env)):
        return None
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


__all__ = ["Audit", "ConfigError", "Mode", "Objective", "Objectives", "Tenant", "read"]
