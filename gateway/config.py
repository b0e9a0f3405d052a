"""The only reader of policies.yaml, and the frozen configuration that both files make together."""

import contextlib
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from corrector import engines, objectives, templates
from corrector.corrector import CorrectorOptions
from corrector.engines import EngineOptions
from corrector.objectives import Objectives
from corrector.running import CorrectorSpec
from corrector.strictyaml import Source, Strict, Variable, nearest, secret, unset
from gateway import upstreams
from gateway.upstreams import PolicyOptions

SECTIONS = ("policies", "correctors", "server")
# Of a PostgreSQL's URL: what asyncpg takes in words, not as numbers or objects, and what the store makes of others.
PARAMETERS = (
    "command_timeout", "database", "direct_tls", "gsslib", "host", "krbsrvname", "passfile", "password", "port",
    "prepared_statement_cache_size", "service", "servicefile", "ssl", "sslmode", "target_session_attrs", "user",
)  # fmt: skip

DRIVER = "a trail in PostgreSQL needs asyncpg: .venv/bin/pip install -c constraints.txt -e '.[postgres]'"


class AuditOptions(Strict):
    """Where the audit trail is kept. What is kept, and how long, each tenant says."""

    url: str | None = None
    url_env: Variable | None = None
    queue: Annotated[int, Field(ge=1)] = 10_000

    @field_validator("url")
    @classmethod
    def _known(cls, url: str | None) -> str | None:
        return None if url is None else checked(url, bare=True)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.url is not None and self.url_env is not None:
            raise ValueError("takes `url` or `url_env`, not both")
        return self

    @property
    def named(self) -> bool:
        """Does policies.yaml name it? Else it is where every gateway of this user keeps its own."""
        return self.url is not None or self.url_env is not None

    def location(self) -> str:
        """The URL, by default of a file among this user's state. Raises `ValueError`."""
        if self.url_env is not None:
            if not secret(self.url_env):
                raise ValueError(unset(self.url_env))
            try:
                return checked(secret(self.url_env))
            except ValueError as error:
                raise ValueError(f"{self.url_env} {error}") from None
        if self.url is not None:
            return self.url
        try:
            state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        except RuntimeError:  # of a user that the system does not know, as a container may run as
            raise ValueError("this user has no home: say where in `server.audit.url`, or set XDG_STATE_HOME") from None
        return f"sqlite:///{state / 'metaaligner/audit.db'}"


class ServerOptions(Strict):
    """The gateway itself. Read at start; a change needs a restart."""

    cors_origins: tuple[str, ...] = ()
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    max_body_mb: Annotated[float, Field(gt=0)] = 20
    heartbeat_s: Annotated[float, Field(gt=0)] = 5
    drain_s: Annotated[int, Field(ge=0)] = 20
    audit: AuditOptions = AuditOptions()

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """An origin is compared by its letters: one that no browser sends would never be let in."""
        for origin in origins:
            if origin not in ("*", "null") and origin != (sent := _origin(origin)):
                raise ValueError(f"{origin!r} is no origin" + (f"; browsers send {sent!r}" if sent else ""))
        return origins


