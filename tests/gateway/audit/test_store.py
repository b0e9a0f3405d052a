"""The trail's database, on SQLite and on PostgreSQL alike."""

import asyncio
import contextlib
import shutil
import socket
import stat
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from gateway.audit import tables
from gateway.audit.search import Wanted
from gateway.audit.store import Store
from tests.gateway.audit.conftest import NOW, row, tell
from tests.gateway.conftest import soon


async def test_what_was_written_is_read_again(store: Store) -> None:
    whole = row("one", texts=("The sky.", "The blue sky."), context=[{"role": "user", "text": 'Grüße, "you"\n☃'}])
    await store.write([whole])
    (found,) = await store.search(Wanted())
    assert found["texts"] is True
    assert found["time"] == NOW
    again = await store.get(found["id"])
    assert again is not None
    (choice,) = again["choices"]
    assert (choice["draft"], choice["correction"]) == ("The sky.", "The blue sky.")
    kept = {name: value for name, value in whole.items() if name != "texts"}
    assert {name: again[name] for name in kept} == kept


async def test_a_row_is_known_again(store: Store) -> None:
    await store.write([row("one")])
    assert await store.holds(row("one"))
    assert not await store.holds(row("two"))
    assert not await store.holds(row("one", tenant="other"))
    assert not await store.holds({**row("one"), "time": NOW + timedelta(microseconds=1)})


async def test_a_row_without_texts_has_none(store: Store) -> None:
    await store.write([row("one")])
    (found,) = await store.search(Wanted())
    assert found["texts"] is False
    again = await store.get(found["id"])
    assert again is not None
    assert (again["choices"], again["context"], again["descriptions"]) == ([], None, None)


async def test_texts_go_to_the_answers_that_they_belong_to(store: Store) -> None:
    rows = [row(f"r{n}", texts=(f"draft {n}", f"better {n}") if n % 3 else None) for n in range(50)]
    await store.write(rows)
    found = await store.search(Wanted(limit=100))
    assert [one["request_id"] for one in found] == [f"r{n}" for n in reversed(range(50))]
    for one in found:
        whole = await store.get(one["id"])
        assert whole is not None
        n = int(one["request_id"][1:])
        assert [choice["draft"] for choice in whole["choices"]] == ([f"draft {n}"] if n % 3 else [])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(tenant="acme"), ["b"]),
        (Wanted(verdict="unchanged"), ["a"]),
        (Wanted(mode="shadow"), ["b"]),
        (Wanted(policy="other"), []),
        (Wanted(since=NOW - timedelta(days=2)), ["c", "b"]),
        (Wanted(until=NOW - timedelta(days=2)), ["a"]),
        (Wanted(q="c"), ["c"]),
        (Wanted(q="BLUE"), ["c"]),
        (Wanted(q='say "why"'), ["c"]),
        (Wanted(q="100%"), []),
        (Wanted(with_texts=True), ["c"]),
        (Wanted(limit=2), ["c", "b"]),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "",
)
async def test_answers_are_found(store: Store, wanted: Wanted, expected: list[str]) -> None:
    asked = [{"role": "user", "text": 'They say "why", 100 of them.'}]
    await store.write(
        [
            row("a", verdict="unchanged", days_ago=3),
            row("b", tenant="acme", mode="shadow", days_ago=1),
            row("c", texts=("The sky.", "The blue sky."), context=asked),
        ]
    )
    assert [found["request_id"] for found in await store.search(wanted)] == expected


async def test_pages_follow_each_other(store: Store) -> None:
    await store.write([row(f"r{n}") for n in range(5)])
    first = await store.search(Wanted(limit=3))
    second = await store.search(Wanted(limit=3, before=first[-1]["id"]))
    assert [found["request_id"] for found in (*first, *second)] == ["r4", "r3", "r2", "r1", "r0"]


async def test_the_last_answer_to_a_request_of_a_tenant(store: Store) -> None:
    await store.write([row("one", tenant="a"), row("one", tenant="a"), row("one", tenant="b")])
    newest = await store.newest("one", "a")
    assert newest is not None
    assert (await store.get(newest) or {})["tenant"] == "a"
    assert await store.newest("one", "c") is None


async def test_feedback_is_counted_and_kept(store: Store) -> None:
    await store.write([row("one"), row("two")])
    id_ = await store.newest("one")
    assert id_ is not None
    await store.judge(id_, "correction", "client", "helpfulness", "much better")
    await store.judge(id_, "correction", "console")
    await store.judge(id_, "tie", "console")
    two, one = await store.search(Wanted())
    assert one["feedback"] == {"draft": 0, "correction": 1, "tie": 1}
    assert two["feedback"] == {"draft": 0, "correction": 0, "tie": 0}
    told = (await store.get(id_) or {})["feedback"]
    assert [(said["choice"], said["by"], said["objective"], said["comment"]) for said in told] == [
        ("correction", "client", "helpfulness", "much better"),
        ("tie", "console", None, None),  # who thinks again has thought so from the start
    ]
    assert [found["request_id"] async for found in store.each(Wanted(), judged=True)] == ["one"]


async def test_what_is_old_goes_with_all_that_belongs_to_it(store: Store) -> None:
    await store.write([row("old", days_ago=9, texts=("a", "b")), row("new"), row("other", tenant="x", days_ago=9)])
    old = await store.newest("old")
    assert old is not None
    await store.judge(old, "tie", "client")
    assert await store.purge(timedelta(days=7), "t") == 1
    assert [found["request_id"] for found in await store.search(Wanted())] == ["other", "new"]
    async with store._engine.connect() as connection:
        for table in (tables.texts, tables.feedback):
            assert (await connection.execute(sa.select(table))).all() == []
    assert await store.purge(timedelta(days=7), but=["t", "x"]) == 0
    assert await store.purge(timedelta(days=7), but=["t"]) == 1


