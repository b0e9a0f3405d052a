"""The embedded default, for real: `metaaligner serve` as a user starts it, asked by OpenAI's SDK."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.conftest import OBJECTIVES, ROOT, Gateway, saying
from tests.gateway.conftest import DRAFT, Serve, Start
from tests.gateway.test_cli import METAALIGNER

ASK: list[Any] = [{"role": "user", "content": "How do I make tea? Answer in two sentences."}]
FINAL = ("corrected", "unchanged", "kept_original")


@contextlib.contextmanager
def serving(directory: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[str]", list[str]]]:
    """`metaaligner serve` with the shipped policies, and objectives in `directory`; its URL once it has said it."""
    objectives = directory / "objectives.yaml"
    if not objectives.exists():
        objectives.write_text((ROOT / "objectives.yaml").read_text())
    argv = [METAALIGNER, "serve", "--port", "0", "--policies", str(ROOT / "policies.yaml"), *options]
    if "--port" in options:
        del argv[2:4]
    with subprocess.Popen(
        [*argv, "--objectives", str(objectives)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if ready := re.search(r"ready on (http://\S+)\.", line):
                    break
            else:
                raise AssertionError(f"it ended: {''.join(said)}")
            for line in process.stdout:  # the rest of the banner
                said.append(line)
                if "chunk.choices" in line:
                    break
            yield ready.group(1), process, said
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=40)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"\nPPid:\t{pid}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    with serving(tmp_path_factory.mktemp("served")) as (url, _, said):
        yield url, said


@pytest.fixture
async def client(served: tuple[str, list[str]]) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{served[0]}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


async def test_what_the_banner_shows_works(served: tuple[str, list[str]]) -> None:
    url, said = served
    banner = "".join(said)
    assert f'OpenAI(base_url="{url}/v1"' in banner
    curl = re.search(r"(curl -s .*?)\n\n", banner, re.DOTALL)
    assert curl
    ran = await asyncio.create_subprocess_shell(curl.group(1), stdout=subprocess.PIPE)
    out, _ = await ran.communicate()
    answer = json.loads(out)
    assert answer["choices"][0]["message"]["content"]
    assert answer["align"]["verdict"] in FINAL
    assert answer["align"]["draft"]
    script = "".join(said[-5:])
    python = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(script), stdout=subprocess.PIPE)
    out, _ = await python.communicate()
    assert python.returncode == 0
    assert len(out.split()) > 3


async def test_a_real_answer_is_corrected(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="smollm2", messages=ASK, max_tokens=60, temperature=0, extra_headers={"X-Align-Return": "draft"}
    )
    assert answer.model_extra is not None
    align = answer.model_extra["align"]
    text = answer.choices[0].message.content
    assert text
    assert align["verdict"] in FINAL
    assert (text == align["draft"]) == (align["verdict"] != "corrected")
    assert align["objectives"] == ["harmlessness", "helpfulness"]
    assert align["usage"]["completion_tokens"] > 0
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 60


async def test_a_real_stream(client: AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="smollm2", messages=ASK, max_tokens=60, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(texts) > 3
    last = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
    assert last.model_extra is not None
    assert last.model_extra["align"]["verdict"] in FINAL
    assert chunks[-1].usage is not None


async def test_an_objective_made_up_on_the_spot(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="smollm2",
        messages=ASK,
        max_tokens=40,
        extra_headers={"X-Align-Objectives": "length", "X-Align-Define": "brevity=At most two sentences"},
    )
    assert raw.headers["X-Align-Objectives"] == "length, brevity"
    assert raw.headers["X-Align-Verdict"] in FINAL


class Tea(BaseModel):
    kind: Literal["green", "black"]  # not any text: a model this small may not come to its end
    hot: bool


async def test_structured_output_of_the_real_model(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(
        model="smollm2", messages=ASK, max_tokens=60, temperature=0, response_format=Tea
    )
    assert isinstance(answer.choices[0].message.parsed, Tea)
    assert answer.model_extra is not None
    assert answer.model_extra["align"]["reason"] == "structured_output"


async def test_a_model_that_finds_no_end_is_stopped(gateway: Serve) -> None:
    gw = await gateway(
        "policies:\n  m: {kind: local, corrector: none, "
        "engine: {kind: llamacpp, model: smollm2-135m-instruct, max_tokens: 12}}\n"
    )
    _, _, body = await gw.chat(messages=ASK)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 12
    _, _, body = await gw.chat(messages=ASK, max_tokens=20)
    assert body["usage"]["completion_tokens"] == 20, "a request may say otherwise"


async def test_several_at_once(client: AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(client.chat.completions.create(model="smollm2", messages=ASK, max_tokens=24) for _ in range(6))
    )
    assert all(answer.choices[0].message.content for answer in answers)


async def test_it_is_ready_and_says_so(served: tuple[str, list[str]]) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{served[0]}/readyz") as response:
        body = await response.json()
        assert (response.status, set(body["engines"].values())) == (200, {"up"})


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stop_ends_every_process_it_started(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--workers", str(workers)) as (_, process, _):
        family = _tree(process.pid)
        engine, _ = [pid for pid in family if "llamacpp" in _command(pid)]  # the policy's and the corrector's
        socket = re.search(r"/tmp/metaaligner-[^/]+/[^\0]+", _command(engine))
        assert socket
        assert Path(socket.group()).is_socket()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
        assert time.monotonic() - started < 15
        assert process.returncode == 0
        assert not Path(socket.group()).parent.exists()
        await _all_end(family)


@pytest.mark.parametrize("workers", [1, 2])
async def test_nothing_outlives_a_gateway_that_was_killed(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--workers", str(workers)) as (_, process, _):
        family = _tree(process.pid)
        assert len(family) >= workers
        process.kill()
        process.wait()
        await _all_end(family)


async def _all_end(pids: list[int]) -> None:
    for _ in range(200):
        if not any(alive(pid) for pid in pids):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"they live on: {[_command(pid) for pid in pids if alive(pid)]}")


async def test_two_workers_share_engines_reloads_and_metrics(tmp_path: Path) -> None:
    port = _free_port()
    with serving(tmp_path, "--workers", "2", "--port", str(port)) as (url, _, _):
        async with aiohttp.ClientSession() as session:
            body = {"model": "smollm2", "messages": ASK, "max_tokens": 8}
            await _answering(session, url)

            async def ask() -> str:
                # A connection of its own each time: the kernel spreads connections over the workers.
                async with (
                    aiohttp.ClientSession() as own,
                    own.post(f"{url}/v1/chat/completions", json=body) as response,
                ):
                    assert response.status == 200
                    return response.headers["X-Align-Objectives"]

            assert {await ask() for _ in range(4)} == {"harmlessness, helpfulness"}
            engines = [pid for pid in _tree(_listening(port)) if "llamacpp" in _command(pid)]
            assert len(engines) == 2, "the policy's and the corrector's, for both workers"
            objectives = tmp_path / "objectives.yaml"
            objectives.write_text(
                objectives.read_text().replace("default: [helpfulness, harmlessness]", "default: [humour]")
            )
            assert {await ask() for _ in range(6)} == {"humour"}
            for _ in range(100):  # a request is counted when its answer has left
                async with session.get(f"{url}/metrics") as response:
                    text = await response.text()
                counted = re.findall(r"^metaaligner_requests_total\{.*\} ([0-9.]+)$", text, re.MULTILINE)
                if sum(map(float, counted)) == 10:
                    break
                await asyncio.sleep(0.05)
            assert sum(map(float, counted)) == 10


async def _answering(session: aiohttp.ClientSession, url: str) -> None:
    for _ in range(200):
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.05)
    raise AssertionError("the workers do not answer")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _listening(port: int) -> int:
    """The process that was told to serve on this port."""
    return next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and f"--port\0{port}\0" in _command(int(entry.name))
    )


def _tree(pid: int) -> list[int]:
    below = children(pid)
    return [*below, *(grandchild for child in below for grandchild in _tree(child))]


LOCAL = """
policies:
  m: {{kind: openai, base_url: "{url}", corrector: c}}
