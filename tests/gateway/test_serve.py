"""A stop lets answers in flight end, for a bounded time."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.serve import is_loopback
from tests.conftest import OBJECTIVES, correcting, saying, two_services
from tests.gateway.conftest import BETTER, DRAFT, Start, improve
from tests.gateway.test_cli import METAALIGNER

LINE = re.compile(r"is ready on (http\S+)\. Open \1/console(?:#key=(\S+))?,")


async def ready(process: asyncio.subprocess.Process) -> tuple[str, str | None]:
    """Its address, and the admin key that it has made up, once it says so."""
    assert process.stdout is not None
    while True:
        line = await process.stdout.readline()
        assert line, "it ended"
        if found := LINE.search(line.decode()):
            return found[1], found[2]


@pytest.mark.parametrize("patient", [True, False])
async def test_a_stop_drains(service: Start, tmp_path: Path, patient: bool) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await go_on.wait()
        return await saying(DRAFT)(request, body)

    policy, corrector = await service(slow), await service(correcting(improve))
    (tmp_path / "policies.yaml").write_text(
        two_services(policy, corrector, drain_s=20 if patient else 1).replace("timeout_s: 5", "timeout_s: 60")
    )
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    url, _ = await ready(process)

    async def ask() -> str:
        body = {"model": "m", "messages": []}
        async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=body) as response:
            return str((await response.json())["choices"][0]["message"]["content"])

    asking = asyncio.create_task(ask())
    while not policy.requests:
        await asyncio.sleep(0.01)
    stopped = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    await asyncio.sleep(0.3)
    if patient:
        go_on.set()
        assert await asking == BETTER
        await process.communicate()
    else:
        await process.communicate()
        with pytest.raises((aiohttp.ClientError, KeyError)):
            await asking
    assert time.monotonic() - stopped < 15


def _hearing_ctrl_c() -> None:
    """As in a terminal: what a shell starts in the background ignores it, and so does all that this starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_stop_does_not_wait_for_engines_to_start(
    tmp_path: Path, sent: signal.Signals, code: int, workers: str
) -> None:
    """vLLM has ten minutes for it."""
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\ntouch started\nexec sleep 300\n")
    engine.chmod(0o755)
    (tmp_path / "policies.yaml").write_text(
        "policies:\n  m: {kind: openai, base_url: 'http://127.0.0.1:9/v1', corrector: c}\n"
        f"correctors:\n  c: {{engine: {{kind: vllm, model: m, executable: {engine}}}}}\n"
    )
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", "--workers", workers, cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, preexec_fn=_hearing_ctrl_c,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not (tmp_path / "started").exists():
            await asyncio.sleep(0.05)
    process.send_signal(sent)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code
    assert b"ready" not in said
    assert b"Traceback" not in said


async def test_a_worker_that_was_killed_is_replaced_and_leaves_nothing_in_flight(
    service: Start, tmp_path: Path
) -> None:
    async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    policy = await service(silent)
    (tmp_path / "policies.yaml").write_text(two_services(policy, policy))
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", "--workers", "2", cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    url, key = await ready(process)

    async def in_flight() -> float:
        async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as response:
            [told] = re.findall(r"^metaaligner_in_flight ([0-9.]+)$", await response.text(), re.MULTILINE)
            return float(told)

    async def until(count: float) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if await in_flight() == count:
                    return
            await asyncio.sleep(0.05)

    async def ask() -> None:
        async with aiohttp.ClientSession() as client:
            await client.post(f"{url}/v1/chat/completions", json={"model": "m", "messages": []})

    asking = [asyncio.create_task(ask()) for _ in range(6)]
    try:
        async with asyncio.timeout(60):
            await until(6)
            for worker in workers(process.pid):
                os.kill(worker, signal.SIGKILL)
            await until(0)
            assert len(workers(process.pid)) == 2
            assert key is not None
            async with aiohttp.ClientSession(headers={"X-Admin-Key": key}) as admin:  # whichever worker answers
                for _ in range(6):
                    async with admin.get(f"{url}/console/api/live") as response:
                        assert response.status == 200
    finally:
        process.terminate()
        await asyncio.gather(*asking, return_exceptions=True)
        await process.communicate()


def workers(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
