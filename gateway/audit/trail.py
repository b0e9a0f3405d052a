"""Answers on their way into the trail: a bounded queue, and one that writes it down in batches.

No answer waits for it and none fails for it: what the queue has no room for is dropped, and counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

from corrector.objectives import Tenant
from gateway.config import AuditOptions
from gateway.errors import GatewayError
from gateway.record import Record
from gateway.telemetry import Metrics

Choice = Literal["draft", "correction", "tie"]

BATCH = 500
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
        self._queue: deque[tuple[Record, int]] = deque()
        self._chars = 0
        self._noted = self._done = 0
        self._woken = asyncio.Event()
        self._hurried = asyncio.Event()
        self._wrote = asyncio.Condition()
        self._opening: asyncio.Task[Any] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        return self._noted - self._done

    def settle(self, record: Record) -> None:
        """One of what belongs to the request has ended; with the last it goes to the trail, if its tenant says so."""
        record.pending -= 1
        if record.pending or record.rules is None or record.rules.audit == "off":
            return
        chars = _chars(record) if record.keeps_texts else 0
        if self.queued >= self._options.queue or self._chars + chars > QUEUE_CHARS:
            self._metrics.audit_rows.labels("dropped").inc()
            return
        self._queue.append((record, chars))
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

    async def open_store(self) -> Any:
        """The open `Store`, for a request. Raises `GatewayError` 503 if it is away."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return await self.store()
        except (OSError, SQLAlchemyError, ModuleNotFoundError, ValueError) as error:
            self._log.error("audit.unavailable", error=_said(error))
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
        """Writes down what waits, for so long at most."""
        if self._writer is not None:
            await self.flush(timeout_s)
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if lost := self.queued:
            self._metrics.audit_rows.labels("dropped").inc(lost)
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
            if self._opening is not None or any(tenant.audit != "off" for tenant in tenants().values()):
                try:
                    if gone := await expired(await self.store(), tenants()):
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

    async def _write(self, batch: list[tuple[Record, int]]) -> None:
        await self._put(await asyncio.to_thread(self._rows, [record for record, _ in batch]))
        self._chars -= sum(chars for _, chars in batch)
        async with self._wrote:
            self._done += len(batch)
            self._wrote.notify_all()

    def _rows(self, records: list[Record]) -> list[dict[str, Any]]:
        from gateway.audit.entries import row_of

        rows = []
        for record in records:
            try:
                rows.append(row_of(record))
            except Exception as error:  # one that nobody foresaw must not cost those beside it
                self._refuse(record.request_id, error)
        return rows

    async def _put(self, rows: list[dict[str, Any]]) -> None:
        """Until it is written: a database that is away comes back. A row that none would take is dropped alone."""
        from sqlalchemy.exc import DataError, IntegrityError

        told = False
        while rows:
            try:
                await (await self.store()).write(rows)
                self._count("written", len(rows))
                break
            except (DataError, IntegrityError) as error:
                if len(rows) > 1:
                    for row in rows:
                        await self._put([row])
                else:
                    self._refuse(rows[0]["request_id"], error.orig or error)
                break
            except Exception as error:  # whatever it is: the rows wait, and somebody hears of it
                if not told:
                    self._log.error("audit.unavailable", error=_said(error), waiting=self.queued)
                told = True
                await asyncio.sleep(RETRY_S)
        if told:
            self._log.info("audit.available", waiting=self.queued)

    def _refuse(self, request_id: str, error: BaseException) -> None:
        self._count("dropped", 1)
        self._log.error("audit.refused", request_id=request_id, error=type(error).__name__)  # its words may hold a text

    def _count(self, result: str, rows: int) -> None:
        self._metrics.audit_rows.labels(result).inc(rows)


async def _opened(url: str) -> Any:
    from gateway.audit.store import Store  # SQLAlchemy, 0.3 s: only where there is a trail

    store = Store(url)
    try:
        await store.open()
    except BaseException:
        await store.aclose()
        raise
    return store


async def expired(store: Any, tenants: dict[str, Tenant]) -> int:
    """Deletes what is older than its tenant says; of tenants that there are no more, by the default."""
    gone = 0
    for name, tenant in tenants.items():
        gone += await store.purge(timedelta(days=tenant.retention_days), name)
    default = Tenant.model_fields["retention_days"].default
    return gone + int(await store.purge(timedelta(days=default), but=list(tenants)))


def _chars(record: Record) -> int:
    """Of the texts that the record holds on to; the request's body by its bytes."""
    said = sum(map(len, record.drafts)) + sum(map(len, record.unread))
    said += sum(len(told.text) for told in record.corrections)
    return said + (len(record.asked.raw or b"") if record.asked is not None else 0)


def _said(error: Exception) -> str:
    """What went wrong, without the statement and the texts in it."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
