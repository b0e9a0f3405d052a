"""Answers on their way into the trail: a bounded queue, and one that writes it down in batches.

No answer waits for it and none fails for it: what the queue has no room for is dropped, and counted.
"""

import asyncio
import contextlib
import importlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from corrector.objectives import Tenant
from gateway.audit.entries import Row, row_of
from gateway.config import AuditOptions
from gateway.errors import GatewayError
from gateway.record import Record
from gateway.telemetry import Metrics

Choice = Literal["draft", "correction", "tie"]

BATCH = 500
LARGE_CHARS = 100_000  # to compare so many takes milliseconds
LINGER_S = 0.5  # rows that come within are written together
RETRY_S = 2.0
QUEUE_CHARS = 64_000_000  # of texts that wait, at most
FLUSH_S = 5.0
PURGE_EVERY_S = 3600.0


class Trail:
    """The gateway's end of the trail. The database is opened when there is something to write, or to read."""

    def __init__(self, options: AuditOptions, metrics: Metrics, log: Any) -> None:
        self._options = options
        self._metrics = metrics
        self._log = log
        self._queue: deque[tuple[Record | Row | None, int]] = deque()
        self._chars = 0
        self._noted = self._done = 0
        self._closed = False
        self._woken = asyncio.Event()
        self._hurried = asyncio.Event()
        self._wrote = asyncio.Condition()
        self._opening: asyncio.Task[Any] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def keeps(self) -> bool:
        """May there be rows in the database, whatever the tenants say now?"""
        if self._opening is not None or self._options.named:
            return True
        with contextlib.suppress(ValueError):  # a user without a home has no file there
            return Path(self._options.location().removeprefix("sqlite:///")).exists()
        return False

    @property
    def queued(self) -> int:
        return self._noted - self._done

    def settle(self, record: Record) -> None:
        """One of what belongs to the request has ended; with the last it goes to the trail, if its tenant says so."""
        record.pending -= 1
        if record.pending or record.rules is None or record.rules.audit == "off":
            return
        if not record.keeps_texts:
            record.asked = None
        chars = _chars(record)
        if self._closed or self.queued >= self._options.queue or self._chars + chars > QUEUE_CHARS:
            self._count("dropped", 1)
            return
        entry: Record | Row | None = record
        if not record.keeps_texts and chars < LARGE_CHARS:  # the row is small; what it is made of need not wait with it
            entry, chars = self._row(record), 0
        self._queue.append((entry, chars))
        self._chars += chars
        self._noted += 1
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_on())
        self._woken.set()

    async def store(self) -> Any:
        """The open `Store`. Raises what `Store` raises, and `ValueError` for a URL that is none."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(_opened(self._options.location()))
        return await asyncio.shield(self._opening)  # who goes away meanwhile leaves it to the next

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Any]:
        """The open store, for a request. Raises `GatewayError` 503 if it is away, or goes away meanwhile."""
        from sqlalchemy.exc import SQLAlchemyError

        store: Any = None
        try:
            try:
                store = await self.store()
            except ValueError as error:  # no URL
                raise OSError(str(error)) from None
            yield store
        except GatewayError:
            raise
        except (OSError, SQLAlchemyError, ImportError, TypeError) as error:
            self._log.error("audit.unavailable", error=_said(error))
            if store is not None and store.own:  # its file may be a new one, without tables: the next finds them
                with contextlib.suppress(OSError, SQLAlchemyError):
                    await store.open()
            raise GatewayError(503, "audit_unavailable", "the audit trail cannot be reached now") from None

    async def settled(self, store: Any, request_id: str, tenant: str | None = None) -> int | None:
        """The id of the answer to the request, also if it has only just left, by this worker or another."""
        await self.flush()
        for _ in range(4):
            if (id_ := await store.newest(request_id, tenant)) is not None:
                return int(id_)
            await asyncio.sleep(LINGER_S)
        return None

    async def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Waits until what has been noted so far is written, but not for ever."""
        target = self._noted
        self._hurried.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._wrote:
                await self._wrote.wait_for(lambda: self._done >= target)

    async def aclose(self, timeout_s: float) -> None:
        """Writes down what waits, for so long at most; what comes later is dropped, and counted."""
        self._closed = True
        if self._writer is not None:
            await self.flush(timeout_s)
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if lost := self.queued:
            self._count("dropped", lost)
            self._log.error("audit.lost", rows=lost)
        if self._opening is not None:
            with contextlib.suppress(Exception):  # it never opened, and is not waited for
                async with asyncio.timeout(FLUSH_S):
                    await (await self._opening).aclose()

    @contextlib.asynccontextmanager
    async def purging(self, tenants: Any) -> AsyncIterator[None]:
        """Meanwhile deletes, now and then, what is older than its tenant says; `tenants()` gives them, by name."""
        stopping = asyncio.Event()
        purging = asyncio.create_task(self._purge_on(tenants, stopping))
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait({purging}, timeout=FLUSH_S)
            purging.cancel()

    async def _purge_on(self, tenants: Any, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                wanted = self.keeps or any(tenant.audit != "off" for tenant in tenants().values())
                if wanted and (gone := await expired(await self.store(), tenants(), named=self._options.named)):
                    self._log.info("audit.purged", rows=gone)
            except Exception as error:  # whatever it is: the next hour tries again
                self._log.warning("audit.unavailable", error=_said(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), PURGE_EVERY_S)

    async def _write_on(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._queue:
                if len(self._queue) < BATCH and not self._hurried.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurried.wait(), LINGER_S)
                self._hurried.clear()
                await self._write([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])

    async def _write(self, batch: list[tuple[Record | Row | None, int]]) -> None:
        entries = [entry for entry, _ in batch]
        if any(isinstance(entry, Record) for entry in entries):
            rows = await asyncio.to_thread(lambda: [self._row(e) if isinstance(e, Record) else e for e in entries])
        else:
            rows = entries  # type: ignore[assignment]
        await self._put([row for row in rows if row is not None])
        self._chars -= sum(chars for _, chars in batch)
        async with self._wrote:
            self._done += len(batch)
            self._wrote.notify_all()

    def _row(self, record: Record) -> Row | None:
        try:
            return row_of(record)
        except Exception as error:  # one that nobody foresaw must not cost those beside it, nor its answer
            self._refuse(record.request_id, error)
            return None

    async def _put(self, rows: list[Row]) -> None:
        """Until they are written: a database that is away comes back. A row that none would take is dropped alone."""
        if not rows:
            return
        store, again = await self._reached(), False
        while True:
            try:
                if not (again and await store.holds(rows[0])):  # they go in together, or not at all
                    await store.write(rows)
                self._count("written", len(rows))
            except Exception as error:
                if store.is_away(error):
                    store, again = await self._reached(error), True
                    continue
                if len(rows) == 1:
                    self._refuse(rows[0]["request_id"], getattr(error, "orig", None) or error)
                else:
                    for row in rows:
                        await self._put([row])
            return

    async def _reached(self, error: Exception | None = None) -> Any:
        """The open store, as soon as there is one; after an error a while later, with new tables if they have gone."""
        told = False
        while True:
            if error is not None:
                if not told:
                    self._log.error("audit.unavailable", error=_said(error), waiting=self.queued)
                told = True
                await asyncio.sleep(RETRY_S)
            try:
                store = await self.store()
                if error is not None:
                    await store.open()
                return store
            except Exception as failure:  # whatever it is: the rows wait, and somebody hears of it
                error = failure

    def _refuse(self, request_id: str, error: BaseException) -> None:
        self._count("dropped", 1)
        self._log.error("audit.refused", request_id=request_id, error=type(error).__name__)  # its words may hold a text

    def _count(self, result: str, rows: int) -> None:
        self._metrics.audit_rows.labels(result).inc(rows)


async def _opened(url: str) -> Any:
    stores = await asyncio.to_thread(importlib.import_module, "gateway.audit.store")  # SQLAlchemy takes 0.3 s
    store = stores.Store(url)
    try:
        await store.open()
    except BaseException:
        await store.aclose()
        raise
    return store


async def expired(store: Any, tenants: Mapping[str, Tenant], *, named: bool) -> int:
    """Deletes what is older than its tenant says; of tenants that there are no more, by the default.

    `named`: is it the database that policies.yaml names? One that others may write to keeps strangers' answers: they
    may be somebody's tenants. So does a file that nobody has named, since every gateway of this user has the same.
    """
    gone = 0
    for name, tenant in tenants.items():
        gone += await store.purge(timedelta(days=tenant.retention_days), name)
    if store.own and named:
        default = Tenant.model_fields["retention_days"].default
        gone += await store.purge(timedelta(days=default), but=list(tenants))
    return gone


def _chars(record: Record) -> int:
    """Of the texts that the record holds on to; the request's body by its bytes."""
    said = sum(map(len, record.drafts.values())) + sum(map(len, record.unread))
    said += sum(len(told.text) for told in record.corrections.values())
    return said + (record.asked.size if record.asked is not None else 0)


def _said(error: Exception) -> str:
    """What went wrong, without the statement and the texts in it."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
