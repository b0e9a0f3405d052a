"""A file over several replicas of a corrector, as `metaaligner align` is run on data that takes days."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bench.processes import free_port
from gateway.batch import AHEAD
from tests.conftest import OBJECTIVES, Handler, Service, correcting
from tests.gateway.conftest import Start, soon

METAALIGNER = str(Path(sys.executable).parent / "metaaligner")
ROWS = [{"query": f"Question {n}?", "answer": f"This is answer number {n}.", "id": n} for n in range(60)]
Align = Callable[..., Any]


@pytest.fixture
def align(tmp_path: Path) -> Align:
    """Starts `metaaligner align` over these replicas."""
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)

    async def start(urls: list[str], *args: str, output: str = "out.jsonl") -> asyncio.subprocess.Process:
        (tmp_path / "policies.yaml").write_text(
            f"""
policies:
  m: {{kind: openai, base_url: "{urls[0]}", corrector: c}}
correctors:
  c: {{engine: {{kind: endpoint, base_url: {json.dumps(urls)}, model: aligner}}}}
"""
        )
        return await asyncio.create_subprocess_exec(
            METAALIGNER, "align", "--input", "in.jsonl", "--output", output, *args,
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    return start


async def done(process: asyncio.subprocess.Process) -> None:
    said, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    assert b"corrected" in said


def outputs(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def slowly(handler: Handler, pause_s: float = 0.02) -> Handler:
    async def paused(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(pause_s)
        return await handler(request, body)

    return paused


def dying(after: int) -> Handler:
    """A replica that goes down in the middle of an answer, and cuts every connection from then on."""
    asked = 0

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked <= after:
            return await slowly(correcting(str.upper))(request, body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if asked == after + 1:
            await response.prepare(request)
            await response.write(b'data: {"choices": [{"index": 0, "text": "THIS IS"}]}\n\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    return handler


async def test_replicas_share_the_rows_and_those_of_a_dead_one_go_to_the_others(
    service: Start, align: Align, tmp_path: Path
) -> None:
    living = [await service(slowly(correcting(str.upper))) for _ in range(2)]
    dies = await service(dying(5))
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    await done(await align([nowhere, living[0].url, dies.url, living[1].url], "--in-flight", "12"))
    assert [row["id"] for row in outputs(tmp_path / "out.jsonl")] == list(range(60))
    assert all(row["correction"] == row["answer"].upper() for row in outputs(tmp_path / "out.jsonl"))
    assert min(len(replica.requests) for replica in living) >= 20


async def test_a_run_that_is_killed_goes_on_by_the_row(service: Start, align: Align, tmp_path: Path) -> None:
    replicas: list[Service] = [await service(slowly(correcting(str.upper))) for _ in range(2)]
    urls, out = [replica.url for replica in replicas], tmp_path / "out.jsonl"
    killed = await align(urls, "--in-flight", "2")
    await soon(lambda: out.exists() and out.read_bytes().count(b"\n") >= 10)
    killed.send_signal(signal.SIGKILL)
    await killed.communicate()
    before = out.read_bytes().count(b"\n")
    assert before < 60
    await done(await align(urls, "--in-flight", "2"))
    assert [row["id"] for row in outputs(out)] == list(range(60))
    asked = sum(len(replica.requests) for replica in replicas)
    assert 60 <= asked <= 60 + AHEAD * 2, "rows that were written are not asked for again"


async def test_the_parts_of_many_machines_make_up_the_whole(service: Start, align: Align, tmp_path: Path) -> None:
    replica = await service(correcting(str.upper))
    parts = [f"part-{n}.jsonl" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        await done(await align([replica.url], "--shard", f"{number}/3", output=part))
    assert [row["id"] for part in parts for row in outputs(tmp_path / part)] == list(range(60))
    assert len(replica.requests) == 60
