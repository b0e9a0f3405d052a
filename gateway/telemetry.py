"""What is seen from outside: one log line a request, and Prometheus metrics. Never a key, never a text of a user."""

import logging
import os
import re
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from corrector.ahead import Ahead

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120)
_OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)


def configure_logging() -> None:
    """JSON lines on stdout; on a terminal, coloured lines for people."""
    pretty = sys.stdout.isatty()
    renderer = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


class Metrics:
    """The gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        who = ["policy", "tenant"]
        self.requests = Counter(
            "metaaligner_requests", "Requests answered.", [*who, "verdict", "reason", "status"], registry=registry
        )
        self.shadow = Counter(
            "metaaligner_shadow", "Corrections made in shadow.", [*who, "verdict", "reason"], registry=registry
        )
        self.policy_ttft = self._histogram("policy_ttft_seconds", "Policy: time to its first byte.", who)
        self.policy_total = self._histogram("policy_seconds", "Policy: time to its last byte.", who)
        self.corrector_queue = self._histogram(
            "corrector_queue_seconds", "Corrector: wait for its answer to begin (queue and connection).", ["corrector"]
        )
        self.corrector_ttft = self._histogram(
            "corrector_ttft_seconds", "Corrector: time to its first token.", ["corrector"]
        )
        self.corrector_total = self._histogram("corrector_seconds", "Corrector: time to its last token.", ["corrector"])
        self.overhead = self._histogram(
            "overhead_seconds", "The gateway's own time: total less policy and corrector.", [], _OVERHEAD
        )
        self.in_flight = Gauge(
            "metaaligner_in_flight", "Requests in flight.", registry=registry, multiprocess_mode="livesum"
        )
        self.reloads = Counter("metaaligner_reloads", "Configuration reloads.", ["result"], registry=registry)

    def _histogram(self, name: str, told: str, labels: list[str], buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"metaaligner_{name}", told, labels, buckets=buckets, registry=self._registry)

    def exposition(self) -> bytes:
        """Prometheus text format; with several workers, of all of them together."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self._registry)


def forget_dead_workers() -> None:
    """One that was killed cannot take back the requests that it counted as in flight."""
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class Record:
    """What is known of one request so far; logged and counted once, when its answer has left."""

    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    started: float = field(default_factory=time.perf_counter)
    tenant: str = "-"
    policy: str = "-"
    served_by: str = "-"
    stream: bool = False
    mode: str = "-"
    status: int = 0
    verdict: str = "-"
    reason: str = "-"
    error: str | None = None
    policy_ttft_s: float | None = None
    policy_s: float | None = None
    corrector: str = "-"
    corrector_queue_s: float | None = None
    corrector_ttft_s: float | None = None
    corrector_s: float = 0.0
    policy_tokens: int | None = None
    corrector_tokens: int = 0
    ahead: Ahead | None = None  # what the corrector computes while the policy is still writing

    def since(self) -> float:
        """Seconds since the request came."""
        return time.perf_counter() - self.started

    def finish(self, metrics: Metrics, log: Any) -> None:
        if self.ahead is not None:
            self.ahead.cancel()
        total = self.since()
        own = max(0.0, total - (self.policy_s or 0.0) - self.corrector_s)
        metrics.requests.labels(self.policy, self.tenant, self.verdict, first_reason(self.reason), self.status).inc()
        if self.policy_ttft_s is not None:
            metrics.policy_ttft.labels(self.policy, self.tenant).observe(self.policy_ttft_s)
        if self.policy_s is not None:
            metrics.policy_total.labels(self.policy, self.tenant).observe(self.policy_s)
            metrics.overhead.observe(own)
        if self.corrector_s:
            metrics.corrector_total.labels(self.corrector).observe(self.corrector_s)
        if self.corrector_queue_s is not None:
            metrics.corrector_queue.labels(self.corrector).observe(self.corrector_queue_s)
        if self.corrector_ttft_s is not None:
            metrics.corrector_ttft.labels(self.corrector).observe(self.corrector_ttft_s)
        log.info(
            "request",
            request_id=self.request_id,
            tenant=self.tenant,
            policy=self.policy,
            served_by=self.served_by,
            stream=self.stream,
            mode=self.mode,
            status=self.status,
            verdict=self.verdict,
            reason=self.reason,
            error=self.error,
            policy_ttft_ms=_ms(self.policy_ttft_s),
            policy_ms=_ms(self.policy_s),
            corrector_ttft_ms=_ms(self.corrector_ttft_s),
            corrector_ms=_ms(self.corrector_s),
            own_ms=_ms(own),
            total_ms=_ms(total),
            policy_tokens=self.policy_tokens,
            corrector_tokens=self.corrector_tokens,
        )


def first_reason(reason: str) -> str:
    """A reason as a metric's label, which may take few values: without what parts of an answer add to it."""
    return re.split("[;,]", reason, maxsplit=1)[0]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
