"""Engines, one file each: what runs behind a corrector's or a local policy's URL.

A file has `Options` (its configuration) and `launch`, which says how to start it, or None where
nothing is to be started. Its name is the engine's `kind`.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, cast

from pydantic import Field, JsonValue

from corrector.strictyaml import Strict


class EngineOptions(Strict):
    """What every engine's options have."""

    kind: str
    model: str = ""
    context: Annotated[int, Field(ge=256)] = 4096  # tokens that prompt and answer may have together

    @property
    def salts_prefixes(self) -> bool:
        """Does a request's `cache_salt` keep the prefixes that one tenant's prompts share from all others'?"""
        return False

    @property
    def request_fields(self) -> Mapping[str, JsonValue]:
        """What a correction's request says besides, or otherwise; with null, what it leaves out."""
        return {}

    def correcting(self) -> Self:
        """As it had better run for a corrector, whose answers are copies for the most part, where nothing is said."""
        return self


@dataclass(frozen=True, slots=True)
class Launch:
    """A child process that will answer on a Unix socket."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 60.0
    progress: Callable[[str], str | None] = lambda line: None  # what the log shall say of a line that it prints


class Engine(Protocol):
    Options: type[EngineOptions]

    def launch(self, options: Any, socket: Path) -> Launch | None: ...

    def base_urls(self, options: Any, socket: Path) -> tuple[str, ...]: ...

    def api_key(self, options: Any) -> str | None: ...


def kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(kind: str) -> Engine:
    """The engine of that kind, one of `kinds()`."""
    return cast(Engine, importlib.import_module(f"{__name__}.{kind}"))


def refuse_ours(given: Iterable[str], ours: Mapping[str, str], where: str) -> None:
    """Raises `ValueError` for what the gateway says itself; `ours` has what to say instead."""
    for name in given:
        if name in ours:
            raise ValueError(f"{name!r} is not for {where}: {ours[name]}")


def socket_path(run_dir: Path, options: EngineOptions) -> Path:
    """Where the engine with these options answers: equal options share one engine, in every worker."""
    digest = hashlib.sha256(options.model_dump_json().encode()).hexdigest()[:12]
    return run_dir / f"{options.kind}-{digest}.sock"
