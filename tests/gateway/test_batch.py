"""Files of answers: corrected in order, many at a time, and gone on with where a run was stopped."""

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from corrector.corrector import Correction, Corrector, CorrectorOptions
from corrector.objectives import Objective
from gateway.batch import BatchError, completed, read_rows, run
from tests.conftest import Handler, correcting
from tests.gateway.conftest import Start
from wire.endpoint import Endpoint
from wire.errors import WireError

AIMS = (Objective(key="h", name="Helpfulness", description="Be useful"),)
ROWS = [
    {"query": f"Question {n}?", "answer": f'This is answer number {n}, line\nbreaks, and "quotes".', "id": n}
    for n in range(20)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


async def corrected(
    service: Start, source: Path, target: Path, handler: Handler | None = None
) -> list[Correction | None]:
    upstream = await service(handler or correcting(str.upper))
    endpoint = Endpoint("c", [upstream.url])
    corrector = Corrector("c", CorrectorOptions(), endpoint, model="x", context_tokens=4096)
    told: list[Correction | None] = []
    try:
        await run(source, target, corrector, AIMS, 4, told.append)
    finally:
        await endpoint.aclose()
    return told


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
async def test_rows_come_out_in_order_with_their_correction(service: Start, tmp_path: Path, suffix: str) -> None:
    source, target = write(tmp_path / f"in{suffix}", ROWS), tmp_path / f"out{suffix}"
    await corrected(service, source, target)
    rows = load(target)
    assert [str(row["id"]) for row in rows] == [str(n) for n in range(20)]
    for row, before in zip(rows, ROWS, strict=True):
        assert row["correction"] == str(before["answer"]).upper()
        assert row["answer"] == before["answer"]
        assert (row["verdict"], row["reason"]) == ("corrected", "rewritten")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("lost", [0, 1, 17])
async def test_a_stopped_run_goes_on_where_it_was(service: Start, tmp_path: Path, suffix: str, lost: int) -> None:
    source, target, whole = (
        write(tmp_path / f"in{suffix}", ROWS),
        tmp_path / f"out{suffix}",
        tmp_path / f"whole{suffix}",
    )
    await corrected(service, source, whole)
    rows = load(whole)[:7]
    write(target, rows)
    text = target.read_bytes()
    target.write_bytes(text[: len(text) - lost])  # killed in the middle of a row
    told = await corrected(service, source, target)
    assert load(target) == load(whole)
    assert told.count(None) == (7 if lost == 0 else 6)


async def test_many_are_in_flight_but_no_more_than_asked(service: Start, tmp_path: Path) -> None:
    now, most = 0, 0

    async def counted(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        return await correcting(str.upper)(request, body)

    await corrected(service, write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl", counted)
    assert most == 4


async def test_a_failing_corrector_stops_the_run_and_keeps_what_was_done(service: Start, tmp_path: Path) -> None:
    async def fails_later(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if "Question 9" in body["prompt"]:
            return web.json_response({}, status=500)
        return await correcting(str.upper)(request, body)

    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(WireError):
        await corrected(service, source, target, fails_later)
    assert 0 < len(load(target)) <= 9
    await corrected(service, source, target)
    assert [row["id"] for row in load(target)] == list(range(20))


async def test_a_table_that_has_only_its_header_gets_no_second_one(service: Start, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.csv", ROWS), tmp_path / "out.csv"
    target.write_text("query,answer,id,correction,verdict,reason\n")
    await corrected(service, source, target)
    assert [row["id"] for row in load(target)] == [str(n) for n in range(20)]


async def test_a_table_that_is_gone_on_with_keeps_its_columns(service: Start, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"query": "Q?", "answer": "one word"}, {"id": 2, "answer": "two words"}]
    source, target = write(tmp_path / "in.jsonl", rows), tmp_path / "out.csv"
    await corrected(service, write(tmp_path / "first.jsonl", rows[:1]), target)
    await corrected(service, source, target)
    assert [(row["answer"], row["correction"]) for row in load(target)] == [
        ("one word", "ONE WORD"),
        ("two words", "TWO WORDS"),
    ]


async def test_the_output_cannot_be_the_input(service: Start, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ROWS)
    with pytest.raises(BatchError, match="the output cannot be the input"):
        await corrected(service, source, source)
    assert load(source) == ROWS


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
async def test_half_a_character_is_an_answer_too(service: Start, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"answer": "half \\ud83d of it"}\n')
    await corrected(service, tmp_path / "in.jsonl", tmp_path / f"out{suffix}")
    [row] = load(tmp_path / f"out{suffix}")
    assert row["answer"] in ("half \ud83d of it", "half \\ud83d of it")


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """With a byte order mark, answers of any length, and rows without their last cells."""
    path = tmp_path / "IN.CSV"
    path.write_text("query,answer,note\r\nWhy?," + "x" * 200_000 + "\r\n\r\n", encoding="utf-8-sig", newline="")
    assert list(read_rows(path)) == [{"query": "Why?", "answer": "x" * 200_000}]


def test_other_names_and_missing_questions(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [{"generated_text": "A"}, {"answer": "B"}])
    assert [row.get("answer") or row["generated_text"] for row in read_rows(path)] == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "in.jsonl:1: not JSON: nested too deeply"),
        ('{"answer": "a", "score": NaN}', "in.jsonl:1: not JSON: NaN is not JSON"),
        ('{"answer": "a"}\n{"query": "b"}\n', "row 2 has neither `answer` nor `generated_text`"),
        ('{"answer": "a"}\n{oops\n', "in.jsonl:2: not JSON"),
        ("[1]\n", "in.jsonl:1: a row must be an object"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    with pytest.raises(BatchError, match=message):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"query,answer\nQ,A\nQ,A,B\n", "in.csv:3: 3 cells under 2 columns"),
        (b"query,note\nQ,A\n", "in.csv: row 1 has neither `answer` nor `generated_text`"),
        (b"query,answer\nQ,gr\xfcn\n", "in.csv: not UTF-8, soon after row 0"),
    ],
)
def test_a_bad_table_is_told_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    with pytest.raises(BatchError, match=message):
        list(read_rows(path))


def test_nothing_done_yet(tmp_path: Path) -> None:
    assert completed(tmp_path / "none.jsonl") == 0
    (tmp_path / "empty.csv").touch()
    assert completed(tmp_path / "empty.csv") == 0
