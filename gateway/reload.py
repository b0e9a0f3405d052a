"""Both files to one snapshot, swapped when either is saved; a broken save changes nothing.

A request asks for the `current()` snapshot and keeps it to its end. Looking whether a file has
changed costs two `stat` calls, so a save is in force for the next request, on any file system.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from corrector.engines import load, socket_path
from corrector.running import endpoint_of
from corrector.strictyaml import ConfigError
from corrector.supervisor import Supervisor
from gateway.config import Config, read
from gateway.snapshot import Snapshot, build, close
from gateway.telemetry import Metrics

SETTLE_S = 0.05  # an editor may truncate first and write then
PATIENCE_S = 0.3  # how long a request waits for the reload that it has found
LOOK_EVERY_S = 1.0
ENGINE_MARGIN_S = 10.0
PROBE_S = 5.0
LOOK_AT_START_S = 0.05
WORKER_PAUSE_S = 1.0
KEPT_RELOADS = 20
NOT_STARTED, SAVED_ANEW = "one of its engines did not start", "saved anew before its engines had started"

_Signature = tuple[tuple[int, int, int], ...]


class Reloader:
    """Owns the snapshot. `supervisor` is None where another process runs the engines, for this one and others."""

    def __init__(
        self,
        policies_path: Path,
        objectives_path: Path,
        run_dir: Path,
        supervisor: Supervisor | None,
        metrics: Metrics,
        log: Any,
        *,
        anonymous: bool = True,
    ) -> None:
        self._anonymous = anonymous
        self._paths = (policies_path, objectives_path)
        self._run_dir = run_dir
        self._supervisor = supervisor
        self._metrics = metrics
        self._log = log
        self._live: list[Snapshot] = []  # the one in force is the last; before it, those that requests still use
        self._coming: Config | None = None  # its engines are being started
        self._seen: _Signature = ()
        self._reload: asyncio.Task[None] | None = None
        self._patient_until = 0.0
        self._retired: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self.last_error: str | None = None
        self.history: deque[dict[str, Any]] = deque(maxlen=KEPT_RELOADS)  # the last ones, the newest last

    async def start(self) -> None:
        """Load for the first time. Raises `ConfigError`."""
        self._seen = self._signature()
        if self._supervisor is not None:
            config = await asyncio.to_thread(read, *self._paths, anonymous=self._anonymous)
            await self._supervisor.ensure(config.engines())
            self._keep(config)
        else:  # its engines are up, or have failed, before there is this process
            config = await self._of_parent()
            if await asyncio.to_thread(_raw, self._paths) != config.raw:
                self._seen = ()  # saved since, or rejected: to be looked at as any save is
        self._live.append(build(config, None, self._run_dir))
        self._warn(config)
        await self._look()
        self._watch = asyncio.create_task(self._look_now_and_then())

    async def _of_parent(self) -> Config:
        """What the process that runs the engines has in force.

        Where that cannot be read any more (a file that it names is gone) this worker alone ends, to be replaced: failed
        as a start fails, uvicorn would end all those beside it, which answer.
        """
        try:
            return await asyncio.to_thread(read, *in_force(self._run_dir), anonymous=self._anonymous)
        except ConfigError as error:
            self._log.error("worker.not_started", error=str(error))
            await asyncio.sleep(WORKER_PAUSE_S)  # the next one comes at once
            os._exit(1)

    async def current(self) -> Snapshot:
        """The snapshot in force, after a save that this call is the first to see has been taken in.

        Its clients and engines stay at least until the task that asks has ended.
        """
        await self._look()
        self.snapshot.hold(asyncio.current_task())
        return self.snapshot

    @property
    def snapshot(self) -> Snapshot:
        """The one in force, for a look; who calls its clients asks for the `current()` one."""
        return self._live[-1]

    @property
    def objectives_path(self) -> Path:
        return self._paths[1]

    def check(self, objectives_path: Path) -> None:
        """Raises the `ConfigError` with which a reload would reject this file in the place of the objectives'."""
        read(self._paths[0], objectives_path, anonymous=self._anonymous)

    async def aclose(self) -> None:
        tasks = [task for task in (self._watch, self._reload, *self._retired) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for snapshot in self._live:
            await close(snapshot, ())
        if self._supervisor is not None:
            await self._supervisor.aclose()

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()
            if self._reload is None:  # else it is not known yet which engines are wanted
                await self._retain_engines()  # of other processes' requests, the last may have ended

    async def _look(self) -> None:
        if self._reload is None and self._signature() != self._seen:
            self._patient_until = time.monotonic() + PATIENCE_S
            self._reload = asyncio.create_task(self._take_in())
        if self._reload is not None and (patience_s := self._patient_until - time.monotonic()) > 0:
            await asyncio.wait({self._reload}, timeout=patience_s)

    def _signature(self) -> _Signature:
        found = []
        for path in self._paths:
            try:
                stat = path.stat()
            except OSError:
                found.append((0, 0, 0))
                continue
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    async def _take_in(self) -> None:
        """Read, validate, swap; or say what is wrong and leave everything as it is."""
        try:
            signature = self._signature()
            while True:  # until nobody is writing any more
                await asyncio.sleep(SETTLE_S)
                if (now := self._signature()) == signature:
                    break
                signature = now
            self._seen = signature
            await self._swap()
        except ConfigError as error:
            self._reject(str(error))
        except Exception as error:  # whatever it is: the last good configuration stays, and somebody hears of it
            self._log.exception("reload.unexpected")
            self._reject(f"{self._paths[0]}, {self._paths[1]}: unexpected {type(error).__name__}")
        finally:
            self._reload = self._coming = None

    async def _swap(self) -> None:
        """Raises `ConfigError`, before anything has changed."""
        started = time.perf_counter()
        self._coming = config = await asyncio.to_thread(read, *self._paths, anonymous=self._anonymous)
        before, new = self._live[-1], None
        try:
            if (why := await self._engines_missing(config, before.config)) is not None:
                if why == NOT_STARTED:
                    self._seen = ()  # they may come yet: look again, though nobody saves anything
                raise ConfigError(self._paths[0], 1, why)
            changed = changes(before.config, config)
            new = build(config, before, self._run_dir)
            if self._supervisor is not None:
                self._keep(config)
        except Exception:
            self._coming = None
            if new is not None:
                await close(new, self._live)
            await self._retain_engines()
            raise
        self._live.append(new)
        self._warn(config)
        self.last_error = None
        self._metrics.rejected.set(0)
        self._metrics.reloads.labels("applied").inc()
        took_ms = round((time.perf_counter() - started) * 1000, 1)
        self._log.info("reload.applied", took_ms=took_ms, changed=changed)
        self.history.append({"time": time.time(), "result": "applied", "changed": changed})
        self._retired = [task for task in self._retired if not task.done()]
        self._retired.append(asyncio.create_task(self._retire(before)))

    def _keep(self, config: Config) -> None:
        """For a worker that comes later: to begin with what is in force, whatever has been saved and rejected since."""
        paths = in_force(self._run_dir)
        for path, raw in zip(paths, config.raw, strict=True):
            path.with_suffix(".new").write_bytes(raw)
        for path in paths:
            path.with_suffix(".new").replace(path)  # never half of it

    def _warn(self, config: Config) -> None:
        for missing in config.unset():
            self._log.warning("configuration.incomplete", missing=missing)

    def _reject(self, error: str) -> None:
        self.last_error = error
        self._metrics.rejected.set(1)
        self._metrics.reloads.labels("rejected").inc()
        self._log.error("reload.rejected", error=error)
        self.history.append({"time": time.time(), "result": "rejected", "error": error})

    async def _engines_missing(self, config: Config, before: Config) -> str | None:
        """Waits for the engines that come with it; why not all of them are up, if so.

        One in force already that is down comes back by itself, or does not: a key that is taken back waits for neither.
        What is saved meanwhile may be right: no longer.
        """
        there = list(before.engines())
        coming = [options for options in config.engines() if options not in there]
        if self._supervisor is not None:
            starting = asyncio.create_task(self._supervisor.ensure(coming))
            try:
                while not starting.done():
                    if self._signature() != self._seen:
                        return SAVED_ANEW
                    await asyncio.wait({starting}, timeout=LOOK_AT_START_S)
                return None if starting.result() else NOT_STARTED
            finally:
                starting.cancel()
        launched = [  # by another process, which gives them the time that they may take: wait for as long
            (options, launch)
            for options in coming
            if (launch := load(options.kind).launch(options, socket_path(self._run_dir, options))) is not None
        ]
        patience_s = max((launch.start_timeout_s for _, launch in launched), default=0.0) + ENGINE_MARGIN_S
        deadline = time.monotonic() + patience_s
        for options, _ in launched:
            async with contextlib.aclosing(endpoint_of("an engine", options, self._run_dir, PROBE_S)) as engine:
                while not await engine.reachable():
                    if self._signature() != self._seen:
                        return SAVED_ANEW
                    if time.monotonic() > deadline:
                        return NOT_STARTED
                    await asyncio.sleep(LOOK_AT_START_S)
        return None

    async def _retire(self, before: Snapshot) -> None:
        """Close what only the old snapshot used, once its requests (and their shadow corrections) have ended."""
        await asyncio.sleep(before.config.server.drain_s)
        while before.tasks:
            await asyncio.wait(before.tasks)
        self._live.remove(before)
        await close(before, self._live)
        await self._retain_engines()

    async def _retain_engines(self) -> None:
        if self._supervisor is not None:
            configs = [snapshot.config for snapshot in self._live]
            if self._coming is not None:
                configs.append(self._coming)
            await self._supervisor.retain(options for config in configs for options in config.engines())


def in_force(run_dir: Path) -> tuple[Path, Path]:
    """Both files as the process that runs the engines has them in force."""
    return run_dir / "policies.yaml", run_dir / "objectives.yaml"


def _raw(paths: Iterable[Path]) -> tuple[bytes, ...] | None:
    try:
        return tuple(path.read_bytes() for path in paths)
    except OSError:
        return None


def changes(before: Config, after: Config) -> dict[str, dict[str, list[str]]]:
    """What a reload changed: names added, removed and changed, by section. Names only."""
    found: dict[str, dict[str, list[str]]] = {}
    pairs: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("policies", before.policies, after.policies),
        ("correctors", before.correctors, after.correctors),
        ("objectives", before.objectives.objectives, after.objectives.objectives),
        ("sets", before.objectives.sets, after.objectives.sets),
        ("tenants", before.objectives.tenants, after.objectives.tenants),
        ("server (needs a restart)", before.server.model_dump(), after.server.model_dump()),
    )
    for section, old, new in pairs:
        kinds = {
            "added": [name for name in new if name not in old],
            "removed": [name for name in old if name not in new],
            "changed": [name for name in new if name in old and old[name] != new[name]],
        }
        told = {kind: names[:20] for kind, names in kinds.items() if names}
        if told:
            found[section] = told
    return found
