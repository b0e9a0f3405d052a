"""Servers as child processes, for measurements and recordings."""

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
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


async def answering(url: str) -> None:
    """Wait until the server answers HTTP, whatever it says."""
    async with aiohttp.ClientSession() as client:
        for _ in range(400):
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(f"{url}/healthz"):
                    return
            await asyncio.sleep(0.05)
    raise SystemExit(f"{url} does not answer")
