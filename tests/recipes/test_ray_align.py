"""The Ray Data recipe, on two Ray workers of this machine: `make test-ray`."""

import asyncio
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web

from corrector.objectives import Objective
from tests.conftest import OBJECTIVES, ROOT, correcting
from tests.gateway.conftest import Start

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: `make test-ray` installs it and runs this"
)

METAALIGNER = (str(Path(sys.executable).parent / "metaaligner"), "align")
RECIPE = (sys.executable, "-m", "recipes.ray_align")
ROWS = [
    {"query": f"Question {n}?", "answer": f"This is answer {n}, `x = {n}`.", "id": n, "score": n / 2 if n % 2 else 1,
     "at": "2026-01-01T00:00:00", **({"odd": None} if n % 2 else {})}
    for n in range(40)
]  # fmt: skip


def lay(folder: Path, engine: str, rows: list[dict[str, Any]]) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "objectives.yaml").write_text(OBJECTIVES)
    (folder / "policies.yaml").write_text(
        f"""
policies:
  m: {{kind: openai, base_url: "http://127.0.0.1:9/v1", corrector: c}}
correctors:
  c: {{engine: {engine}, template: ultrafeedback}}
"""
    )


async def ran(folder: Path, *command: str) -> tuple[int | None, str]:
    """Exit code, and all that was said. Ray keeps what it writes to a home in the test's folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 240)
    return process.returncode, said.decode()


def joined(folder: Path) -> bytes:
    return b"".join(part.read_bytes() for part in sorted(folder.glob("in.*.jsonl")))


async def test_rows_come_out_as_from_the_command_and_a_job_that_failed_goes_on(service: Start, tmp_path: Path) -> None:
    fails = True

    async def breaks(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        if fails and "Question 33?" in body["prompt"]:
            return web.json_response({}, status=400)
        return await correcting(str.upper)(request, body)

    replica = await service(breaks)
    lay(tmp_path, f'{{kind: endpoint, base_url: "{replica.url}", model: x}}', ROWS)
    recipe = (*RECIPE, "in.jsonl", "--output", "parts", "--rows", "5", "--workers", "2", "--in-flight", "2")
    code, said = await ran(tmp_path, *recipe)
    assert code == 1
    assert said.rstrip().endswith("the corrector c answered 400")
    there = {part.name: part.read_bytes() for part in (tmp_path / "parts").glob("in.*.jsonl")}
    assert 0 < len(there) < 8

    fails, asked = False, len(replica.requests)
    code, said = await ran(tmp_path, *recipe)
    assert code == 0, said
    left = 40 - 5 * len(there)
    assert len(replica.requests) - asked == left, "what is there is not done again"
    assert re.search(rf"^{left} corrected; by [12] of 2 workers$", said, re.MULTILINE)
    assert {name: (tmp_path / "parts" / name).read_bytes() for name in there} == there

    code, said = await ran(tmp_path, *METAALIGNER, "--input", "in.jsonl", "--output", "out.jsonl")
    assert code == 0, said
    assert joined(tmp_path / "parts") == (tmp_path / "out.jsonl").read_bytes()


async def test_two_workers_run_an_engine_each(tmp_path: Path) -> None:
    rows = [{"query": "How do I make tea?", "answer": f"Boil {n} cups of water, and wait."} for n in range(2, 10)]
    engine = "{kind: llamacpp, model: smollm2-135m-instruct, adapter: smollm2-135m-editor, parallel: 1, threads: 1}"
    lay(tmp_path, engine, rows)
    policies = tmp_path / "policies.yaml"
    policies.write_text(policies.read_text().replace("ultrafeedback", "chat"))
    code, said = await ran(tmp_path, *RECIPE, "in.jsonl", "--output", "parts", "--rows", "1", "--workers", "2")
    assert code == 0, said
    assert "by 2 of 2 workers" in said
    code, said = await ran(tmp_path, *METAALIGNER, "--input", "in.jsonl", "--output", "out.jsonl")
    assert code == 0, said
    assert joined(tmp_path / "parts") == (tmp_path / "out.jsonl").read_bytes()


async def test_a_folder_of_another_job_is_not_gone_on_with(service: Start, tmp_path: Path) -> None:
    lay(tmp_path, '{kind: endpoint, base_url: "http://127.0.0.1:9/v1", model: x}', ROWS)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "job.json").write_text('{"rows":5,"corrector":"c","objectives":["humour"]}')
    code, said = await ran(tmp_path, *RECIPE, "in.jsonl", "--output", "parts", "--rows", "5")
    assert code == 2
    assert 'was begun with {"rows":5,"corrector":"c","objectives":["humour"]}' in said


@pytest.mark.parametrize("other", ["a file that has grown", "a file of the same name", "an objective said otherwise"])
def test_a_job_is_gone_on_with_only_as_it_was(tmp_path: Path, other: str) -> None:
    from recipes.ray_align import begin, job

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "in.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    source, output = tmp_path / "one" / "in.jsonl", str(tmp_path / "parts")
    said = Objective(key="h", name="Humour", description="The response should be funny")
    begin(output, job((source,), 5, "c", (said,)))
    begin(output, job((source,), 5, "c", (said,)))
    if other == "a file that has grown":
        with source.open("a") as file:
            file.write(json.dumps(ROWS[1]) + "\n")
    elif other == "a file of the same name":
        source = tmp_path / "two" / "in.jsonl"
    else:
        said = said.model_copy(update={"description": "The response should be dry"})
    with pytest.raises(click.UsageError, match="was begun with"):
        begin(output, job((source,), 5, "c", (said,)))
