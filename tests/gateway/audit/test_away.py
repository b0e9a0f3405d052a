"""A trail whose database goes away, or is taken away: no row is lost by that, and none is there twice."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.search import Wanted
from gateway.audit.trail import Trail
from gateway.config import AuditOptions
from gateway.errors import GatewayError
from gateway.telemetry import Metrics
from tests.gateway.audit.test_trail import Log, auditing, entry
from tests.gateway.conftest import World, soon


async def test_a_database_that_is_away_delays_no_answer_and_gets_its_rows_when_it_is_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.trail.RETRY_S", 0.02)
    gw, _, _ = await world(objectives=auditing("metadata"))
    (tmp_path / "away").write_text("a file where a folder should be")
    log = Log()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/away/audit.db"), Metrics(), log)
    trail.settle(entry(gw))
    await soon(lambda: "audit.unavailable" in log.events)
    assert trail.queued == 1
    (tmp_path / "away").unlink()
    await trail.flush()
    assert trail.queued == 0
    assert log.events.count("audit.unavailable") == 1
    assert len(await (await trail.store()).search(Wanted())) == 1
    await trail.aclose(1)


async def test_a_file_that_was_removed_is_made_anew(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.trail.RETRY_S", 0.02)
    gw, _, _ = await world(objectives=auditing("metadata"))
    log = Log()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/some.db"), Metrics(), log)
    for number in range(3):
        trail.settle(entry(gw, f"r{number}"))
        await trail.flush()
        assert trail.queued == 0
        rows = await (await trail.store()).search(Wanted())
        assert [row["request_id"] for row in rows] == [f"r{number}"]
        for file in tmp_path.glob("some.db*"):
            file.unlink()
    for refused in (True, False):  # who only reads finds tables the second time
        with pytest.raises(GatewayError) if refused else contextlib.nullcontext():
            async with trail.reading() as store:
                assert await store.search(Wanted()) == []
    assert set(log.events) == {"audit.unavailable"}
    await trail.aclose(1)


async def test_a_connection_that_is_lost_after_the_commit_doubles_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.trail.RETRY_S", 0.02)
    gw, _, _ = await world(objectives=auditing("metadata"))
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/some.db"), Metrics(), Log())
    store = await trail.store()
    write, lost = store.write, [ConnectionResetError(), ConnectionResetError()]

    async def losing(rows: Any) -> None:
        if len(lost) == 1:  # the first time it was lost before
            await write(rows)
        if lost:
            raise lost.pop()
        await write(rows)

    monkeypatch.setattr(store, "write", losing)
    for number in range(3):
        trail.settle(entry(gw, f"r{number}"))
    await trail.flush()
    trail.settle(entry(gw, "r3"))
    await trail.flush()
    assert [row["request_id"] for row in await store.search(Wanted())] == ["r3", "r2", "r1", "r0"]
    await trail.aclose(1)
