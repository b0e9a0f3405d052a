"""Servers as child processes, for measurements and recordings, and what they have used."""

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import aiohttp


@contextlib.contextmanager
def process(*argv: str, stdout: int | IO[str] = subprocess.PIPE, **env: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, stdout=stdout, env={**os.environ, **env}, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answering(url: str, timeout_s: float = 180.0) -> None:
    """Wait until the server answers HTTP, whatever it says."""
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession() as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(f"{url}/healthz"):
                    return
            await asyncio.sleep(0.02)
    raise SystemExit(f"{url} does not answer")


def family(pid: int) -> Iterator[int]:
    """The process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and those that descend from it have used, user and system."""
    # Linux has a clock of each process's CPU time (clock_getcpuclockid(3)), finer than the ticks of /proc.
    return sum(time.clock_gettime(~each << 3 | 2) for each in family(pid))


def resident_mb(pid: int) -> float:
    """Of the process and those that descend from it, together."""
    told = "".join(Path(f"/proc/{each}/status").read_text() for each in family(pid))
    return sum(int(kb) for kb in re.findall(r"VmRSS:\s+(\d+) kB", told)) / 1024
