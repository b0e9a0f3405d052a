"""A stop lets answers in flight end, for a bounded time."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from gateway import serve
from gateway.http1 import Http1
from gateway.serve import is_loopback
from tests.conftest import OBJECTIVES, Service, correcting, saying, two_services
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


@pytest.mark.parametrize(("patient", "sent"), [(True, signal.SIGTERM), (True, signal.SIGHUP), (False, signal.SIGTERM)])
async def test_a_stop_drains(service: Start, tmp_path: Path, patient: bool, sent: signal.Signals) -> None:
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
        METAALIGNER, "serve", "--port", "0", cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr,
        preexec_fn=_hearing_signals,
    )  # fmt: skip
    url, _ = await ready(process)

    async def ask() -> str:
        body = {"model": "m", "messages": []}
        async with aiohttp.ClientSession() as client, client.post(f"{url}/v1/chat/completions", json=body) as response:
            return str((await response.json())["choices"][0]["message"]["content"])

    asking = asyncio.create_task(ask())
    while not policy.requests:
        await asyncio.sleep(0.01)
    stopped = time.monotonic()
    os.kill(process.pid, sent)
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


def _hearing_signals() -> None:
    """As in a terminal: what a shell or `nohup` starts in the background ignores them, and its children too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
        stderr=subprocess.STDOUT, preexec_fn=_hearing_signals,
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


# What vLLM's command is, as far as the gateway sees: it says the name that it serves, a stream in two pieces.
ENGINE = """#!PYTHON
import asyncio, os, pathlib, sys
from aiohttp import web
socket, name = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--uds", "--served-model-name"))
pathlib.Path(f"{name}.pid").write_text(str(os.getpid()))
async def answer(request):
    if request.method == "GET" or not (await request.json()).get("stream"):
        message = {"role": "assistant", "content": name}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "begun"}}]}\\n\\n')
    while not pathlib.Path("go_on").exists():
        await asyncio.sleep(0.05)
    await response.write(b"data: [DONE]\\n\\n")
    return response
async def main():
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_request_keeps_its_engine_whichever_worker_answers_it(tmp_path: Path) -> None:
    """For longer than a drain takes, after a save that names another engine."""
    engine = tmp_path / "engine"
    engine.write_text(ENGINE.replace("PYTHON", sys.executable))
    engine.chmod(0o755)
    policies = (
        "server: {drain_s: 1}\npolicies:\n"
        f"  m: {{kind: local, corrector: none, engine: {{kind: vllm, model: old, executable: {engine}}}}}\n"
    )
    (tmp_path / "policies.yaml").write_text(policies)
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", "--workers", "2", cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as client:
            url, _ = await ready(process)
            chat, body = f"{url}/v1/chat/completions", {"model": "m", "messages": []}
            async with client.post(chat, json={**body, "stream": True}) as response:
                assert b"begun" in await response.content.readany()
                (tmp_path / "policies.yaml").write_text(policies.replace("model: old", "model: new"))
                await applied(process, "parent")
                await asyncio.sleep(3)  # the drain is over, and nothing tells from outside that the engine was let be
                (tmp_path / "go_on").touch()
                assert (await response.read()).endswith(b"data: [DONE]\n\n")
            async with client.post(chat, json=body) as response:
                assert (await response.json())["choices"][0]["message"]["content"] == "new"
            while Path(f"/proc/{(tmp_path / 'old.pid').read_text()}").exists():
                await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.communicate()


async def applied(process: asyncio.subprocess.Process, by: str) -> None:
    """Waits until its log says that a save is in force."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if b"reload.applied" in line and json.loads(line).get("process") == by:
            return
    raise AssertionError("it ended")


async def test_a_worker_that_comes_later_does_as_those_beside_it(service: Start, tmp_path: Path) -> None:
    """What was saved and rejected is not in force for it either; what needs a restart waits for one."""
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    policies, objectives = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
    kept = OBJECTIVES.replace("allow_off: true", "audit: metadata")
    policies.write_text(two_services(policy, corrector, audit=f"{{url: 'sqlite:///{tmp_path}/old.db'}}"))
    objectives.write_text(kept)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", "--workers", "2", cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    try:
        async with asyncio.timeout(60):
            url, _ = await ready(process)
            objectives.write_text(kept.replace("default: [helpfulness]", "default: [humour]"))
            policies.write_text(policies.read_text().replace("old.db", "new.db"))
            await applied(process, "parent")
            objectives.write_text("objectives: [broken")
            before = workers(process.pid)
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            while len(set(workers(process.pid)) - set(before)) < 2:
                await asyncio.sleep(0.05)
            assert await aims(url) == "humour"
            told = ""
            while "metaaligner_configuration_rejected 1.0" not in told:
                async with aiohttp.ClientSession() as client, client.get(f"{url}/metrics") as response:
                    told = await response.text()
    finally:
        process.terminate()
        await process.communicate()
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as trail:
        assert trail.execute("SELECT tenant FROM answers").fetchall() == [("public",)]
    assert not (tmp_path / "new.db").exists()


async def aims(url: str) -> str:
    """The objectives of an answer, once there is a worker to give one."""
    body = {"model": "m", "messages": []}
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession() as client,
                client.post(f"{url}/v1/chat/completions", json=body) as response,
            ):
                return response.headers["X-Align-Objectives"]
        await asyncio.sleep(0.05)


def test_a_client_gives_an_idle_connection_up_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sent just as the gateway did would be lost: nginx and ALB keep connections for a minute."""
    made: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: made.append(server.config))
    monkeypatch.setattr(serve, "configure_logging", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    somewhere = Service(saying(DRAFT), "http://127.0.0.1:1/v1")
    (tmp_path / "p.yaml").write_text(two_services(somewhere, somewhere))
    (tmp_path / "o.yaml").write_text(OBJECTIVES)
    serve.serve(tmp_path / "p.yaml", tmp_path / "o.yaml", "127.0.0.1", 0, 1, allow_anonymous=False)
    assert [config.timeout_keep_alive > 60 for config in made] == [True]
    assert [config.http for config in made] == [Http1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_that_is_taken_is_told_before_an_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    started: list[str] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: started.append("server"))
    monkeypatch.setattr(serve, "_engines", lambda settings: started.append("engines"))
    monkeypatch.setattr(serve, "configure_logging", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    somewhere = Service(saying(DRAFT), "http://127.0.0.1:1/v1")
    (tmp_path / "p.yaml").write_text(two_services(somewhere, somewhere))
    (tmp_path / "o.yaml").write_text(OBJECTIVES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            serve.serve(tmp_path / "p.yaml", tmp_path / "o.yaml", "127.0.0.1", port, workers, allow_anonymous=False)
    assert started == []


def test_a_name_is_bound_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one port; but for IPv6 where there is none."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),  # nobody's: for documentation
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with serve._bound("some.name", 0) as sockets:
        (one, port), (other, same) = (bound.getsockname() for bound in sockets)
    assert {one, other} == {"127.0.0.1", "127.0.0.2"}
    assert port == same != 0


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
