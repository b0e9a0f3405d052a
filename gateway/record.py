"""What is known of one request so far. Logged and counted once, when its answer has left. Knows no API and no file."""

import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corrector.ahead import Ahead
from corrector.correction import Correction
from corrector.objectives import Tenant
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest
from gateway.plan import Plan
from gateway.telemetry import Metrics

if TYPE_CHECKING:  # OpenTelemetry is optional
    from gateway.tracing import Trace


@dataclass(slots=True)
class Record:
    """What is known of one request so far; logged and counted once, when its answer has left.

    The audit trail takes it once `pending` is 0: a shadow correction ends later than its answer.
    """

    request_id: str = field(default_factory=lambda: f"req_{uuid.uuid4().hex}")
    id_is_sent: bool = False  # to the client, before its policy could name one
    at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    tenant: str = "-"
    policy: str = "-"
    served_by: str = "-"
    stream: bool = False
    mode: str = "-"
    status: int = 0
    verdict: str = "-"
    reason: str = "-"
    error: str | None = None
    corrector_error: str = ""  # what the client was told of a corrector that failed
    # In seconds since the request came: when its body was there, when its policy was asked, when that began to answer,
    # and when its answer was whole.
    received_s: float = 0.0
    asked_s: float = 0.0
    policy_ttft_s: float | None = None
    policy_s: float | None = None
    corrector: str = "-"
    corrector_queue_s: float | None = None
    corrector_ttft_s: float | None = None
    corrector_s: float = 0.0
    policy_tokens: int | None = None
    corrector_tokens: int = 0
    total_s: float = 0.0
    ahead: Ahead | None = None  # what the corrector computes while the policy is still writing
    rules: Tenant | None = None
    configuration: str = ""
    asked: ChatRequest | None = None
    todo: Plan | None = None
    drafts: dict[int, str] = field(default_factory=dict)  # by choice; where nothing was corrected, what was sent
    corrections: dict[int, Correction] = field(default_factory=dict)
    unread: list[bytes] = field(default_factory=list)  # an answer that was relayed as bytes
    pending: int = 1
    trace: "Trace | None" = None

    @property
    def keeps_texts(self) -> bool:
        return self.rules is not None and self.rules.audit == "full"

    @property
    def may_see_draft(self) -> bool:
        """May who asks? As long as nobody knows who that is, there is none to be seen."""
        return self.rules is None or self.rules.may_see_draft

    def since(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self.started

    def own_s(self) -> float | None:
        """What the gateway itself has taken so far, and not the client's sending, the policy or the corrector.

        None where a correction came to nothing: of such a one nobody knows how long it took.
        """
        if self.error is not None and self.corrector != "-":
            return None
        others = [(0.0, self.received_s), (self.asked_s, self.policy_s or self.asked_s)]
        if self.ahead is not None and self.ahead.awaited is not None:
            began, ended = self.ahead.awaited
            others.append((began - self.started, ended - self.started))
        if self.mode != "shadow":  # which nobody waits for
            begun = [(one.started - self.started, one.total_s) for one in self.corrections.values() if one.total_s]
            others += [(at, at + total_s) for at, total_s in begun]
        return self.since() - _covered_s(others)

    def fail(self, error: GatewayError) -> None:
        """The answer is an error, or ends in one."""
        self.status, self.error = error.status, error.code
        if error.code == "corrector_unavailable":
            self.corrector_error = error.message

    def warn_of_failure(self, log: Any) -> None:
        """Why a corrector failed, also where its draft is sent instead and nobody else tells."""
        error = self.corrector_error or next((one.error for one in self.corrections.values() if one.error), "")
        if error:
            log.warning("corrector.failed", corrector=self.corrector, request_id=self.request_id, error=error)

    def finish(self, metrics: Metrics, log: Any) -> None:
        if self.ahead is not None:
            self.ahead.cancel()
        if self.mode != "shadow":  # whose corrections are made later
            self.warn_of_failure(log)
        self.total_s = total = self.since()
        own = self.own_s()
        metrics.requests.labels(self.policy, self.tenant, self.verdict, first_reason(self.reason), self.status).inc()
        if self.policy_ttft_s is not None:
            metrics.policy_ttft.labels(self.policy, self.tenant).observe(self.policy_ttft_s - self.asked_s)
        if self.policy_s is not None:
            metrics.policy_total.labels(self.policy, self.tenant).observe(self.policy_s - self.asked_s)
            if own is not None:
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


def _covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that lie in one of the spans at least: by segments, a corrector works while the policy still writes."""
    covered = until = 0.0
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
