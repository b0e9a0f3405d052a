"""Spans to an OpenTelemetry collector, over OTLP/HTTP. Imported only where the environment names one: see `spans.py`.

The only file that knows OpenTelemetry, which is optional and takes as long to import as the rest of the gateway. It
knows nothing of requests: what the spans of one say is `spans.py`'s.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    set_span_in_context,
)  # fmt: skip
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SERVICE = "metaaligner-gateway"
FLUSH_S = 3.0  # at a stop; a collector that is away must not hold it up
CARRIED = ("traceparent", "tracestate")  # W3C trace context
COMPLAINT_EVERY_S = 60.0
_CONTEXT = TraceContextTextMapPropagator()

Kind = Literal["server", "client", "internal"]
Attributes = Mapping[str, str | bool | int | float | list[str]]


@dataclass(slots=True)
class Call:
    """One call of a service. Its span is drawn once all is known of it; the span's id is told to the service before."""

    span_id: int
    attributes: Attributes
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    error: str | None = None


class Tracing:
    """Makes traces, and sends them from a thread of its own: a collector that is away costs spans, never an answer."""

    def __init__(self, log: Any) -> None:
        self._complaints = _Complaints(log)
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self._complaints)
        self._exporter = OTLPSpanExporter()
        self._ids = _Ids()
        # Without the SDK's own hook at exit, which waits half a minute for a collector that is away.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(SERVICE)

    def begin(self, headers: Iterable[tuple[bytes, bytes]], attributes: Attributes) -> "Trace":
        """A request has come. Its span belongs to the trace that its headers name, if they do."""
        started, now_ns = time.monotonic(), time.time_ns()
        carried: dict[str, list[str]] = {}
        for name, value in headers:
            if (plain := name.decode("latin-1")) in CARRIED:
                carried.setdefault(plain, []).append(value.decode("latin-1"))
        context = _CONTEXT.extract(carried) if len(carried.get("traceparent", ())) == 1 else None
        span = self._tracer.start_span("request", context, SpanKind.SERVER, attributes, start_time=now_ns)
        return Trace(self._tracer, self._ids, span, started, now_ns - int(started * 1e9))

    async def aclose(self) -> None:
        """Send what is waiting, for `FLUSH_S` or not much more."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, FLUSH_S)
        if ending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call] # no more tries
            await asyncio.to_thread(ending.join, FLUSH_S)
        logging.getLogger("opentelemetry").removeHandler(self._complaints)


class Trace:
    """The spans of one request. Times are `time.monotonic()`."""

    def __init__(self, tracer: Tracer, ids: "_Ids", span: Span, started: float, epoch_ns: int) -> None:
        self._tracer = tracer
        self._ids = ids
        self._span = span
        self._epoch_ns = epoch_ns
        self.started = started
        self.operation = "chat"
        self.wanted = span.is_recording()  # not where the sampler has decided against it
        self.calls: list[Call] = []  # of policies; all but the last have failed
        self.corrector: Call | None = None
        self.planned: Attributes = {}
        self.said: dict[str, Any] = {}  # by the policy's answer, of itself

    def call(self, attributes: Attributes) -> Call:
        return Call(self._ids.generate_span_id(), attributes)

    def headers(self, call: Call) -> dict[str, str]:
        """For the service that is called, whose own spans become children of the call's."""
        ours = self._span.get_span_context()
        theirs = SpanContext(
            ours.trace_id, call.span_id, is_remote=False, trace_flags=ours.trace_flags, trace_state=ours.trace_state
        )
        carried: dict[str, str] = {}
        _CONTEXT.inject(carried, set_span_in_context(NonRecordingSpan(theirs)))
        return carried

    def draw(
        self, name: str, started: float, ended: float, attributes: Attributes, *,
        kind: Kind = "internal", error: str | None = None, span_id: int = 0,
    ) -> None:  # fmt: skip
        """A child. `error` is its type; `span_id` one that has been told already."""
        self._ids.next = span_id
        span = self._tracer.start_span(
            name, set_span_in_context(self._span), SpanKind[kind.upper()], attributes, start_time=self._ns(started)
        )
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(self._ns(max(started, ended)))

    def end(self, name: str, ended: float, attributes: Attributes, *, failed: bool) -> None:
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end(self._ns(ended))

    def _ns(self, moment: float) -> int:
        return self._epoch_ns + int(moment * 1e9)


class _Ids(RandomIdGenerator):
    """Random, but for the span whose id has been told already: that one is `next`."""

    next = 0

    def generate_span_id(self) -> int:
        told, self.next = self.next, 0
        return told or super().generate_span_id()


class _Complaints(logging.Handler):
    """What the exporter says, which nobody would hear: a warning in our log, the same one once a minute."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said.get(str(record.msg), -COMPLAINT_EVERY_S) >= COMPLAINT_EVERY_S:
            self._said[str(record.msg)] = now
            self._log.warning("tracing.failed", said=record.getMessage())


def _resource() -> Resource:
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        return resource.merge(Resource({"service.name": SERVICE}))
    return resource
