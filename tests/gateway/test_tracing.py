"""Traces on their way: the client's, upstream, and to a collector, which may be away."""

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import spans
from gateway.tracing import Tracing
from tests.conftest import ROOT
from tests.gateway.collector import Collector
from tests.gateway.conftest import BETTER, World, ask, soon

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"


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


async def test_fastapi_tells_nothing_beside(collector: Collector, untraced: pytest.MonkeyPatch, world: World) -> None:
    untraced.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    gw, _, _ = await world()
    await ask(gw)
    async with gw.client.get(f"{gw.url}/v1/models") as response:
        assert response.status == 200
    await ask(gw)
    await collector.request(2)
    assert [span.name for span in collector.spans if span.kind == "SERVER"] == ["chat m"] * 2


async def test_a_collector_that_is_away_costs_nothing_but_spans(untraced: pytest.MonkeyPatch, world: World) -> None:
    untraced.setattr("gateway.tracing.FLUSH_S", 0.2)
    untraced.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    untraced.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    gw, _, _ = await world()
    for _ in range(3):
        status, _, body = await gw.chat()
        assert (status, body["choices"][0]["message"]["content"]) == (200, BETTER)
    await soon(lambda: any(line["event"] == "tracing.failed" for line in gw.lines))


async def test_a_stop_sends_what_is_waiting(collector: Collector, untraced: pytest.MonkeyPatch) -> None:
    untraced.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    untraced.setenv("OTEL_SERVICE_NAME", "mine")
    tracing = Tracing(_Log([]))
    trace = tracing.begin([], {})
    trace.end("chat", trace.started + 1, {}, failed=False)
    assert collector.spans == []
    await tracing.aclose()
    assert [span.name for span in collector.spans] == ["chat"]
    assert collector.resources[0]["service.name"] == "mine"


async def test_a_stop_does_not_wait_for_a_collector_that_is_away(untraced: pytest.MonkeyPatch) -> None:
    untraced.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    untraced.setattr("gateway.tracing.FLUSH_S", 0.2)
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


def test_a_package_that_is_missing_is_said_once(untraced: pytest.MonkeyPatch) -> None:
    untraced.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    untraced.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    untraced.delitem(sys.modules, "gateway.tracing")
    lines: list[str] = []
    assert spans.tracing(_Log(lines)) is None
    [line] = lines
    assert "opentelemetry" in line
    assert "[otel]" in line
    assert "\n" not in line


async def test_off_a_clients_trace_passes_as_it_is(untraced: pytest.MonkeyPatch, world: World) -> None:
    gw, policy, corrector = await world()
    await ask(gw, {"traceparent": PARENT})
    assert policy.requests[0][0].headers["traceparent"] == PARENT
    assert "traceparent" not in corrector.requests[0][0].headers
