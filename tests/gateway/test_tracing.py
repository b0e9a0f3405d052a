"""Traces, as a real collector on loopback gets them: OTLP over HTTP."""

import asyncio
import gzip
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from gateway import spans
from gateway.tracing import Tracing
from tests.conftest import OBJECTIVES, ROOT, Gateway, chat_chunk, correcting, saying, streaming, two_services
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, World, improve, replying, soon
from wire import sse

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"


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
        await soon(lambda: len([span for span in self.spans if span.kind == "SERVER"]) >= count)
        return [span for span in self.spans if span.kind == "SERVER"][-1]

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


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without what the environment of the tests may say itself."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


@pytest.fixture
async def collector(clean: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """One that runs; gateways that are started from here on send to it."""
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    clean.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    clean.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield made
    await runner.cleanup()


async def ask(gw: Gateway, headers: dict[str, str] | None = None, *, stream: bool = False, **body: Any) -> None:
    await (gw.stream(headers, **body) if stream else gw.chat(headers, **body))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_corrected_request(collector: Collector, world: World, stream: bool) -> None:
    gw, policy, _ = await world()
    before = time.time_ns()
    await ask(gw, {"X-Request-Id": "mine-1"}, stream=stream, stream_options={"include_usage": True})
    request = await collector.request()
    assert (request.name, request.parent, request.failed) == ("chat m", "", False)
    host, _, port = gw.url.removeprefix("http://").partition(":")
    assert request.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "metaaligner",
        "gen_ai.request.model": "m",
        "gen_ai.request.stream": stream,
        "gen_ai.response.model": "upstream-model",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "server.address": host,
        "server.port": int(port),
        "metaaligner.request_id": "mine-1",
        "metaaligner.tenant": "public",
        "metaaligner.mode": "full",
        "metaaligner.served_by": "m",
        "metaaligner.corrector": "c",
        "metaaligner.verdict": "corrected",
        "metaaligner.reason": "rewritten",
        "metaaligner.objectives": ["helpfulness"],
        "metaaligner.objectives_defined": 0,
    }
    children = collector.children(request)
    assert {name: span.kind for name, span in children.items()} == {
        "policy": "CLIENT", "prefill": "INTERNAL", "corrector": "CLIENT", "gate": "INTERNAL",
    }  # fmt: skip
    asked, corrector = children["policy"], children["corrector"]
    assert asked.attributes["gen_ai.usage.output_tokens"] == 7
    assert asked.attributes["gen_ai.provider.name"] == "openai"
    assert asked.attributes["server.port"] == int(policy.url.split(":")[2].removesuffix("/v1"))
    assert ("gen_ai.response.time_to_first_chunk" in asked.attributes) is stream
    assert (corrector.attributes["gen_ai.request.model"], corrector.attributes["metaaligner.corrector"]) == (
        "aligner", "c",
    )  # fmt: skip
    assert corrector.attributes["gen_ai.operation.name"] == "text_completion"
    assert corrector.attributes["gen_ai.usage.output_tokens"] == 3
    assert before <= request.started <= asked.started < asked.ended <= corrector.started + 100_000
    assert corrector.started == children["prefill"].started < children["prefill"].ended <= corrector.ended
    assert corrector.started <= children["gate"].started < children["gate"].ended == corrector.ended
    assert corrector.ended <= request.ended <= time.time_ns()
    assert {span.trace for span in collector.spans} == {request.trace}
    assert collector.resources[0]["service.name"] == "metaaligner-gateway"


