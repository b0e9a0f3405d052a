"""Files of answers: corrected in order, many at a time, and gone on with where a run was stopped."""

import asyncio
import csv
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from corrector.correction import Correction
from corrector.corrector import Corrector, CorrectorOptions
from corrector.engines.endpoint import Options as Fleet
from corrector.engines.llamacpp import Options as Llama
from corrector.objectives import Objective
from corrector.running import CorrectorSpec
from gateway import batch
from gateway.batch import AHEAD, BatchError, alone, completed, part, places, read_rows, run
from tests.conftest import Handler, correcting
from tests.gateway.conftest import Start, soon
from wire.codec import dumps
from wire.endpoint import Endpoint

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
    service: Start,
    source: Path,
    target: Path,
    handler: Handler | None = None,
    in_flight: int = 4,
    numbers: range | None = None,
    **options: Any,
) -> list[Correction | None]:
    upstream = await service(handler or correcting(str.upper))
    endpoint = Endpoint("c", [upstream.url])
    corrector = Corrector("c", CorrectorOptions(**options), endpoint, model="x", context_tokens=4096)
    told: list[Correction | None] = []
    try:
        await run(source, target, corrector, AIMS, in_flight, told.append, numbers)
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


async def test_a_slow_row_keeps_no_place_empty(service: Start, tmp_path: Path) -> None:
    others = asyncio.Event()
    answered = 0

    async def first_waits(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal answered
        if "Question 0?" in body["prompt"]:
            await asyncio.wait_for(others.wait(), 5)  # for all that come after it
        answered += 1
        if answered == len(ROWS) - 1:
            others.set()
        return await correcting(str.upper)(request, body)

    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    assert len(ROWS) <= AHEAD * 5
    await corrected(service, source, target, first_waits, in_flight=5)
    assert answered == len(ROWS)
    assert [row["id"] for row in load(target)] == list(range(20))


async def test_rows_are_read_as_they_are_needed(service: Start, tmp_path: Path) -> None:
    """A slow corrector holds the reading up, so that a file of any length takes the same memory."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    os.mkfifo(source)
    written, go = 0, asyncio.Event()

    def writes() -> None:
        nonlocal written
        with source.open("w") as file:
            for n in range(200):
                file.write(json.dumps({"query": f"Question {n}?", "answer": "one word", "id": n, "note": "x" * 10_000}))
                file.write("\n")
                file.flush()
                written += 1

    async def waits(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await go.wait()
        return await correcting(str.upper)(request, body)

    writing = asyncio.create_task(asyncio.to_thread(writes))
    await asyncio.sleep(0)
    running = asyncio.create_task(corrected(service, source, target, waits, in_flight=2))
    await soon(lambda: written >= AHEAD * 2)
    await asyncio.sleep(0.2)
    assert written <= AHEAD * 2 + 12, "what stands in the pipe is at most 64 KB more"
    go.set()
    await asyncio.gather(writing, running)
    assert [row["id"] for row in load(target)] == list(range(200))


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


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize(("count", "parts"), [(20, 3), (2, 4)])  # of the latter, the first part is empty
async def test_the_parts_join_to_the_whole(service: Start, tmp_path: Path, suffix: str, count: int, parts: int) -> None:
    """Also where the rows of a later part have other columns, and where each was stopped and gone on with."""
    rows = [{**row, **({"note": "x"} if count - n < 3 else {})} for n, row in enumerate(ROWS[:count])]
    source, whole = write(tmp_path / "in.jsonl", rows), tmp_path / f"whole{suffix}"
    await corrected(service, source, whole)
    joined = b""
    for number in range(1, parts + 1):
        target, numbers = tmp_path / f"{number}{suffix}", part(count, number, parts)
        await corrected(service, source, target, numbers=numbers)
        lost = 1 if len(numbers) > 1 else 0  # a half-written row before any whole one is nobody's
        target.write_bytes(target.read_bytes()[: -lost or None])
        told = await corrected(service, source, target, numbers=numbers)
        assert (len(told), told.count(None)) == (len(numbers), len(numbers) - lost)
        joined += target.read_bytes()
    assert joined == whole.read_bytes()


async def test_a_part_is_gone_on_with_by_its_own_first_row(service: Start, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.csv", ROWS), tmp_path / "out.csv"
    await corrected(service, source, target, numbers=range(10, 20))
    before = target.read_bytes()
    with pytest.raises(BatchError, match="does not begin with the first of these rows"):
        await corrected(service, source, target, numbers=range(5, 10))
    assert target.read_bytes() == before


DONE = {"correction": "C", "verdict": "corrected", "reason": "rewritten"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("half.jsonl", b'{"a":1}'),
        ("other.jsonl", b'{"a":1}\n{"a":2}\n'),
        ("blank.jsonl", b"\n\n\n"),
        ("notes.jsonl", b"Call the plumber\n"),
        ("binary.jsonl", b"\xff\xfe\n"),
        ("input.jsonl", dumps(ROWS[0]) + b"\n"),
        ("nothing.jsonl", dumps(DONE) + b"\n"),
        ("answer.jsonl", dumps({"query": "Question 0?", "answer": "Another.", **DONE}) + b"\nhalf"),
        ("query.jsonl", dumps({"query": "Another?", "answer": ROWS[0]["answer"], **DONE}) + b"\nhalf"),
        ("half.csv", b"a,b"),
        ("header.csv", b"a,b\n"),
        ("other.csv", b"a,b\n1,2\n"),
        ("answer.csv", b"query,answer,correction,verdict,reason\nQuestion 0?,Another.,C,corrected,rewritten\nhalf"),
        ("half-row.csv", b"query,answer,correction,verdict,reason\nQuestion 0?,An"),
        ("wide.csv", b"a,b\n1,2,3\n"),
        ("binary.csv", b"\xff\xfe\n"),
        ("return.csv", b"a\rb\n"),
    ],
)  # fmt: skip
async def test_a_file_that_is_no_output_of_these_rows_is_left_alone(
    service: Start, tmp_path: Path, name: str, content: bytes
) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / name
    target.write_bytes(content)
    with pytest.raises(BatchError, match=f"{name}: does not begin with the first of these rows, corrected"):
        await corrected(service, source, target)
    assert target.read_bytes() == content


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
async def test_an_output_is_known_again_whatever_kind_its_texts_are(
    service: Start, tmp_path: Path, suffix: str
) -> None:
    row = b'{"query": null, "answer": "half \\ud83d of it\\r\\n", "generated_text": 7.50}\n'
    (tmp_path / "in.jsonl").write_bytes(row)
    await corrected(service, tmp_path / "in.jsonl", tmp_path / f"out{suffix}")
    assert await corrected(service, tmp_path / "in.jsonl", tmp_path / f"out{suffix}") == [None]


async def test_no_rows_make_an_empty_file(service: Start, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("query,answer\n")
    assert await corrected(service, tmp_path / "in.csv", tmp_path / "out.csv") == []
    assert (tmp_path / "out.csv").read_bytes() == b""


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
    assert completed(tmp_path / "none.jsonl", ROWS[0]) == 0
    (tmp_path / "empty.csv").touch()
    assert completed(tmp_path / "empty.csv", ROWS[0]) == 0


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_what_is_done_is_counted_without_being_held(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    row = {"answer": "x" * 1000, "correction": 'two\nlines, "quoted"', "verdict": "corrected", "reason": "rewritten"}
    write(path, [row] * 5_000)
    tracemalloc.start()
    try:
        assert completed(path, {"answer": "x" * 1000}) == 5_000
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 500_000 < path.stat().st_size


@pytest.mark.parametrize("rows", [0, 1, 7, 20])
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_the_parts_of_a_file_are_all_of_it_and_about_as_long(rows: int, parts: int) -> None:
    shares = [part(rows, number, parts) for number in range(1, parts + 1)]
    assert [number for share in shares for number in share] == list(range(rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_engine_that_is_alone_takes_the_machine_unless_its_options_say_otherwise() -> None:
    spec = CorrectorSpec(
        engine=Llama.model_validate({"kind": "llamacpp", "model": "smollm2-135m-instruct", "parallel": 3}),
        options=CorrectorOptions(),
    )
    assert alone(spec).options.timeout_s == batch.TIMEOUT_S
    given = spec.model_copy(update={"options": CorrectorOptions(timeout_s=5)})
    assert alone(given).options.timeout_s == 5
    engine = alone(spec).engine
    assert isinstance(engine, Llama)
    assert (engine.threads, engine.parallel) == (len(os.sched_getaffinity(0)), 3)
    assert places(engine) >= 3
    fleet = Fleet.model_validate({"kind": "endpoint", "model": "x", "base_url": ["http://a/v1", "http://b/v1"]})
    assert alone(CorrectorSpec(engine=fleet, options=CorrectorOptions())).engine == fleet
    assert places(fleet) == 2 * places(fleet.model_copy(update={"base_url": ("http://a/v1",)}))
