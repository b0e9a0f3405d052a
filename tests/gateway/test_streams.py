"""Streamed answers over HTTP: order, pace, and fidelity."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.streams import Fold
from tests.conftest import OBJECTIVES, Gateway, chat_chunk, chat_reply, correcting, saying, streaming, two_services
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, World, improve, replying, sending, soon
from wire import sse

KEYED = OBJECTIVES.replace("allow_off: true", "allow_off: true, {}")


def chunks_of(data: list[str]) -> list[dict[str, Any]]:
    assert data[-1] == "[DONE]"
    assert data.count("[DONE]") == 1
    return [json.loads(event) for event in data[:-1]]


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index
    )


async def raw(gw: Gateway, headers: dict[str, str] | None = None, **body: Any) -> AsyncIterator[bytes]:
    body = {"model": "m", "messages": [], "stream": True, **body}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body, headers=headers) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        async for chunk in response.content.iter_any():
            yield chunk


async def test_a_stream_comes_corrected_in_its_order(world: World) -> None:
    gw, _, _ = await world(corrector=correcting(improve, pause_s=0.001))
    chunks = chunks_of(await gw.stream())
    assert text_of(chunks) == BETTER
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in chunks) == 1
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-1"}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["system_fingerprint"] for chunk in chunks} == {"fp_1"}
    assert all("usage" not in chunk for chunk in chunks)
    assert ["align" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    align = chunks[-1]["align"]
    assert (align["verdict"], align["reason"], align["objectives"]) == ("corrected", "rewritten", ["helpfulness"])
    assert align["usage"]["total_tokens"] == 14
    assert len(chunks) > 6, "it is a stream, not one piece"


async def test_headers_that_are_known_in_time(world: World) -> None:
    gw, _, _ = await world()
    body = {"model": "m", "messages": [], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        assert response.headers["X-Align-Objectives"] == "helpfulness"
        assert response.headers["X-Align-Corrector"] == "c"
        assert response.headers["X-Request-Id"]
        assert response.headers["Cache-Control"] == "no-cache"
        assert "Content-Length" not in response.headers
        await response.read()


async def test_a_stream_begun_before_its_policy_answers_keeps_the_id_that_it_told(world: World) -> None:
    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        events = [chat_chunk({"role": "assistant", "content": DRAFT}), chat_chunk({}, "stop")]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Request-Id": "theirs"})
        await response.prepare(request)
        await response.write(b"".join(sse.encode(event) for event in events) + sse.DONE)
        return response

    gw, _, _ = await world(slow, heartbeat_s=0.05)
    body = {"model": "m", "messages": [], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        told = response.headers["X-Request-Id"]
        await response.read()
    await soon(lambda: any(line["event"] == "request" for line in gw.lines))
    assert told.startswith("req_")
    assert [line["request_id"] for line in gw.lines if line["event"] == "request"] == [told]


async def test_an_error_of_many_lines_is_one_event(world: World) -> None:
    async def fails(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        text = json.dumps({"error": {"message": "no", "code": "theirs"}}, indent=2).replace("\n", "\r\n")
        return web.json_response(text=text, status=400)

    gw, _, _ = await world(fails, heartbeat_s=0.05)
    got = b"".join([chunk async for chunk in raw(gw)])
    assert json.loads([event.data for event in sse.Decoder().feed(got)][-1])["error"]["code"] == "theirs"


@pytest.mark.parametrize("draft", [DRAFT, "", f"\n {DRAFT}\n\n", "`code` only", "Grün 👋🏽 — “ja” because of the air."])
async def test_the_folded_stream_is_the_unstreamed_answer(world: World, draft: str) -> None:
    gw, _, _ = await world(saying(draft))
    fold = Fold()
    for chunk in chunks_of(await gw.stream(stream_options={"include_usage": True})):
        fold.take(chunk)
    streamed, (_, _, whole) = fold.reply(), await gw.chat()
    for answer in (streamed, whole):
        answer["align"].pop("timings_ms")
        for field in ("annotations", "service_tier", "created"):  # the scripted policy sends them unstreamed only
            answer.pop(field, None)
            answer["choices"][0]["message"].pop(field, None)
    assert streamed == whole


async def test_usage_comes_exactly_when_asked_for(world: World) -> None:
    gw, policy, _ = await world()
    chunks = chunks_of(await gw.stream(stream_options={"include_usage": True}))
    assert policy.last["stream_options"] == {"include_usage": True}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_text_leaves_while_the_corrector_is_still_writing(world: World) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in BETTER.split(" "):
            if word == "all":
                await go_on.wait()
            await response.write(sse.encode({"choices": [{"index": 0, "text": f"{word} "}]}))
        await response.write(sse.encode({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}) + sse.DONE)
        return response

    gw, _, _ = await world(corrector=slow)
    got = b""
    async for chunk in raw(gw):
        got += chunk
        if b"blue" in got:
            go_on.set()
    assert go_on.is_set()
    assert got.endswith(b"data: [DONE]\n\n")


async def test_checked_text_waits_for_the_gate(world: World) -> None:
    gw, _, _ = await world(
        corrector=correcting(lambda text: text + " | Edit: x"), objectives=KEYED.replace("{}", "release: checked")
    )
    chunks = chunks_of(await gw.stream())
    assert text_of(chunks) == DRAFT
    assert chunks[-1]["align"]["verdict"] == "kept_original"
    assert "resumed_at" not in chunks[-1]["align"]


async def test_a_comment_keeps_the_line_alive_while_the_policy_thinks(world: World) -> None:
    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [
            chat_chunk({"role": "assistant", "content": ""}),
            chat_chunk({"content": DRAFT}),
            chat_chunk({}, "stop"),
        ]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE], pause_s=0.3)

    gw, _, _ = await world(slow, heartbeat_s=0.1)
    got = b"".join([chunk async for chunk in raw(gw)])
    assert got.count(sse.HEARTBEAT) >= 2
    assert text_of(chunks_of([event.data for event in sse.Decoder().feed(got)])) == BETTER


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_however_the_upstream_cuts_and_ends_its_lines(world: World, size: int) -> None:
    events = [
        chat_chunk({"role": "assistant", "content": "Grün\u2028"}),
        chat_chunk({"content": " 👋\x85 of the air."}),
    ]
    lines = [b"data:" + json.dumps(event, ensure_ascii=False).encode() for event in [*events, chat_chunk({}, "stop")]]
    stream = b": hi\r\n\r\nid: 1\r\n" + b"\r\n\r\n".join(lines) + b"\r\n\r\nevent: message\rdata: [DONE]\r\r"

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [stream[at : at + size] for at in range(0, len(stream), size)])

    gw, _, _ = await world(handler)
    assert text_of(chunks_of(await gw.stream())) == "Grün\u2028 👋\x85 of how air scatters light."


async def test_a_null_for_logprobs_stays_in_each_chunk(world: World) -> None:
    gw, _, _ = await world()
    chunks = chunks_of(await gw.stream())
    assert [choice.get("logprobs", "-") for chunk in chunks for choice in chunk["choices"]] == [None] * len(chunks)


@pytest.mark.parametrize("calls", ["f", [1], {"0": {}}, 7])
async def test_tool_calls_that_are_none_in_an_unstreamed_answer(world: World, calls: Any) -> None:
    reply = chat_reply(DRAFT)
    reply["choices"][0]["message"]["tool_calls"] = calls
    gw, _, _ = await world(replying(reply))
    assert "tool calls that are none" in json.loads((await gw.stream())[-1])["error"]["message"]


async def test_tool_calls_pass_at_once_and_prose_beside_them_is_corrected(world: World) -> None:
    calls: list[dict[str, Any]] = [
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"content": None, "tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [chat_chunk({"role": "assistant", "content": None}), chat_chunk({"content": DRAFT})]
        events += [chat_chunk(call) for call in calls] + [chat_chunk({}, "tool_calls")]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(handler)
    chunks = chunks_of(await gw.stream(tools=[{}]))
    assert [chunk["choices"][0]["delta"] for chunk in chunks if "tool_calls" in chunk["choices"][0]["delta"]] == calls
    assert text_of(chunks) == BETTER
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reasoning", ["pass", "drop"])
@pytest.mark.parametrize("mode", ["full", "shadow", "off"])
async def test_reasoning_in_a_stream(world: World, reasoning: str, mode: str) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [
            chat_chunk({"role": "assistant", "reasoning_content": "hm"}),
            chat_chunk({"content": DRAFT}),
            chat_chunk({}, "stop"),
        ]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(handler, objectives=KEYED.replace("{}", f"reasoning: {reasoning}"))
    chunks = chunks_of(await gw.stream({"X-Align-Mode": mode}))
    assert any("reasoning_content" in chunk["choices"][0]["delta"] for chunk in chunks) == (reasoning == "pass")
    assert text_of(chunks) == (BETTER if mode == "full" else DRAFT)


@pytest.mark.parametrize("end", [chat_chunk({}, "stop"), {"choices": [{"index": 0, "finish_reason": "stop"}]}])
@pytest.mark.parametrize("mode", ["full", "shadow", "off"])
async def test_what_only_began_like_thinking_is_said_at_the_end(world: World, mode: str, end: dict[str, Any]) -> None:
    policy = sending(chat_chunk({"role": "assistant", "content": "<"}), end)
    gw, _, _ = await world(policy, objectives=KEYED.replace("{}", "reasoning: drop"))
    assert text_of(chunks_of(await gw.stream({"X-Align-Mode": mode}))) == "<"


async def test_logprobs_do_not_tell_of_a_text_that_is_not_sent(world: World) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [chat_chunk({"role": "assistant"}), chat_chunk({"content": DRAFT}), chat_chunk({}, "stop")]
        events[1]["choices"][0]["logprobs"] = {"content": [{"token": "The"}]}
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(handler)
    chunks = chunks_of(await gw.stream(logprobs=True))
    assert all(choice.get("logprobs") is None for chunk in chunks for choice in chunk["choices"])


async def test_off_relays_the_policys_bytes(world: World) -> None:
    stream = b': hi\n\ndata:  {"choices": [ ]}\r\n\r\ndata: not even json\n\ndata: [DONE]\n\n'

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [stream[:20], stream[20:]])

    gw, _, corrector = await world(handler)
    assert b"".join([chunk async for chunk in raw(gw, {"X-Align-Mode": "off"})]) == stream
    assert not corrector.requests


async def test_structured_output_passes_as_it_is_made_and_says_so(world: World) -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse.encode(chat_chunk({"role": "assistant", "content": "{"})))
        await go_on.wait()
        await response.write(sse.encode(chat_chunk({"content": "}"})) + sse.encode(chat_chunk({}, "stop")) + sse.DONE)
        return response

    gw, _, _ = await world(handler)
    got = b""
    async for chunk in raw(gw, response_format={"type": "json_object"}):
        got += chunk
        go_on.set()
    chunks = chunks_of([event.data for event in sse.Decoder().feed(got)])
    assert text_of(chunks) == "{}"
    assert chunks[-1]["align"]["reason"] == "structured_output"


async def test_shadow_streams_the_draft(world: World) -> None:
    gw, _, corrector = await world()
    chunks = chunks_of(await gw.stream({"X-Align-Mode": "shadow"}))
    assert text_of(chunks) == DRAFT
    assert chunks[-1]["align"]["reason"] == "shadow"
    for _ in range(200):
        if any(line["event"] == "shadow" for line in gw.lines):
            break
        await asyncio.sleep(0.01)
    assert len(corrector.requests) == 1


async def test_the_draft_beside_a_streamed_correction(world: World) -> None:
    gw, _, _ = await world()
    chunks = chunks_of(await gw.stream({"X-Align-Return": "draft"}))
    assert chunks[-1]["align"]["draft"] == DRAFT


async def test_an_upstream_that_cannot_stream(world: World) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(chat_reply(DRAFT))

    gw, _, _ = await world(handler)
    chunks = chunks_of(await gw.stream())
    assert text_of(chunks) == BETTER
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_late_fault_goes_on_with_the_draft(world: World) -> None:
    draft = "First boil the water. Then warm the pot well. Now put in one spoon for each cup. Let it stand a while."

    def loop(text: str) -> str:
        return "First, boil the water. Then warm the pot well. " + "And then warm it again, my friend. " * 5

    gw, _, _ = await world(saying(draft), correcting(loop, pause_s=0.001))
    chunks = chunks_of(await gw.stream())
    align = chunks[-1]["align"]
    assert (align["verdict"], align["reason"]) == ("kept_original", "looping")
    text = text_of(chunks)
    assert text.startswith("First, boil the water.")
    assert text[align["resumed_at"] :].strip() == "Now put in one spoon for each cup. Let it stand a while."


async def test_required_objectives_of_two_tenants_at_once(
    service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of several tenants in flight do not see each other's plans."""
    monkeypatch.setenv("ACME", "sk-acme")
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    objectives = OBJECTIVES + "  acme: {keys: [{env: ACME}], objectives: [humour], required: [harmlessness]}\n"
    gw = await gateway(two_services(policy, corrector), objectives)

    async def one(key: str | None) -> list[str]:
        chunks = chunks_of(await gw.stream({"Authorization": f"Bearer {key}"} if key else None))
        return list(chunks[-1]["align"]["objectives"])

    told = await asyncio.gather(*(one("sk-acme" if number % 2 else None) for number in range(20)))
    assert told[0::2] == [["helpfulness"]] * 10
    assert told[1::2] == [["harmlessness", "humour"]] * 10


async def test_nothing_comes_after_done(world: World) -> None:
    gw, _, _ = await world()
    got = b"".join([chunk async for chunk in raw(gw)])
    assert got.endswith(b"\n\ndata: [DONE]\n\n")
