"""What the spans of a request say, as a collector gets them."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway import exchange, spans
from gateway.config import read
from gateway.tracing import Tracing
from tests.conftest import OBJECTIVES, chat_chunk, chat_reply, correcting, saying, streaming, two_services
from tests.gateway.collector import Collector
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, World, ask, improve, replying, soon
from wire import sse


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


async def test_of_several_choices_in_shadow_it_tells_what_the_audit_trail_does(
    collector: Collector, world: World
) -> None:
    def change(text: str) -> str:
        return f"{text} | Edit: and more" if "second" in text else improve(text)

    reply = chat_reply(DRAFT)
    second = {"index": 1, "message": {"role": "assistant", "content": f"The second. {DRAFT}"}, "finish_reason": "stop"}
    reply["choices"].append(second)
    gw, _, _ = await world(replying(reply), correcting(change))
    await ask(gw, {"X-Align-Mode": "shadow"}, n=2)
    request = await collector.request()
    await soon(lambda: "corrector" in collector.children(request))
    told = collector.children(request)["corrector"].attributes
    assert (told["metaaligner.verdict"], told["metaaligner.reason"]) == ("kept_original", "template_leak")


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


@pytest.mark.parametrize(
    ("policy", "provider", "model", "server"),
    [
        ("{kind: litellm, model: bedrock/claude}", "aws.bedrock", "bedrock/claude", None),
        ("{kind: litellm, model: anthropic/claude}", "anthropic", "anthropic/claude", None),
        ("{kind: litellm, model: gpt-4o}", "openai", "gpt-4o", None),
        ("{kind: openai, base_url: 'https://api.example/v1'}", "openai", "p", ("api.example", 443)),
        ("{kind: openai, base_url: 'http://[::1]:81/v1', model: x}", "openai", "x", ("::1", 81)),
        ("{kind: openai, base_url: ['http://a/v1', 'http://b/v1']}", "openai", "p", None),
        (
            "{kind: local, engine: {kind: llamacpp, model: smollm2-135m-instruct}}",
            "llamacpp",
            "smollm2-135m-instruct",
            None,
        ),
    ],
)
def test_what_is_told_of_a_policy(
    tracing: Tracing, tmp_path: Path, policy: str, provider: str, model: str, server: tuple[str, int] | None
) -> None:
    """Of several addresses nobody knows which one answers."""
    policies, objectives = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
    policies.write_text(f"policies:\n  p: {policy[:-1]}, corrector: none}}\n")
    objectives.write_text(OBJECTIVES)
    request = exchange.parse(b'{"model": "p", "messages": []}', (), "")
    trace = tracing.begin([], {})
    spans.asking(request, trace, "p", read(policies, objectives))
    told = trace.calls[-1].attributes
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == (provider, model)
    assert (told.get("server.address"), told.get("server.port")) == (server or (None, None))


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