correctors:
  c: {{engine: {{kind: llamacpp, model: smollm2-135m-instruct{more}}}, template: chat, gate: {{max_ratio: 2}}}}
"""


async def test_an_engine_killed_under_load(service: Start, gateway: Serve) -> None:
    """Requests follow the tenant's failure policy, none hangs, and corrections come back by themselves."""
    policy = await service(saying(DRAFT))
    gw = await gateway(LOCAL.format(url=policy.url, more=""), OBJECTIVES)
    verdicts: list[str] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            async with asyncio.timeout(60):
                status, _, body = await gw.chat()
            assert status == 200
            assert body["choices"][0]["message"]["content"]
            if body["align"]["verdict"] == "failed":
                assert body["choices"][0]["message"]["content"] == DRAFT
            verdicts.append(body["align"]["verdict"])
            await asyncio.sleep(0.02)

    askers = [asyncio.create_task(ask()) for _ in range(4)]
    await _until(lambda: len(verdicts) >= 4)
    assert set(verdicts) <= set(FINAL)
    [pid] = gw.app.state.supervisor.pids().values()
    os.kill(pid, signal.SIGKILL)
    await _until(lambda: "failed" in verdicts)
    before = len(verdicts)
    await _until(lambda: set(verdicts[before:]) & set(FINAL) != set())
    done.set()
    await asyncio.gather(*askers)
    assert any(line["event"] == "engine.died" for line in gw.lines)
    await _until_ready(gw)
    assert gw.app.state.supervisor.pids()["llamacpp:smollm2-135m-instruct"] != pid


async def test_an_engine_that_is_down_is_not_ready(service: Start, gateway: Serve) -> None:
    policy = await service(saying(DRAFT))
    gw = await gateway(
        LOCAL.format(url=policy.url, more=""), OBJECTIVES.replace("allow_off: true", "on_failure: error")
    )
    [pid] = gw.app.state.supervisor.pids().values()
    os.kill(pid, signal.SIGKILL)
    async with gw.client.get(f"{gw.url}/readyz") as response:
        assert response.status == 503
    status, _, body = await gw.chat()
    assert (status, body["error"]["code"]) == (502, "corrector_unavailable")
    await _until_ready(gw)
    assert (await gw.chat())[0] == 200


async def test_a_reload_starts_and_stops_engines(service: Start, gateway: Serve) -> None:
    policy = await service(saying(DRAFT))
    server = "\nserver: {drain_s: 0}\n"
    gw = await gateway(LOCAL.format(url=policy.url, more="") + server, OBJECTIVES)
    [old] = gw.app.state.supervisor.pids().values()
    gw.policies.write_text(LOCAL.format(url=policy.url, more=", context: 2048") + server)
    await _until(lambda: any(line["event"] == "reload.applied" for line in gw.lines), gw)
    assert (await gw.chat())[2]["align"]["verdict"] in FINAL
    await _until(lambda: not alive(old))
    [new] = gw.app.state.supervisor.pids().values()
    assert new != old


async def _until(happened: Callable[[], bool], gw: Gateway | None = None) -> None:
    for _ in range(600):
        if happened():
            return
        if gw is not None:
            await gw.chat({"X-Align-Mode": "off"})
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen")


async def _until_ready(gw: Gateway) -> None:
    for _ in range(200):
        async with gw.client.get(f"{gw.url}/readyz") as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.05)
    raise AssertionError("it is not ready again")
