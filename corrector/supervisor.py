"""Starts engines as child processes, watches them, restarts them with back-off, stops them.

Knows nothing of requests: who calls an engine that is down sees a refused connection, and the
tenant's failure policy decides.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from corrector.claims import claimed
from corrector.engines import EngineOptions, Launch, load, socket_path
from corrector.output import Output
from wire.endpoint import Endpoint

PROBE_EVERY_S = 5.0
PROBES_FAILED = 6  # a busy machine may miss one
LOOKED_EVERY_S = 0.02
SHORTEST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
STABLE_AFTER_S = 60.0
# Of the gateway's own environment: no engine is an admin, and none counts among the gateway's metrics.
_KEPT_BACK = ("METAALIGNER_ADMIN_KEY", "PROMETHEUS_MULTIPROC_DIR")

Log = Callable[..., Any]


@dataclass(slots=True)
class _Child:
    name: str
    launch: Launch
    socket: Path
    probe: Endpoint
    output: Output = field(default_factory=Output)
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Runs the engines of a configuration; `run_dir` holds their sockets and must be ours alone.

    `log` is told what goes wrong, `news` how a start comes along.
    """

    def __init__(self, run_dir: Path, log: Log, news: Log | None = None) -> None:
        self.run_dir = run_dir
        self._log = log
        self._news = news or log
        self._children: dict[Path, _Child] = {}

    async def ensure(self, engines: Iterable[EngineOptions]) -> bool:
        """Start what is not running yet; True once all of them answer, False if their time ran out."""
        wanted = []
        for options in engines:
            socket = socket_path(self.run_dir, options)
            launch = load(options.kind).launch(options, socket)
            if launch is None:
                continue
            if socket not in self._children:
                name = f"{options.kind}:{options.model}"
                child = _Child(name, launch, socket, Endpoint(name, [f"unix:{socket}"]))
                child.task = asyncio.create_task(self._keep_running(child))
                self._children[socket] = child
            wanted.append(self._children[socket])
        return all(await asyncio.gather(*(self._ready(child) for child in wanted)))

    async def retain(self, engines: Iterable[EngineOptions]) -> None:
        """Stop every engine that is not among these, and that nobody has a claim to."""
        sockets = {socket_path(self.run_dir, options) for options in engines}
        for socket in set(self._children) - sockets:
            if not claimed(socket) and (child := self._children.pop(socket, None)) is not None:
                await self._stop(child)

    async def aclose(self) -> None:
        await asyncio.gather(*(self._stop(child) for child in self._children.values()))
        self._children.clear()

    def pids(self) -> dict[str, int]:
        return {child.name: child.process.pid for child in self._children.values() if child.process}

    async def _ready(self, child: _Child) -> bool:
        deadline = time.monotonic() + child.launch.start_timeout_s
        while time.monotonic() < deadline:
            if child.socket.exists() and await child.probe.reachable():
                child.output.ready()
                return True
            await asyncio.sleep(0.02)
        self._log("engine.not_ready", engine=child.name, waited_s=child.launch.start_timeout_s)
        return False

    async def _keep_running(self, child: _Child) -> None:
        backoff = SHORTEST_BACKOFF_S
        while True:
            started = time.monotonic()
            try:
                child.socket.unlink(missing_ok=True)  # of one that was killed
                # In a session of its own: Ctrl-C in the terminal is the gateway's, which drains first.
                child.process = await asyncio.create_subprocess_exec(
                    *child.launch.argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env={**_environment(), **child.launch.env},
                    start_new_session=True,
                )
            except OSError as error:  # no memory, or no file descriptors: that may pass
                why = error.strerror or str(error)
                self._log("engine.not_started", engine=child.name, why=why, restart_in_s=round(backoff, 1))
                await asyncio.sleep(backoff)
                backoff = min(LONGEST_BACKOFF_S, backoff * 2)
                continue
            child.output = Output()
            reading = asyncio.create_task(self._follow(child))
            probe = asyncio.create_task(self._kill_if_silent(child))
            try:
                code = await _ended(child.process)
            finally:
                probe.cancel()
            self._kill(child, signal.SIGKILL)  # what it started itself, and left behind
            if time.monotonic() - started > STABLE_AFTER_S:
                backoff = SHORTEST_BACKOFF_S
            await asyncio.wait({reading}, timeout=1.0)  # to its end, unless something else holds that open
            reading.cancel()
            _close(child.process)
            child.process = None  # all of it is gone, and its id may soon be another's
            self._log(
                "engine.died", engine=child.name, code=code, restart_in_s=round(backoff, 1), said=child.output.cause()
            )
            await asyncio.sleep(backoff)
            backoff = min(LONGEST_BACKOFF_S, backoff * 2)

    async def _follow(self, child: _Child) -> None:
        """Read what the engine says, to its end; what is worth telling goes to the log, in the words of its kind."""
        assert child.process is not None
        assert child.process.stdout is not None
        while chunk := await child.process.stdout.read(65536):
            for line in child.output.feed(chunk):
                if (words := child.launch.progress(line)) is not None:
                    self._news("engine.starting", engine=child.name, said=words)

    async def _kill_if_silent(self, child: _Child) -> None:
        """An engine that hangs is as good as dead. One that is still starting is let be."""
        started = time.monotonic()
        if not await self._ready(child):
            self._kill(child, signal.SIGKILL)
            return
        self._news("engine.ready", engine=child.name, after_s=round(time.monotonic() - started, 1))
        failed = 0
        while failed < PROBES_FAILED:
            await asyncio.sleep(PROBE_EVERY_S)
            failed = 0 if await child.probe.reachable() else failed + 1
        self._log("engine.silent", engine=child.name)
        self._kill(child, signal.SIGKILL)

    async def _stop(self, child: _Child) -> None:
        if child.task is not None:
            child.task.cancel()
            await asyncio.wait({child.task})
        if child.process is not None:
            self._kill(child, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_ended(child.process), 5.0)
            self._kill(child, signal.SIGKILL)  # what is left of it, also if it has just ended by itself
            await _ended(child.process)
            _close(child.process)
        child.socket.unlink(missing_ok=True)
        await child.probe.aclose()

    @staticmethod
    def _kill(child: _Child, how: signal.Signals) -> None:
        """SIGTERM is for the engine, to end as it should; SIGKILL for all that it has started besides."""
        if child.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGKILL:
                os.killpg(child.process.pid, how)
            elif child.process.returncode is None:
                child.process.send_signal(how)


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code. (`Process.wait` waits for the pipes too, which something that it left behind may hold open.)"""
    while process.returncode is None:
        await asyncio.sleep(LOOKED_EVERY_S)
    return process.returncode


def _close(process: asyncio.subprocess.Process) -> None:
    """Our ends of its pipes: asyncio closes them when the other ends are, and has no way of its own to do it sooner."""
    cast(Any, process)._transport.close()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