async def test_segment_by_segment_the_corrector_begins_before_the_policy_ends(
    collector: Collector, world: World
) -> None:
    async def writing(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [chat_chunk({"content": f"{DRAFT}\n\n"}) for _ in range(4)] + [chat_chunk({}, "stop")]
        return await streaming(request, [sse.encode(event) for event in events], 0.05)

    gw, _, _ = await world(writing)
    await ask(gw, {"X-Align-Mode": "segment"}, stream=True)
    request = await collector.request()
    children = collector.children(request)
    assert set(children) == {"policy", "prefill", "corrector", "gate"}
    assert request.attributes["metaaligner.mode"] == "segment"
    assert request.started < children["corrector"].started < children["policy"].ended <= request.ended


async def test_work_ahead_is_a_prefill_of_its_own(collector: Collector, service: Start, gateway: Serve) -> None:
    policies = two_services(await service(saying(DRAFT)), await service(correcting(improve)))
    gw = await gateway(policies.replace("template: ultrafeedback", "template: ultrafeedback, prefill_ahead: 1"))
    await ask(gw)
    request = await collector.request()
    ahead, own = sorted(
        (span for span in collector.spans if span.name == "prefill"), key=lambda span: span.started
    )  # fmt: skip
    assert (ahead.attributes["metaaligner.ahead"], own.attributes["metaaligner.ahead"]) == (True, False)
    assert request.started <= ahead.started < ahead.ended <= own.started


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_not_corrected(collector: Collector, world: World, stream: bool) -> None:
    gw, _, _ = await world()
    await ask(gw, {"X-Align-Mode": "off"}, stream=stream)
    request = await collector.request()
    assert set(collector.children(request)) == {"policy"}
    told = request.attributes
    assert (told["metaaligner.verdict"], told["metaaligner.reason"]) == ("skipped", "mode_off")


async def test_a_correction_in_shadow_ends_after_its_request(collector: Collector, world: World) -> None:
    gw, _, _ = await world(corrector=correcting(improve, pause_s=0.02))
    await ask(gw, {"X-Align-Mode": "shadow"})
    request = await collector.request()
    await soon(lambda: "corrector" in collector.children(request))
    corrector = collector.children(request)["corrector"]
    assert corrector.ended > request.ended
    assert corrector.attributes["metaaligner.verdict"] == "corrected"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_policy_that_fails(collector: Collector, world: World, stream: bool) -> None:
    gw, _, _ = await world(replying({"error": {"message": "out of memory"}}, 500))
    await ask(gw, stream=stream)
    request = await collector.request()
    assert (request.failed, request.attributes["error.type"]) == (True, "upstream_error")
    assert request.attributes["http.response.status_code"] == 500
    [policy] = collector.children(request).values()
    assert (policy.name, policy.failed, policy.attributes["error.type"]) == ("policy", True, "500")


async def test_a_policy_that_breaks_off(collector: Collector, world: World) -> None:
    async def breaking(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "The"}}]}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    gw, _, _ = await world(breaking)
    await ask(gw, stream=True)
    request = await collector.request()
    [policy] = collector.children(request).values()
    for span in (request, policy):
        assert (span.failed, span.attributes["error.type"]) == (True, "upstream_unavailable")


async def test_a_fallback_is_a_second_call(collector: Collector, service: Start, gateway: Serve) -> None:
    broken, sound = await service(replying({}, 503)), await service(saying(DRAFT))
    policies = two_services(broken, await service(correcting(improve)))
    policies = policies.replace("retries: 0,", "retries: 0, fallbacks: [n],", 1).replace(
        "correctors:", f'  n: {{kind: openai, base_url: "{sound.url}", corrector: c, model: theirs}}\ncorrectors:'
    )
    gw = await gateway(policies)
    await ask(gw)
    request = await collector.request()
    first, second = sorted((span for span in collector.spans if span.name == "policy"), key=lambda span: span.started)
    assert (first.attributes["metaaligner.policy"], first.failed, first.attributes["error.type"]) == ("m", True, "503")
    assert (second.attributes["metaaligner.policy"], second.failed) == ("n", False)
    assert second.attributes["gen_ai.request.model"] == "theirs"
    assert (request.failed, request.attributes["metaaligner.served_by"]) == (False, "n")
    assert [asked.headers["traceparent"][36:52] for asked, _ in broken.requests + sound.requests] == [
        first.id, second.id,
    ]  # fmt: skip


