"""Engines watched: one that was killed is replaced, whatever it leaves behind."""

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from corrector.claims import Claim
from corrector.engines import EngineOptions, Launch, socket_path
from corrector.running import run_dir
from corrector.supervisor import Supervisor
from tests.gateway.conftest import soon

# It answers on its socket, and has a child that holds its output open; with `setsid` out of its group's reach.
ENGINE = """
import asyncio, subprocess, sys
from aiohttp import web
print("one secret", flush=True)
subprocess.Popen([*sys.argv[2:], "sleep", "30"])
async def main():
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.UnixSite(runner, sys.argv[1]).start()
    await asyncio.sleep(60)
asyncio.run(main())
"""


class Leaving:
    """An engine's kind, as a module of `corrector/engines` is one."""

    def __init__(self, *before: str) -> None:
        self._before = before

    def launch(self, options: Any, socket: Path) -> Launch:
        return Launch((sys.executable, "-c", ENGINE, str(socket), *self._before))


@pytest.fixture
async def supervisor() -> AsyncIterator[tuple[Supervisor, list[dict[str, Any]]]]:
    told: list[dict[str, Any]] = []
    with run_dir() as directory:
        made = Supervisor(directory, lambda event, **more: told.append({"event": event, **more}))
        yield made, told
        await asyncio.wait_for(made.aclose(), 20)


@pytest.mark.parametrize("before", [(), ("setsid",)], ids=["in its group", "out of it"])
async def test_what_it_leaves_behind_keeps_nobody_waiting(
    supervisor: tuple[Supervisor, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...]
) -> None:
    monkeypatch.setattr("corrector.supervisor.load", lambda kind: Leaving(*before))
    made, told = supervisor
    assert await made.ensure([EngineOptions(kind="leaving")])
    (pid,) = made.pids().values()
    os.kill(pid, signal.SIGKILL)
    for _ in range(10):
        if any(one["event"] == "engine.died" for one in told):
            break
        await asyncio.sleep(0.5)
    (died,) = [one for one in told if one["event"] == "engine.died"]
    assert (died["code"], died["said"]) == (-signal.SIGKILL, "")
    assert await made.ensure([EngineOptions(kind="leaving")])
    await soon(lambda: pid not in made.pids().values())


async def test_one_that_somebody_has_a_claim_to_is_kept(
    supervisor: tuple[Supervisor, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corrector.supervisor.load", lambda kind: Leaving())
    made, _ = supervisor
    engine = EngineOptions(kind="leaving")
    assert await made.ensure([engine])
    claims = [Claim([socket_path(made.run_dir, engine)]) for _ in range(2)]
    for claim in claims:
        await made.retain([])
        assert made.pids()
        claim.close()
    await made.retain([])
    assert not made.pids()


async def test_a_stop_just_after_it_ended_leaves_nothing_of_it(
    supervisor: tuple[Supervisor, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its end and the next look at it, nobody has ended yet what it started itself."""
    monkeypatch.setattr("corrector.supervisor.load", lambda kind: Leaving())
    monkeypatch.setattr("corrector.supervisor.LOOKED_EVERY_S", 60.0)
    made, told = supervisor
    assert await made.ensure([EngineOptions(kind="leaving")])
    (pid,) = made.pids().values()
    os.kill(pid, signal.SIGKILL)
    await soon(lambda: not Path(f"/proc/{pid}").exists())
    await asyncio.sleep(0.05)  # until asyncio knows it too
    await made.aclose()
    await soon(lambda: not living(pid))
    assert all(one["event"] != "engine.died" for one in told)


def living(group: int) -> bool:
    """Does anything live of a group of processes? What has ended, and nobody has asked for yet, does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ends just now
            state, _, its_group = stat.read_text().rpartition(") ")[2].split()[:3]
            if its_group == str(group) and state not in "ZX":
                return True
    return False


async def test_one_that_cannot_be_started_is_tried_again(
    supervisor: tuple[Supervisor, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file descriptors, no memory: that may pass."""
    monkeypatch.setattr("corrector.supervisor.load", lambda kind: Leaving())
    start, failures = asyncio.create_subprocess_exec, iter([OSError(24, "Too many open files")])

    async def scarce(*argv: Any, **more: Any) -> Any:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await start(*argv, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scarce)
    made, told = supervisor
    assert await made.ensure([EngineOptions(kind="leaving")])
    [failed] = [one for one in told if one["event"] == "engine.not_started"]
    assert failed["why"] == "Too many open files"


async def test_an_engine_does_not_learn_what_is_the_gateways_alone(
    supervisor: tuple[Supervisor, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corrector.supervisor.load", lambda kind: Leaving())
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "sesame")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/tmp")
    monkeypatch.setenv("OF_THE_ENGINE", "kept")
    made, _ = supervisor
    assert await made.ensure([EngineOptions(kind="leaving")])
    (pid,) = made.pids().values()
    theirs = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"OF_THE_ENGINE=kept" in theirs
    assert b"sesame" not in theirs
    assert b"PROMETHEUS" not in theirs


def test_its_directory_is_locked_as_long_as_it_is_used() -> None:
    """As systemd-tmpfiles asks before it sweeps a directory's old files: with a lock of its own."""
    with run_dir() as directory:
        asked = os.open(directory, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(asked)
    assert not directory.exists()
