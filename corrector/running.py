"""A corrector of the configuration, from its options to one that answers.

`running` and `served` also run the engine, for a command that needs it only as long as it lasts;
the gateway's own engines live longer than any corrector, and are the supervisor's.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pydantic import SerializeAsAny

from corrector.corrector import Corrector, CorrectorOptions
from corrector.engines import EngineOptions, load, socket_path
from corrector.generation import LIMITS
from corrector.strictyaml import Strict
from corrector.supervisor import Log, Supervisor
from wire.endpoint import Endpoint
from wire.errors import Unreachable


class CorrectorSpec(Strict):
    """A corrector in policies.yaml: what runs it, and how it is asked."""

    engine: SerializeAsAny[EngineOptions]
    options: CorrectorOptions


def endpoint_of(name: str, engine: EngineOptions, run_dir: Path, timeout_s: float) -> Endpoint:
    """The client of an engine, which may not have been started yet."""
    kind = load(engine.kind)
    urls = kind.base_urls(engine, socket_path(run_dir, engine))
    return Endpoint(name, urls, api_key=kind.api_key(engine), timeout_s=timeout_s, retries=1)


def corrector_endpoint(name: str, spec: CorrectorSpec, run_dir: Path) -> Endpoint:
    return endpoint_of(f"the corrector {name}", spec.engine, run_dir, spec.options.timeout_s)


def corrector_of(name: str, spec: CorrectorSpec, endpoint: Endpoint) -> Corrector:
    engine, options = spec.engine, spec.options
    if any(limit in engine.request_fields for limit in LIMITS):  # not to be had for one token, as what goes ahead is
        options = options.model_copy(update={"prefill_ahead": 0})
    return Corrector(
        name, options, endpoint, model=engine.model or name, context_tokens=engine.context,
        salts_prefixes=engine.salts_prefixes, request_fields=engine.request_fields,
    )  # fmt: skip


@contextlib.contextmanager
def run_dir() -> Iterator[Path]:
    """A directory that only this user can enter, gone afterwards. Short: a socket's path has 107 bytes at most.

    It is locked as long: systemd-tmpfiles, which sweeps /tmp of what is some days old, lets be what is (tmpfiles.d(5)).
    """
    directory = Path(tempfile.mkdtemp(prefix="metaaligner-", dir="/tmp"))
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(lock)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def served(name: str, engine: EngineOptions, log: Log, timeout_s: float = 120.0) -> AsyncIterator[Endpoint]:
    """The engine, started if it is ours to start. Raises `Unreachable`; the log says why."""
    with run_dir() as directory:
        supervisor = Supervisor(directory, log)
        endpoint = endpoint_of(name, engine, directory, timeout_s)
        try:
            if not await supervisor.ensure([engine]):
                raise Unreachable(f"the engine of {name} did not start")
            yield endpoint
        finally:
            await endpoint.aclose()
            await supervisor.aclose()


@contextlib.asynccontextmanager
async def running(name: str, spec: CorrectorSpec, log: Log) -> AsyncIterator[Corrector]:
    """The corrector, with its engine. Raises `Unreachable`; the log says why."""
    async with served(f"the corrector {name}", spec.engine, log, spec.options.timeout_s) as endpoint:
        yield corrector_of(name, spec, endpoint)
