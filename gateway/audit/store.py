"""The trail's database: rows in, rows out. SQLite or PostgreSQL, by URL. Knows no queue and no request."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError, NoSuchTableError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.audit.search import Wanted
from gateway.audit.tables import HEAD, answers, feedback, texts

Row = dict[str, Any]

CLOSE_S = 3.0

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_MIGRATION_LOCK = 7_310_548  # any number, the same for every gateway of a database
_READ_ONLY = "25006"
# What PostgreSQL says when the same would pass later: no connection, a conflict, no room, a stop or a start, its disk.
_AWAY = ("08", "40", "53", "57", "58", _READ_ONLY)


class Store:
    """One database. Raises `SQLAlchemyError` or `OSError` if it is away, and `ModuleNotFoundError` without a driver."""

    _upgrading = asyncio.Lock()  # Alembic keeps the database that it is at in a global

    def __init__(self, url: str) -> None:
        scheme, rest = urlsplit(url).scheme, url.partition(":")[2]
        self._engine: AsyncEngine = create_async_engine(
            f"{_DRIVERS[scheme]}:{rest}".replace("sslmode=", "ssl="),  # libpq's name of it, and asyncpg's
            json_serializer=_json,
            pool_pre_ping=scheme != "sqlite",
            hide_parameters=True,  # an error is logged, and its parameters are texts
        )
        self.own = scheme == "sqlite"  # nobody else's answers are in it
        self._bulk = _Bulk(self._engine.dialect) if self.own else None
        self._writing = self._engine.execution_options(immediate=True)
        if scheme == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _set_up)
            event.listen(self._engine.sync_engine, "begin", _begin)
            _follow(self._engine.sync_engine, Path(rest.removeprefix("///")))
        else:
            event.listen(self._engine.sync_engine, "handle_error", _part_with_read_only)

    async def open(self) -> None:
        """Brings the tables to the newest version; others that would do the same wait for it."""
        async with self._upgrading, self._writing.begin() as connection:
            if await connection.run_sync(_version) != HEAD:
                await connection.run_sync(_upgrade)

    def is_away(self, error: Exception) -> bool:
        """Is it the database that is at fault, and not what it was told to keep?"""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return isinstance(error, OSError | OperationalError | PoolTimeout) or _sqlstate(error).startswith(_AWAY)

    async def aclose(self) -> None:
        """Lets those who still read or write end, for a while: what they give back later nobody would close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._engine.pool.checkedout():  # type: ignore[attr-defined]
                    await asyncio.sleep(0.01)
        await self._engine.dispose()

    async def write(self, rows: Sequence[Row]) -> None:
        """All of them, or none."""
        async with self._writing.begin() as connection:
            bare = [_without(row, "texts") for row in rows]
            if self._bulk is not None:
                # Asked for the ids, SQLite would take the rows one by one. Nobody else writes now, so they are known.
                last = (await connection.execute(sa.select(sa.func.max(answers.c.id)))).scalar() or 0
                ids = list(range(last + 1, last + 1 + len(rows)))
                numbered = [{"id": id_, **row} for id_, row in zip(ids, bare, strict=True)]
                await connection.exec_driver_sql(*self._bulk.insert(numbered))
            else:
                inserting = sa.insert(answers).returning(answers.c.id, sort_by_parameter_order=True)
                ids = list((await connection.execute(inserting, bare)).scalars())
            said = [
                {"answer_id": id_, **text}
                for id_, row in zip(ids, rows, strict=True)
                for text in row.get("texts") or ()
            ]
            if said:
                await connection.execute(sa.insert(texts), said)

    async def holds(self, row: Row) -> bool:
        """Was it written? Who lost the connection in the moment of a commit cannot know."""
        same = [answers.c[name] == row[name] for name in ("request_id", "time", "tenant")]
        async with self._engine.connect() as connection:
            return bool((await connection.execute(sa.select(sa.exists().where(*same)))).scalar())

    async def search(self, wanted: Wanted) -> list[Row]:
        """The newest first, each with `feedback` counted and with `texts`: are there any?"""
        has_texts = sa.exists().where(texts.c.answer_id == answers.c.id).label("texts")
        query = (
            sa.select(*[column for column in answers.c if column.name not in ("context", "descriptions")], has_texts)
            .where(*_conditions(wanted))
            .order_by(answers.c.id.desc())
            .limit(wanted.limit)
        )
        async with self._engine.connect() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
            counts = await _feedback_counts(connection, [row["id"] for row in rows])
        return [{**row, "texts": bool(row["texts"]), "feedback": counts.get(row["id"], _counted())} for row in rows]

    async def get(self, id_: int) -> Row | None:
        """One answer whole: `choices` with their texts, and its `feedback`, the oldest first."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(sa.select(answers).where(answers.c.id == id_))).mappings().first()
            return None if row is None else await _whole(connection, dict(row))

    async def newest(self, request_id: str, tenant: str | None = None) -> int | None:
        """The id of the last answer to a request of this id, of this tenant."""
        query = sa.select(sa.func.max(answers.c.id)).where(answers.c.request_id == request_id)
        if tenant is not None:
            query = query.where(answers.c.tenant == tenant)
        async with self._engine.connect() as connection:
            found: int | None = (await connection.execute(query)).scalar()
        return found

    async def judge(
        self, id_: int, choice: str, by: str, objective: str | None = None, comment: str | None = None
    ) -> None:
        """Keeps it; who thinks again about the same objective has thought so from the start."""
        same = feedback.c.objective == objective if objective is not None else feedback.c.objective.is_(None)
        told = {"answer_id": id_, "time": datetime.now(UTC), "choice": choice, "objective": objective}
        async with self._writing.begin() as connection:
            gone = sa.delete(feedback).where(feedback.c.answer_id == id_, feedback.c.by == by, same)
            await connection.execute(gone)
            await connection.execute(sa.insert(feedback), {**told, "comment": comment, "by": by})

    async def names(self) -> dict[str, list[str]]:
        """The tenants and policies that the trail knows."""
        async with self._engine.connect() as connection:
            found = {}
            for name, column in (("tenants", answers.c.tenant), ("policies", answers.c.policy)):
                found[name] = sorted((await connection.execute(sa.select(column).distinct())).scalars())
        return found

    async def compare(self, tenant: str | None) -> list[Row]:
        """By mode: how many answers, their verdicts, how much was changed, and what people preferred."""
        where = [answers.c.tenant == tenant] if tenant is not None else []
        figures = sa.select(
            answers.c.mode, answers.c.verdict, sa.func.count(),
            sa.func.sum(answers.c.changed), sa.func.count(answers.c.changed),
            sa.func.sum(answers.c.corrector_ms), sa.func.count(answers.c.corrector_ms),
        ).where(*where).group_by(answers.c.mode, answers.c.verdict)  # fmt: skip
        judged = (
            sa.select(answers.c.mode, feedback.c.choice, sa.func.count())
            .join_from(feedback, answers)
            .where(*where)
            .group_by(answers.c.mode, feedback.c.choice)
        )
        async with self._engine.connect() as connection:
            arms: dict[str, Row] = {}
            sums: dict[str, list[float]] = {}
            for mode, verdict, count, changed, changes, corrector_ms, timed in await connection.execute(figures):
                empty: Row = {"mode": mode, "answers": 0, "verdicts": {}, "feedback": _counted()}
                arm = arms.setdefault(mode, empty)
                arm["answers"] += count
                arm["verdicts"][verdict] = count
                of = sums.setdefault(mode, [0, 0, 0, 0])
                sums[mode] = [a + (b or 0) for a, b in zip(of, (changed, changes, corrector_ms, timed), strict=True)]
            for mode, choice, count in await connection.execute(judged):
                arms[mode]["feedback"][choice] = count
        for mode, (changed, changes, corrector_ms, timed) in sums.items():
            arms[mode]["changed"] = round(changed / changes, 4) if changes else None
            arms[mode]["corrector_ms"] = round(corrector_ms / timed, 1) if timed else None
        return [arms[mode] for mode in sorted(arms)]

    async def purge(self, older_than: timedelta, tenant: str | None = None, *, but: Sequence[str] = ()) -> int:
        """Deletes answers of one tenant, or of all `but` some, with all that belongs to them; says how many."""
        old = [answers.c.time < datetime.now(UTC) - older_than]
        if tenant is not None:
            old.append(answers.c.tenant == tenant)
        if but:
            old.append(answers.c.tenant.not_in(but))
        gone = sa.select(answers.c.id).where(*old)
        async with self._writing.begin() as connection:
            for table in (feedback, texts):
                await connection.execute(sa.delete(table).where(table.c.answer_id.in_(gone)))
            count = (await connection.execute(sa.delete(answers).where(*old))).rowcount
        if self.own and count:  # what was deleted is still in the log that goes before the file
            async with self._engine.connect() as connection:
                await connection.execution_options(bare=True)
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    async def each(self, wanted: Wanted, *, judged: bool = False) -> AsyncGenerator[Row, None]:
        """Answers whole, the oldest first, however many; `judged`: only those with feedback."""
        conditions = _conditions(wanted)
        if judged:
            conditions.append(sa.exists().where(feedback.c.answer_id == answers.c.id))
        last = 0
        async with self._engine.connect() as connection:
            while True:
                query = sa.select(answers).where(*conditions, answers.c.id > last).order_by(answers.c.id).limit(200)
                rows = [dict(row) for row in (await connection.execute(query)).mappings()]
                for row in rows:
                    yield await _whole(connection, row)
                if not rows:
                    return
                last = rows[-1]["id"]


class _Bulk:
    """Answers into SQLite by one statement for many: row by row, its thread and the event loop's would hand each other
    the interpreter each time, which costs more than all the rest."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._columns = [(one.name, one.type.dialect_impl(dialect).bind_processor(dialect)) for one in answers.c]
        self._marks = f"({', '.join('?' * len(self._columns))})"

    def insert(self, rows: Sequence[Row]) -> tuple[str, tuple[Any, ...]]:
        """The statement, and its parameters as the driver takes them."""
        names = ", ".join(name for name, _ in self._columns)
        statement = f"INSERT INTO answers ({names}) VALUES {', '.join([self._marks] * len(rows))}"  # noqa: S608 - ours
        return statement, tuple(of(row[name]) if of else row[name] for row in rows for name, of in self._columns)


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = [
        answers.c[name] == value
        for name in ("tenant", "policy", "verdict", "mode")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.since is not None:
        found.append(answers.c.time >= wanted.since)
    if wanted.until is not None:
        found.append(answers.c.time < wanted.until)
    if wanted.correctors is not None:
        found.append(answers.c.corrector.in_(wanted.correctors))
    if wanted.before is not None:
        found.append(answers.c.id < wanted.before)
    if wanted.with_texts:
        found.append(sa.exists().where(texts.c.answer_id == answers.c.id))
    if wanted.q:
        in_text = [column.icontains(wanted.q, autoescape=True) for column in (texts.c.draft, texts.c.correction)]
        in_context = sa.cast(answers.c.context, sa.Text).icontains(_json(wanted.q)[1:-1], autoescape=True)
        found.append(
            sa.or_(
                answers.c.request_id == wanted.q,
                in_context,
                sa.exists().where(texts.c.answer_id == answers.c.id, sa.or_(*in_text)),
            )
        )
    return found


async def _whole(connection: AsyncConnection, row: Row) -> Row:
    said = sa.select(texts).where(texts.c.answer_id == row["id"]).order_by(texts.c.choice)
    judged = sa.select(feedback).where(feedback.c.answer_id == row["id"]).order_by(feedback.c.id)
    row["choices"] = [_without(dict(text), "answer_id") for text in (await connection.execute(said)).mappings()]
    found = (await connection.execute(judged)).mappings()
    row["feedback"] = [_without(_without(dict(one), "answer_id"), "id") for one in found]
    return row


async def _feedback_counts(connection: AsyncConnection, ids: Sequence[int]) -> Mapping[int, dict[str, int]]:
    query = (
        sa.select(feedback.c.answer_id, feedback.c.choice, sa.func.count())
        .where(feedback.c.answer_id.in_(ids))
        .group_by(feedback.c.answer_id, feedback.c.choice)
    )
    counts: dict[int, dict[str, int]] = {}
    for id_, choice, count in await connection.execute(query):
        counts.setdefault(id_, _counted())[choice] = count
    return counts


def _counted() -> dict[str, int]:
    return {"draft": 0, "correction": 0, "tie": 0}


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _set_up(connection: Any, record: object) -> None:
    """Of each SQLite connection: readers beside a writer, and nothing that is deleted stays in the file."""
    connection.isolation_level = None  # `_begin` begins: Python's own way leaves out CREATE TABLE
    cursor = connection.cursor()
    for setting in ("busy_timeout=5000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=1", "secure_delete=1"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _follow(engine: sa.Engine, path: Path) -> None:
    """The file is made so that nobody else reads it; one that is removed is left for the one that stands there then:
    what is written into a file without a name, nobody finds again."""

    def identity() -> tuple[int, int] | None:
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            return stat.st_dev, stat.st_ino
        return None

    def make(*_: object) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)

    def note(connection: Any, record: Any) -> None:
        record.info["file"] = identity()

    def compare(connection: Any, record: Any, proxy: object) -> None:
        if record.info["file"] != identity():
            raise DisconnectionError

    for name, listener in (("do_connect", make), ("connect", note), ("checkout", compare)):
        event.listen(engine, name, listener)


def _begin(connection: sa.Connection) -> None:
    """With the right to write where that is wanted: who has begun to read would not get it while another writes."""
    if not connection.get_execution_options().get("bare"):
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if connection.get_execution_options().get("immediate") else "BEGIN"
        )


def _sqlstate(error: BaseException | None) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _part_with_read_only(context: sa.ExceptionContext) -> None:
    """A session may go on refusing when its database does not any more: the next try has a new one."""
    if _sqlstate(context.sqlalchemy_exception) == _READ_ONLY:
        context.is_disconnect = True


def _version(connection: sa.Connection) -> str | None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    try:
        version = sa.Table("alembic_version", sa.MetaData(), autoload_with=connection)
    except NoSuchTableError:
        return None
    found: str | None = connection.execute(sa.select(version.c.version_num)).scalar()
    return found


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # 0.2 s, once in a database's life
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