@pytest.mark.parametrize(("on_failure", "failed"), [("original", False), ("error", True)])
async def test_a_corrector_that_fails(collector: Collector, world: World, on_failure: str, failed: bool) -> None:
    objectives = OBJECTIVES.replace("allow_off: true", f"on_failure: {on_failure}")
    gw, _, _ = await world(corrector=replying({}, 500), objectives=objectives)
    await ask(gw)
    request = await collector.request()
    corrector = collector.children(request)["corrector"]
    assert (corrector.failed, corrector.attributes["error.type"]) == (True, "corrector_unavailable")
    assert request.failed is failed


async def test_a_client_that_goes_away(collector: Collector, world: World) -> None:
    async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    gw, policy, _ = await world(silent)
    asking = asyncio.create_task(gw.chat())
    await soon(lambda: bool(policy.requests))
    asking.cancel()
    request = await collector.request()
    assert (request.failed, request.attributes["error.type"]) == (False, "client_gone")
    assert collector.children(request)["policy"].attributes["error.type"] == "client_gone"


async def test_what_is_refused_names_no_model(collector: Collector, world: World) -> None:
    gw, _, _ = await world()
    await ask(gw, model="my own secret")
    request = await collector.request()
    assert (request.name, request.failed, request.attributes["error.type"]) == ("chat", False, "model_not_found")
    assert request.attributes["http.response.status_code"] == 404


@pytest.mark.parametrize("mode", ["full", "off"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_clients_trace_goes_on_upstream(collector: Collector, world: World, mode: str, stream: bool) -> None:
    gw, policy, corrector = await world()
    headers = {"Traceparent": PARENT, "Tracestate": "them=1,us=2", "X-Align-Mode": mode, "X-Other": "kept"}
    await ask(gw, headers, stream=stream)
    request = await collector.request()
    assert (request.trace, request.parent) == (TRACE, "b7ad6b7169203331")
    children = collector.children(request)
    for name, service in (("policy", policy), ("corrector", corrector)):
        for asked, _ in service.requests:
            assert asked.headers.getall("traceparent") == [f"00-{TRACE}-{children[name].id}-01"]
            assert asked.headers.getall("tracestate") == ["them=1,us=2"]
    assert policy.requests[0][0].headers["X-Other"] == "kept"
    assert len(corrector.requests) == (mode == "full")


async def test_without_a_clients_trace_one_begins(collector: Collector, world: World) -> None:
    gw, policy, _ = await world()
    await ask(gw, {"traceparent": "nonsense"})
    request = await collector.request()
    assert request.parent == ""
    assert policy.requests[0][0].headers["traceparent"].startswith(f"00-{request.trace}-")


async def test_a_client_that_does_not_want_to_be_traced(collector: Collector, world: World) -> None:
    gw, policy, _ = await world()
    await ask(gw, {"traceparent": PARENT[:-1] + "0"})
    await ask(gw)
    request = await collector.request()
    assert {span.trace for span in collector.spans} == {request.trace} != {TRACE}
    first = policy.requests[0][0].headers["traceparent"]
    assert (first[:36], first[-3:]) == (f"00-{TRACE}-", "-00")


async def test_no_text_and_no_key_in_a_span(
    collector: Collector, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    gw, _, _ = await world(objectives=OBJECTIVES + "  acme: {keys: [{env: ACME}], allow_off: true}\n")
    headers = {"Authorization": "Bearer sk-acme", "X-Align-Define": "secretname=My secret wish"}
    for mode in ("full", "segment", "shadow", "off"):
        for stream in (False, True):
            question = {"role": "user", "content": "my secret question"}
            await ask(gw, {**headers, "X-Align-Mode": mode}, stream=stream, messages=[question], user="secretuser")
    request = await collector.request(8)
    assert request.attributes["metaaligner.objectives_defined"] == 1
    await soon(lambda: len([span for span in collector.spans if span.name == "corrector"]) == 6)
    said = b"".join(collector.bodies).lower()
    for text in (b"secret", b"sk-acme", DRAFT[:12].lower().encode(), BETTER[-12:].lower().encode()):
        assert text not in said


async def test_a_collector_that_is_away_costs_nothing_but_spans(clean: pytest.MonkeyPatch, world: World) -> None:
    clean.setattr("gateway.tracing.FLUSH_S", 0.2)
    clean.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    clean.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    gw, _, _ = await world()
    for _ in range(3):
        status, _, body = await gw.chat()
        assert (status, body["choices"][0]["message"]["content"]) == (200, BETTER)
    await soon(lambda: any(line["event"] == "tracing.failed" for line in gw.lines))


async def test_a_stop_sends_what_is_waiting(collector: Collector, clean: pytest.MonkeyPatch) -> None:
    clean.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    clean.setenv("OTEL_SERVICE_NAME", "mine")
    tracing = Tracing(_Log([]))
    trace = tracing.begin([], {})
    trace.end("chat", trace.started + 1, {}, failed=False)
    assert collector.spans == []
    await tracing.aclose()
    assert [span.name for span in collector.spans] == ["chat"]
    assert collector.resources[0]["service.name"] == "mine"


async def test_a_stop_does_not_wait_for_a_collector_that_is_away(
    clean: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("gateway.tracing.FLUSH_S", 0.2)
    lines: list[str] = []
    tracing = Tracing(_Log(lines))
    trace = tracing.begin([], {})
    trace.end("chat", trace.started, {}, failed=False)
    started = time.monotonic()
    await tracing.aclose()
    assert time.monotonic() - started < 2


class _Log:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def warning(self, event: str, **told: Any) -> None:
        self._lines.append(f"{event} {told}")

    error = warning


@pytest.fixture(scope="module")
async def tracing() -> AsyncIterator[Tracing]:
    made = Tracing(_Log([]))
    yield made
    await made.aclose()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"traceparent", b"tracestate", b"x"]),
            st.one_of(st.binary(max_size=80), st.just(PARENT.encode()), st.from_regex(rb"\A[a-z]=[ -~]*\Z")),
        ),
        max_size=4,
    )
)
def test_whatever_a_client_says_of_its_trace_there_is_one(tracing: Tracing, headers: list[tuple[bytes, bytes]]) -> None:
    trace = tracing.begin(headers, {})
    told = trace.headers(trace.call({}))["traceparent"]
    assert len(told) == 55
    assert told.startswith("00-")
    assert "0" * 32 not in told