def _origin(url: str) -> str | None:
    """Scheme, host and port of a URL, as a browser says them."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return None
    port = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower().removesuffix(port)}"


@dataclass(frozen=True, slots=True)
class Config:
    """Both files, validated and held against each other.

    `raw`: the files as they were read. `digest`: `cat policies.yaml objectives.yaml | sha256sum`.
    """

    server: ServerOptions
    policies: Mapping[str, PolicyOptions]
    correctors: Mapping[str, CorrectorSpec]
    objectives: Objectives
    raw: tuple[bytes, bytes]
    digest: str

    def engines(self) -> Iterator[EngineOptions]:
        """Every engine that the configuration names, each as often as it is named."""
        for policy in self.policies.values():
            engine = getattr(policy, "engine", None)
            if engine is not None:
                yield engine
        for corrector in self.correctors.values():
            yield corrector.engine

    def unset(self) -> list[str]:
        """What the environment lacks: values of variables that the configuration names, and a driver of its trail."""
        asking: list[tuple[str, object]] = [(f"the policy {name}", policy) for name, policy in self.policies.items()]
        asking += [(who, getattr(policy, "engine", None)) for who, policy in asking]
        asking += [(f"the corrector {name}", spec.engine) for name, spec in self.correctors.items()]
        named = [(who, getattr(options, "api_key_env", None)) for who, options in asking]
        for name, tenant in self.objectives.tenants.items():
            named += [(f"the tenant {name}", key.env) for key in tenant.keys if not isinstance(key, str)]
        told = [f"{who} has no key: {unset(variable)}" for who, variable in named if variable and not secret(variable)]
        audit = self.server.audit
        if audit.url_env is not None and not secret(audit.url_env):
            told.append(f"the audit trail has no address: {unset(audit.url_env)}")
        with contextlib.suppress(ValueError):
            if _wants_driver(audit.location()):
                told.append(DRIVER)
        return told


def read(policies_path: Path, objectives_path: Path, *, anonymous: bool = True, keys: bool = True) -> Config:
    """Raises `ConfigError` that says file, line, what is wrong and what would be right.

    `anonymous`: may there be a tenant that needs no key? `keys`: must the environment hold those of the others, and
    what the audit trail wants? Who answers no request needs neither.
    """
    source = Source(policies_path)
    for key in source.mapping():
        if key not in SECTIONS:
            raise source.error(f"unknown key {key!r}{nearest(key, SECTIONS)}", key)
    server = source.parse(ServerOptions, source.mapping("server"), "server")
    correctors = {name: _corrector(source, name) for name in source.mapping("correctors")}
    policies = {name: _policy(source, name, correctors) for name in source.mapping("policies")}
    if not policies:
        raise source.error("no policies: there is nothing to forward to", "policies")
    aims = objectives.read(objectives_path, policies=policies, keys=keys)
    if aims.anonymous is not None and not anonymous:
        message = (
            f"the tenant {aims.anonymous!r} needs no key, and the address is not a loopback one: "
            "give it keys, or start with --allow-anonymous"
        )
        raise Source(objectives_path).error(message, "tenants", aims.anonymous, "keys")
    if any(tenant.audit != "off" for tenant in aims.tenants.values()):
        _check_trail(source, server.audit, needed=keys)
    digest = hashlib.sha256(source.raw + aims.raw).hexdigest()
    shared = [engine for policy in policies.values() if (engine := getattr(policy, "engine", None)) is not None]
    correctors = {name: _correcting(spec, shared) for name, spec in correctors.items()}
    return Config(server, policies, correctors, aims, (source.raw, aims.raw), digest)


def checked(url: str, *, bare: bool = False) -> str:
    """The URL, `~` written out, if a trail can be kept there; `bare`: if it holds no password either.

    Raises `ValueError`, whose words hold no password.
    """
    if re.fullmatch(r"sqlite:///(?!:memory:$)[^?]+", url):
        return _at_home(url)
    if not url.startswith("postgresql://"):
        raise ValueError("must be sqlite:///FILE or postgresql://HOST/DATABASE")
    from sqlalchemy import make_url  # 0.3 s, and of those who have a PostgreSQL only
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("must be sqlite:///FILE or postgresql://HOST:PORT/DATABASE") from None
    if bare and (parts.password or "password" in parts.query):
        raise ValueError("holds a password: put it into an environment variable, and name that in `url_env`")
    for name in parts.query:
        if name not in PARAMETERS:
            raise ValueError(f"has an unknown parameter {name!r}{nearest(name, PARAMETERS)}")
    return url


def _at_home(url: str) -> str:
    scheme, path = url[: len("sqlite:///")], url[len("sqlite:///") :]
    try:
        return scheme + (str(Path(path).expanduser()) if path.startswith("~") else path)
    except RuntimeError as error:  # nobody of that name
        raise ValueError(f"must be a file: {error}") from None


def _check_trail(source: Source, options: AuditOptions, *, needed: bool) -> None:
    if not needed and not secret(options.url_env):  # `Config.unset` says what is missing
        return
    try:
        url = options.location()
    except ValueError as error:
        raise source.error(str(error), "server", "audit", "url_env") from None
    if needed and _wants_driver(url):
        raise source.error(DRIVER, "server", "audit")


def _wants_driver(url: str) -> bool:
    return url.startswith("postgresql") and importlib.util.find_spec("asyncpg") is None


def _corrector(source: Source, name: str) -> CorrectorSpec:
    steps = ("correctors", name)
    if name == "none":
        raise source.error("no corrector can be called `none`: so says a policy that has none", *steps)
    value = dict(source.mapping(*steps))
    engine = _engine(source, value.pop("engine", None), *steps, "engine")
    options = source.parse(CorrectorOptions, value, *steps)
    if options.template not in templates.names():
        hint = nearest(options.template, templates.names())
        raise source.error(f"unknown template {options.template!r}{hint}", *steps, "template")
    return CorrectorSpec(engine=engine, options=options)


def _correcting(spec: CorrectorSpec, shared: Sequence[EngineOptions]) -> CorrectorSpec:
    """Its engine as correctors have it, unless a policy has the same: it would be two then, and they one's memory."""
    return spec if spec.engine in shared else spec.model_copy(update={"engine": spec.engine.correcting()})


def _engine(source: Source, value: Any, *steps: str) -> EngineOptions:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in engines.kinds():
        hint = nearest(str(kind), engines.kinds()) if kind else f"; known: {', '.join(engines.kinds())}"
        raise source.error(f"unknown engine kind {kind!r}{hint}", *steps, "kind")
    return source.parse(engines.load(kind).Options, value, *steps)


def _policy(source: Source, name: str, correctors: Mapping[str, CorrectorSpec]) -> PolicyOptions:
    steps = ("policies", name)
    value = dict(source.mapping(*steps))
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in upstreams.kinds():
        hint = nearest(str(kind), upstreams.kinds()) if kind else f"; known: {', '.join(upstreams.kinds())}"
        raise source.error(f"unknown policy kind {kind!r}{hint}", *steps, "kind")
    if "engine" in value:
        value["engine"] = _engine(source, value["engine"], *steps, "engine")
    options = source.parse(upstreams.load(kind).Options, value, *steps)
    if options.corrector != "none" and options.corrector not in correctors:
        hint = nearest(options.corrector, correctors)
        raise source.error(f"unknown corrector {options.corrector!r}{hint}", *steps, "corrector")
    for index, fallback in enumerate(options.fallbacks):
        if fallback not in source.mapping("policies") or fallback == name:
            hint = nearest(fallback, set(source.mapping("policies")) - {name})
            raise source.error(f"unknown fallback {fallback!r}{hint}", *steps, "fallbacks", index)
    return options
