"""Upstreams, one file each: ways to reach a policy model.

A file has `Options` (its configuration) and `build`, which makes the client. Its name is the
policy's `kind`.
"""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from corrector.strictyaml import Strict
from gateway.exchange import ChatRequest, Json

# What is not streamed comes in one piece, so that the seconds between two bytes are those of the whole answer. OpenAI's
# SDK waits as long; where the gateway gave up before it, the SDK would ask, and the operator pay, three times.
LONGEST_ANSWER_S = 600.0


class PolicyOptions(Strict):
    """What every policy's options have. `corrector: none` is a policy that is never corrected."""

    kind: str
    corrector: str
    model: str | None = None
    fallbacks: tuple[str, ...] = ()


class Reply(Protocol):
    """An upstream's answer whose head has come. Read it in one way, then close it."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def streamed(self) -> bool: ...

    @property
    def done(self) -> bool:
        """Has the stream said `[DONE]`? Known once `events` has ended."""
        ...

    async def read(self) -> bytes:
        """The body, whole."""
        ...

    def relay(self) -> AsyncIterator[bytes]:
        """The stream's bytes as they come, not looked into."""
        ...

    def events(self) -> AsyncIterator[Json]:
        """The stream's chunks, without the final `[DONE]`."""
        ...

    def close(self) -> None: ...


class Upstream(Protocol):
    async def ask(self, request: ChatRequest) -> Reply:
        """Forward. Raises `WireError`, only before the first byte."""
        ...

    async def reachable(self) -> bool: ...

    async def aclose(self) -> None: ...


class UpstreamKind(Protocol):
    Options: type[PolicyOptions]

    def build(self, name: str, options: Any, run_dir: Path) -> Upstream: ...


def kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(kind: str) -> UpstreamKind:
    """The upstream of that kind, one of `kinds()`."""
    return cast(UpstreamKind, cast(Any, importlib.import_module(f"{__name__}.{kind}")))
