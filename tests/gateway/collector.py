"""A collector on loopback, as OpenTelemetry's own are: OTLP over HTTP. It keeps what it gets, to be looked at."""

import asyncio
import gzip
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Span:
    name: str
    kind: str
    id: str
    parent: str
    trace: str
    started: int
    ended: int
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Collector:
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.Response()

    @property
    def resources(self) -> list[dict[str, Any]]:
        exported = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [_plain(of.resource.attributes) for one in exported for of in one.resource_spans]

    @property
    def spans(self) -> list[Span]:
        exported = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for one in exported for of in one.resource_spans for scope in of.scope_spans]
        return [_span(span) for scope in scopes for span in scope.spans]

    async def request(self, count: int = 1) -> Span:
        """The span of the newest of so many requests."""
        for _ in range(250):
            if len(found := [span for span in self.spans if span.kind == "SERVER"]) >= count:
                return found[-1]
            await asyncio.sleep(0.01)
        raise AssertionError("it did not come")

    def children(self, of: Span) -> dict[str, Span]:
        found = [span for span in self.spans if span.parent == of.id]
        named = {span.name: span for span in found}
        assert len(named) == len(found)
        return named


def _span(sent: Sent) -> Span:
    kind = Sent.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_")
    failed = sent.status.code == Status.STATUS_CODE_ERROR
    return Span(
        sent.name, kind, sent.span_id.hex(), sent.parent_span_id.hex(), sent.trace_id.hex(),
        sent.start_time_unix_nano, sent.end_time_unix_nano, _plain(sent.attributes), failed,
    )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)
