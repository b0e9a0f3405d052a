"""Corrections in shadow: made when the draft has left, for the log, the metrics and the trail. Nobody waits for one."""

import asyncio
from typing import Any

from corrector.corrector import whole
from gateway import corrections, spans
from gateway.audit.trail import Trail
from gateway.exchange import ChatRequest
from gateway.plan import Plan
from gateway.record import Record, first_reason
from gateway.reload import Snapshot
from gateway.telemetry import Metrics


class Shadows:
    """Those that are running: `limit` at most, the rest is left out."""

    def __init__(self, metrics: Metrics, trail: Trail, log: Any, limit: int) -> None:
        self._limit = limit
        self._metrics = metrics
        self._trail = trail
        self._log = log
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record) -> None:
        """Correct the record's drafts, behind the answer."""
        counted = self._metrics.shadow
        if len(self._running) >= self._limit:  # nobody waits for one: it must not become a growing queue
            counted.labels(todo.policy, todo.tenant_name, "skipped", "overloaded").inc()
            return

        async def correct() -> None:
            for index, draft in record.drafts.items():
                task = corrections.task(request, todo, draft)
                told = record.corrections[index] = await whole(snapshot.correctors[todo.corrector], task)
                reason = first_reason(told.reason)
                counted.labels(todo.policy, todo.tenant_name, told.verdict, reason).inc()
                self._log.info(
                    "shadow",
                    request_id=record.request_id,
                    tenant=todo.tenant_name,
                    policy=todo.policy,
                    corrector=todo.corrector,
                    verdict=told.verdict,
                    reason=told.reason,
                    corrector_ms=round(told.total_s * 1000, 1),
                    corrector_tokens=told.completion_tokens,
                )

        def done(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("shadow.unexpected", request_id=record.request_id, error=type(error).__name__)
            try:
                if record.trace is not None:
                    spans.corrected(record, record.trace)
            finally:
                self._trail.settle(record)

        record.pending += 1
        task = asyncio.create_task(correct())
        snapshot.hold(task)  # the request that it belongs to has ended long before
        self._running.add(task)
        task.add_done_callback(done)

    async def drain(self, timeout_s: float) -> None:
        """Let them end, for a while."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
