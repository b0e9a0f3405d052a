"""What is seen from outside: one log line a request, and Prometheus metrics. Never a key, never a text of a user."""

import contextlib
import logging
import os
import sys
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

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
        logger_factory=lambda *_: _Lines(sys.stdout),
        cache_logger_on_first_use=True,
    )


class _Lines(structlog.WriteLogger):
    """A line that cannot be written (a full disk, a pipe or terminal that is gone) is lost, as `logging`'s own are.

    Whatever logs goes on: the audit's writer, restarts of engines, fallbacks.
    """

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the latter of a file that is closed
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


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
        self.audit_rows = Counter(
            "metaaligner_audit_rows", "Answers for the audit trail, by what became of them.", ["result"],
            registry=registry,
        )  # fmt: skip
        self.reloads = Counter("metaaligner_reloads", "Configuration reloads.", ["result"], registry=registry)
        self.rejected = Gauge(
            "metaaligner_configuration_rejected", "1 while a saved configuration is not in force, as it is not valid.",
            registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        # Known from the start: a counter's first appearance is no increase, so the first of them would alarm nobody.
        for counter, results in ((self.reloads, ("applied", "rejected")), (self.audit_rows, ("written", "dropped"))):
            for result in results:
                counter.labels(result)

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