async def test_modes_are_compared(store: Store) -> None:
    shadow: dict[str, Any] = {"mode": "shadow", "changed": 0.5, "corrector_ms": 10.0}
    await store.write([row("a"), row("b", verdict="unchanged", changed=0.0), row("c", **shadow), row("d", tenant="x")])
    id_ = await store.newest("c")
    assert id_ is not None
    await store.judge(id_, "draft", "console")
    full, shadows = await store.compare("t")
    assert (full["mode"], full["answers"], full["changed"]) == ("full", 2, 0.125)
    assert full["verdicts"] == {"corrected": 1, "unchanged": 1}
    assert (shadows["mode"], shadows["changed"], shadows["corrector_ms"]) == ("shadow", 0.5, 10.0)
    assert shadows["feedback"] == {"draft": 1, "correction": 0, "tie": 0}


async def test_several_gateways_make_the_tables_at_once(url: str) -> None:
    stores = [Store(url) for _ in range(4)]
    try:
        await asyncio.gather(*[store.open() for store in stores])
        await asyncio.gather(*[store.write([row(f"r{n}")]) for n, store in enumerate(stores)])
        assert len(await stores[0].search(Wanted())) == 4
    finally:
        for store in stores:
            await store.aclose()


async def test_the_revisions_make_the_tables_that_the_code_knows(store: Store) -> None:
    def differences(connection: sa.Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    async with store._engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_the_newest_revision_is_the_one_that_is_looked_for() -> None:
    migrations = Path(tables.__file__).parent / "migrations"
    assert ScriptDirectory(str(migrations)).get_current_head() == tables.HEAD


async def test_nobody_else_reads_the_file(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/state/audit.db")
    await store.open()
    await store.aclose()
    assert stat.S_IMODE((tmp_path / "state/audit.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_what_is_written_after_the_file_was_removed_stands_in_the_one_that_is_there_then(tmp_path: Path) -> None:
    path = tmp_path / "state/audit.db"
    async with contextlib.aclosing(Store(f"sqlite:///{path}")) as store:
        await store.open()
        async with store._engine.connect(), store._engine.connect():  # two, which would go on in different files
            pass
        await store.write([row("one")])
        shutil.rmtree(path.parent)
        with pytest.raises(DBAPIError, match="no such table") as caught:
            await store.write([row("two")])
        assert store.is_away(caught.value)
        await store.open()
        for request_id in ("two", "three", "four"):
            await store.write([row(request_id)])
        async with contextlib.aclosing(Store(f"sqlite:///{path}")) as another:
            assert [found["request_id"] for found in await another.search(Wanted())] == ["four", "three", "two"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nothing_that_was_deleted_stays_in_a_file(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/audit.db")
    await store.open()
    await store.write([row("old", days_ago=9, texts=("a secret draft", "b")), row("new")])
    files = [*tmp_path.glob("audit.db*")]
    assert any(b"a secret draft" in file.read_bytes() for file in files)
    await store.purge(timedelta(days=7))
    assert not any(b"a secret draft" in file.read_bytes() for file in tmp_path.glob("audit.db*"))
    await store.aclose()


async def test_who_still_reads_when_it_closes_leaves_no_connection_behind(tmp_path: Path) -> None:
    threads = threading.active_count()  # each connection has one
    store = Store(f"sqlite:///{tmp_path}/audit.db")
    await store.open()
    reading = [asyncio.create_task(store.search(Wanted())) for _ in range(6)]
    await asyncio.sleep(0)
    await store.aclose()
    assert await asyncio.gather(*reading) == [[]] * 6
    await soon(lambda: threading.active_count() <= threads)


async def test_an_error_does_not_say_what_was_to_be_kept(store: Store) -> None:
    with pytest.raises(Exception, match=r"SQL") as caught:
        await store.write([{**row("one"), "tenant": None, "reason": "a secret"}])
    assert "a secret" not in str(caught.value)
    assert not store.is_away(caught.value)


async def test_a_database_that_is_not_there_is_away(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = Store(f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable")
    with pytest.raises(OSError, match=r"Connect|refused") as caught:
        await store.open()
    assert store.is_away(caught.value)
    await store.aclose()


@pytest.mark.parametrize(
    ("sqlstate", "away"),
    [
        ("57P03", True),  # it starts, or stops
        ("53300", True),  # no connection is free
        ("08004", True),
        ("40001", True),
        ("58030", True),
        ("22021", False),
        ("54000", False),
    ],
)
async def test_a_database_that_could_take_it_later_is_away(sqlstate: str, away: bool) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        told = f"SFATAL\0C{sqlstate}\0Mnot now\0\0".encode()
        writer.write(b"E" + (len(told) + 4).to_bytes(4) + told)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = Store(f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable")
        with pytest.raises(DBAPIError, match="not now") as caught:
            await store.open()
        assert store.is_away(caught.value) is away
        await store.aclose()


async def test_a_database_that_may_only_be_read_is_away_until_it_may_be_written_to(
    postgres: str, database: str
) -> None:
    async with contextlib.aclosing(Store(f"{postgres}/{database}")) as store:
        await store.open()
        await store.aclose()  # its sessions; the next ones begin as they are told now
        tell(postgres, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        with pytest.raises(DBAPIError, match="read-only") as caught:
            await store.write([row("one")])
        assert store.is_away(caught.value)
        tell(postgres, f"ALTER DATABASE {database} RESET default_transaction_read_only")
        await store.write([row("one")])
        assert [found["request_id"] for found in await store.search(Wanted())] == ["one"]
