"""The only reader of policies.yaml, and the frozen configuration that both files make together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from corrector import engines, objectives, templates
from corrector.corrector import CorrectorOptions
from corrector.engines import EngineOptions
from corrector.objectives import Objectives
from corrector.running import CorrectorSpec
from corrector.strictyaml import Source, Strict, nearest
from gateway import upstreams
from gateway.upstreams import PolicyOptions

SECTIONS = ("policies", "correctors", "server")


class ServerOptions(Strict):
    """The gateway itself. Read at start; a change needs a restart."""

    cors_origins: tuple[str, ...] = ()
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    max_body_mb: Annotated[float, Field(gt=0)] = 20
    heartbeat_s: Annotated[float, Field(gt=0)] = 5
    drain_s: Annotated[int, Field(ge=0)] = 20


@dataclass(frozen=True, slots=True)
class Config:
    """Both files, validated and held against each other."""

    server: ServerOptions
    policies: Mapping[str, PolicyOptions]
    correctors: Mapping[str, CorrectorSpec]
    objectives: Objectives

    def engines(self) -> Iterator[EngineOptions]:
        """Every engine that the configuration names, each as often as it is named."""
        for policy in self.policies.values():
            engine = getattr(policy, "engine", None)
            if engine is not None:
                yield engine
        for corrector in self.correctors.values():
            yield corrector.engine


def read(policies_path: Path, objectives_path: Path, *, anonymous: bool = True) -> Config:
    """Raises `ConfigError` that says file, line, what is wrong and what would be right.

    `anonymous`: may there be a tenant that needs no key?
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
    aims = objectives.read(objectives_path, policies=policies)
    if aims.anonymous is not None and not anonymous:
        message = (
            f"the tenant {aims.anonymous!r} needs no key, and the address is not a loopback one: "
            "give it keys, or start with --allow-anonymous"
        )
        raise Source(objectives_path).error(message, "tenants", aims.anonymous, "keys")
    return Config(server, policies, correctors, aims)


def _corrector(source: Source, name: str) -> CorrectorSpec:
    steps = ("correctors", name)
    value = dict(source.mapping(*steps))
    engine = _engine(source, value.pop("engine", None), *steps, "engine")
    options = source.parse(CorrectorOptions, value, *steps)
    if options.template not in templates.names():
        hint = nearest(options.template, templates.names())
        raise source.error(f"unknown template {options.template!r}{hint}", *steps, "template")
    return CorrectorSpec(engine=engine, options=options)


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
