"""Files of answers of which some cannot be corrected: whose doing it is, the row's or the corrector's."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from corrector.corrector import Corrector, CorrectorOptions
from gateway import batch
from gateway.batch import BatchError, correct
from tests.conftest import Handler, correcting
from tests.gateway.conftest import Start
from tests.gateway.test_batch import AIMS, ROWS, corrected, load, write
from wire.endpoint import Endpoint


async def test_a_failing_corrector_stops_the_run_and_keeps_what_was_done(service: Start, tmp_path: Path) -> None:
    async def fails_later(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if "Question 9" in body["prompt"]:
            return web.json_response({}, status=500)
        return await correcting(str.upper)(request, body)

    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(BatchError, match=r"in.jsonl: row 10: c answered 500"):
        await corrected(service, source, target, fails_later)
    assert 0 < len(load(target)) <= 9
    await corrected(service, source, target)
    assert [row["id"] for row in load(target)] == list(range(20))


def refusing(*numbers: int) -> Handler:
    """A corrector that never takes the rows with these numbers, as a content filter does."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if any(f"Question {n}?" in body["prompt"] for n in numbers):
            return web.json_response({"error": {"code": "content_filter"}}, status=400)
        return await correcting(str.upper)(request, body)

    return handler


async def test_a_row_that_the_corrector_will_not_take_stops_no_other(service: Start, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    told = await corrected(service, source, target, refusing(8, 9, 19))
    rows = load(target)
    assert [row["id"] for row in rows] == list(range(20))
    assert [row["id"] for row in rows if row["verdict"] == "failed"] == [8, 9, 19]
    assert (rows[8]["correction"], rows[8]["reason"]) == (
        ROWS[8]["answer"],
        "corrector_unavailable; c answered 400",
    )
    assert len(told) == 20


async def test_what_will_not_be_taken_is_asked_once(service: Start) -> None:
    upstream = await service(refusing(0))
    endpoint = Endpoint("c", [upstream.url])
    corrector = Corrector("c", CorrectorOptions(), endpoint, model="x", context_tokens=4096)
    try:
        assert (await correct(corrector, ROWS[0], AIMS)).verdict == "failed"
    finally:
        await endpoint.aclose()
    assert len(upstream.requests) == 1


async def test_nor_does_one_that_never_comes_in_time(
    service: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0.01)

    async def one_hangs(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if "Question 1?" in body["prompt"]:
            await asyncio.sleep(60)
        return await correcting(str.upper)(request, body)

    source, target = write(tmp_path / "in.jsonl", ROWS[:4]), tmp_path / "out.jsonl"
    await corrected(service, source, target, one_hangs, timeout_s=0.5)
    assert [row["reason"] for row in load(target)] == [
        "rewritten",
        "corrector_timeout; c did not answer in time",
        "rewritten",
        "rewritten",
    ]


async def test_where_every_row_fails_it_is_the_corrector(service: Start, tmp_path: Path) -> None:
    """And no row is written: the next run, of a corrector that is well, does them all."""
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(BatchError, match=r"rows 1 to 20 all failed: corrector_unavailable; c answered 400"):
        await corrected(service, source, target, refusing(*range(20)))
    assert load(target) == []


async def test_where_so_many_fail_in_a_row_too(service: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_FAILED", 5)
    source, target = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with pytest.raises(BatchError, match="rows 4 to 8 all failed"):
        await corrected(service, source, target, refusing(*range(3, 20)))
    assert [row["id"] for row in load(target)] == [0, 1, 2]
    told = await corrected(service, source, target, refusing(18, 19))
    assert told.count(None) == 3
    assert [row["verdict"] for row in load(target)[17:]] == ["corrected", "failed", "failed"]
