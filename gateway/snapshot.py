"""What requests are answered by: one configuration, with a client for everything that it names.

A request keeps its snapshot to its end; what comes after it takes over the clients that have not changed.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corrector.claims import Claim
from corrector.corrector import Corrector
from corrector.engines import socket_path
from corrector.running import corrector_endpoint, corrector_of
from gateway import upstreams
from gateway.config import Config
from gateway.upstreams import Upstream
from wire.endpoint import Endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A configuration, the clients that it names, its claim to their engines, and the tasks that answer by it."""

    config: Config
    upstreams: Mapping[str, Upstream]
    correctors: Mapping[str, Corrector]
    endpoints: Mapping[str, Endpoint]
    claim: Claim
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def hold(self, task: asyncio.Task[Any] | None) -> None:
        """Keep the clients and engines at least until the task has ended."""
        if task is not None and task not in self.tasks:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


def build(config: Config, before: Snapshot | None, run_dir: Path) -> Snapshot:
    """Clients for the configuration; those whose options have not changed are kept, with their connections."""
    made_upstreams: dict[str, Upstream] = {}
    for name, policy in config.policies.items():
        if before is not None and before.config.policies.get(name) == policy:
            made_upstreams[name] = before.upstreams[name]
        else:
            made_upstreams[name] = upstreams.load(policy.kind).build(name, policy, run_dir)
    correctors: dict[str, Corrector] = {}
    endpoints: dict[str, Endpoint] = {}
    for name, spec in config.correctors.items():
        if before is not None and before.config.correctors.get(name) == spec:
            correctors[name], endpoints[name] = before.correctors[name], before.endpoints[name]
        else:
            endpoints[name] = corrector_endpoint(name, spec, run_dir)
            correctors[name] = corrector_of(name, spec, endpoints[name])
    claim = Claim(socket_path(run_dir, options) for options in config.engines())
    return Snapshot(config, made_upstreams, correctors, endpoints, claim)


async def close(old: Snapshot, kept: Iterable[Snapshot]) -> None:
    """Its clients, but for those that one of the kept ones uses too, and its claim."""
    using = {id(client) for snapshot in kept for client in _clients(snapshot)}
    for client in _clients(old):
        if id(client) not in using:
            with contextlib.suppress(OSError):
                await client.aclose()
    old.claim.close()


def _clients(snapshot: Snapshot) -> list[Upstream | Endpoint]:
    return [*snapshot.upstreams.values(), *snapshot.endpoints.values()]
