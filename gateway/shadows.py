"""Corrections in shadow: made when the draft has left, for the log, the metrics and the trail. Nobody waits for one."""

import asyncio
from typing import Any

from corrector.corrector import whole
from corrector.engines import EngineOptions
from gateway import corrections, spans
from gateway.audit.trail import Trail
from gateway.exchange import ChatRequest
from gateway.plan import Plan
from gateway.record import Record, first_reason
from gateway.snapshot import Snapshot
from gateway.telemetry import Metrics

VLLM_AT_ONCE = 64  # at least, of an engine that is vLLM and does not say
UNKNOWN_AT_ONCE = 8


def places(engine: EngineOptions) -> int:
    """Half of what the engine does at once: it takes what comes in turns, and live corrections have the other half."""
    said = getattr(engine, "parallel", None) or getattr(engine, "options", {}).get("max_num_seqs")
    at_once = said if isinstance(said, int) else VLLM_AT_ONCE if engine.salts_prefixes else UNKNOWN_AT_ONCE
    return max(1, at_once // 2) * max(1, len(getattr(engine, "base_url", ())))


class Shadows:
    """Those that are running: of each corrector `places` at most, the rest is left out."""

    def __init__(self, metrics: Metrics, trail: Trail, log: Any) -> None:
        self._metrics = metrics
        self._trail = trail
        self._log = log
        self._running: dict[asyncio.Task[None], str] = {}  # each with its corrector

    def begin(self, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record) -> None:
        """Correct the record's drafts, behind the answer."""
        counted = self._metrics.shadow
        running = sum(name == todo.corrector for name in self._running.values())
        if running >= places(snapshot.config.correctors[todo.corrector].engine):
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
            record.warn_of_failure(self._log)

        def done(task: asyncio.Task[None]) -> None:
            self._running.pop(task, None)
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
        self._running[task] = todo.corrector
        task.add_done_callback(done)

    async def drain(self, timeout_s: float) -> None:
        """Let them end, for a while."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