def test_off_imports_nothing() -> None:
    """FastAPI has OpenTelemetry's interface with it in any case, which without the rest does nothing."""
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    off = [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**named, "OTEL_SDK_DISABLED": "true"},
        {**named, "OTEL_TRACES_EXPORTER": "none"},
    ]
    code = (
        "import os, sys; from gateway import app, spans\n"
        f"for said in {off!r}: os.environ.update(said); assert spans.tracing(None) is None\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=kept, check=True)


def test_a_package_that_is_missing_is_said_once(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    clean.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    clean.delitem(sys.modules, "gateway.tracing")
    lines: list[str] = []
    assert spans.tracing(_Log(lines)) is None
    [line] = lines
    assert "opentelemetry" in line
    assert "[otel]" in line
    assert "\n" not in line


async def test_off_a_clients_trace_passes_as_it_is(clean: pytest.MonkeyPatch, world: World) -> None:
    gw, policy, corrector = await world()
    await ask(gw, {"traceparent": PARENT})
    assert policy.requests[0][0].headers["traceparent"] == PARENT
    assert "traceparent" not in corrector.requests[0][0].headers


async def test_a_draft_that_is_only_corrected(collector: Collector, world: World) -> None:
    gw, _, corrector = await world()
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "draft": DRAFT}
    async with gw.client.post(f"{gw.url}/v1/align", json=body) as response:
        assert response.status == 200
    request = await collector.request()
    assert (request.name, request.attributes["http.route"]) == ("align m", "/v1/align")
    children = collector.children(request)
    assert set(children) == {"prefill", "corrector", "gate"}
    assert corrector.requests[0][0].headers["traceparent"][36:52] == children["corrector"].id
