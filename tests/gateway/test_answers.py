"""Unstreamed answers over HTTP: what goes up, what comes back, and what aligning changed."""

import asyncio
import io
import json
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import OBJECTIVES, Handler, chat_chunk, chat_reply, correcting, saying
from tests.gateway.conftest import BETTER, DRAFT, World, sending


def replying(body: dict[str, Any], **headers: str) -> Handler:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(body, headers=headers)

    return handler


def with_message(**message: Any) -> dict[str, Any]:
    reply = chat_reply(None)
    reply["choices"][0]["message"].update(message)
    return reply


async def test_an_answer_comes_back_corrected_and_else_as_it_was(world: World) -> None:
    gw, _, _ = await world()
    status, headers, body = await gw.chat()
    align = body.pop("align")
    expected = chat_reply(BETTER)
    assert (status, body) == (200, expected)
    assert list(body) == list(expected), "in the policy's order too"
    timings = ("policy_first", "policy", "corrector_queue", "corrector_first_token", "corrector", "total")
    assert tuple(align.pop("timings_ms")) == timings
    assert align == {
        "verdict": "corrected",
        "reason": "rewritten",
        "objectives": ["helpfulness"],
        "policy": "m",
        "corrector": "c",
        "mode": "full",
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }
    assert headers["X-Align-Verdict"] == "corrected"
    assert headers["X-Align-Reason"] == "rewritten"
    assert headers["X-Align-Objectives"] == "helpfulness"
    assert headers["X-Align-Corrector"] == "c"
    assert float(headers["X-Align-Overhead-Ms"]) > 0
    assert headers["X-Request-Id"].startswith("req_")
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["Content-Type"] == "application/json"


async def test_content_length_fits(world: World) -> None:
    gw, _, _ = await world(saying("The sky is blue — because of the air 👋."))
    async with gw.client.post(
        f"{gw.url}/v1/chat/completions", json={"model": "m", "messages": []}, headers={"Accept-Encoding": "identity"}
    ) as response:
        assert int(response.headers["Content-Length"]) == len(await response.read())


async def test_what_goes_up_is_what_came(world: World) -> None:
    gw, policy, _ = await world()
    body = {
        "messages": [
            {"role": "system", "content": "Be brief.", "name": "boss"},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
            {"role": "tool", "tool_call_id": "1", "content": "42"},
        ],
        "seed": 12345678901234567890123,
        "temperature": 0.1,
        "stop": None,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "metadata": {"a": "b"},
        "unknown_field": [1, None, {"x": "\u2028"}],
    }  # fmt: skip
    headers = {
        "Authorization": "Bearer none",
        "OpenAI-Beta": "x=1",
        "X-Stainless-Lang": "python",
        "Cookie": "a=b",
    }
    async with gw.client.post(
        f"{gw.url}/v1/chat/completions?api-version=2",
        json={"model": "m@kids", **body, "align": {"objectives": ["kids"]}} | {"align": None},
        headers=headers,
    ) as response:
        assert response.status == 200
    request, sent = policy.requests[0]
    assert sent == {"model": "m", **body}, "without `align`, and with the policy's own name"
    assert request.query_string == "api-version=2"
    assert request.headers["OpenAI-Beta"] == "x=1"
    assert request.headers["X-Stainless-Lang"] == "python"
    assert "Authorization" not in request.headers
    assert "Cookie" not in request.headers


async def test_a_request_without_wishes_goes_up_byte_for_byte(world: World) -> None:
    gw, policy, _ = await world()
    seen: list[bytes] = []

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        seen.append(await request.read())
        return web.json_response(chat_reply(DRAFT))

    policy.handler = handler
    raw = b'{ "messages":[],   "model":"m", "seed": 1.50, "a": "\\u00e9" }'
    async with gw.client.post(f"{gw.url}/v1/chat/completions", data=raw) as response:
        assert response.status == 200
    assert seen == [raw]


async def test_ten_megabytes_pass(world: World) -> None:
    gw, policy, _ = await world(saying("Short answer to a long question, is it not."))
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 10_000_000}]}
    data = io.BytesIO(json.dumps(body).encode())
    async with gw.client.post(f"{gw.url}/v1/chat/completions", data=data) as response:
        assert response.status == 200
    assert policy.last == body


async def test_the_objectives_of_a_request_reach_the_corrector(world: World) -> None:
    gw, _, corrector = await world()
    _, headers, body = await gw.chat(
        {"X-Align-Objectives": "humour", "X-Align-Define": "brevity=At%20most two sentences%E2%80%94never three"}
    )
    prompt = corrector.last["prompt"]
    assert "Humour: The response should be cheerful and amusing; Brevity: At most two sentences—never three" in prompt
    assert "Helpfulness" not in prompt
    assert headers["X-Align-Objectives"] == "humour, brevity"
    assert body["align"]["objectives"] == ["humour", "brevity"]


async def test_several_definitions(world: World) -> None:
    gw, _, _ = await world()
    headers = [("X-Align-Define", "a=be kind"), ("X-Align-Define", "b=be brief")]
    async with gw.client.post(
        f"{gw.url}/v1/chat/completions", json={"model": "m", "messages": []}, headers=headers
    ) as response:
        assert response.headers["X-Align-Objectives"] == "helpfulness, a, b"


async def test_the_draft_comes_back_on_request(world: World) -> None:
    gw, _, _ = await world()
    _, _, body = await gw.chat({"X-Align-Return": "draft"})
    assert body["align"]["draft"] == DRAFT
    assert body["choices"][0]["message"]["content"] == BETTER


async def test_an_answer_that_was_fine(world: World) -> None:
    gw, _, _ = await world(corrector=correcting(lambda text: text))
    _, headers, body = await gw.chat()
    assert headers["X-Align-Verdict"] == "unchanged"
    assert body["align"]["reason"] == "already_aligned"
    body.pop("align")
    assert body == chat_reply(DRAFT)


async def test_a_correction_that_is_not_fit_to_be_sent(world: World) -> None:
    gw, _, _ = await world(corrector=correcting(lambda text: f"{text} | Edit: and more"))
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == DRAFT
    assert (body["align"]["verdict"], body["align"]["reason"]) == ("kept_original", "template_leak")


async def test_each_choice_is_corrected(world: World) -> None:
    reply = chat_reply(DRAFT)
    reply["choices"] = [
        {**reply["choices"][0], "message": {"role": "assistant", "content": text}, "index": index}
        for index, text in enumerate([DRAFT, "Nothing is to be improved here.", ""])
    ]
    gw, _, _ = await world(replying(reply))
    _, headers, body = await gw.chat(n=3)
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert texts == [BETTER, "Nothing is to be improved here.", ""]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert [entry["verdict"] for entry in body["align"]["choices"]] == ["corrected", "unchanged", "skipped"]
    assert headers["X-Align-Verdict"] == "corrected"


async def test_logprobs_of_a_corrected_choice_are_null(world: World) -> None:
    reply = chat_reply(DRAFT)
    reply["choices"][0]["logprobs"] = {"content": [{"token": "The", "logprob": -0.1}]}
    gw, _, corrector = await world(replying(reply))
    _, _, body = await gw.chat(logprobs=True)
    assert body["choices"][0]["logprobs"] is None
    corrector.handler = correcting(lambda text: text)
    _, _, body = await gw.chat(logprobs=True)
    assert body["choices"][0]["logprobs"] == {"content": [{"token": "The", "logprob": -0.1}]}


CALLS = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}]


async def test_tool_calls_pass_untouched(world: World) -> None:
    reply = with_message(content=None, tool_calls=CALLS)
    reply["choices"][0]["finish_reason"] = "tool_calls"
    gw, _, corrector = await world(replying(reply))
    _, _, body = await gw.chat(tools=[{}])
    align = body.pop("align")
    assert body == reply
    assert (align["verdict"], align["reason"]) == ("skipped", "tool_calls")
    assert not corrector.requests


async def test_prose_beside_tool_calls_is_corrected(world: World) -> None:
    gw, _, _ = await world(replying(with_message(content=DRAFT, tool_calls=CALLS)))
    _, _, body = await gw.chat(tools=[{}])
    assert body["choices"][0]["message"]["content"] == BETTER
    assert body["choices"][0]["message"]["tool_calls"] == CALLS


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "I cannot."},
        {"content": ""},
        {"content": "```\ncode only\n```"},
        {"content": None, "audio": {"id": "a", "data": "xx", "transcript": "Hello there"}},
    ],
)
async def test_what_holds_no_prose_passes(world: World, message: dict[str, Any]) -> None:
    reply = with_message(**message)
    gw, _, _ = await world(replying(reply))
    _, headers, body = await gw.chat()
    body.pop("align")
    assert body == reply
    assert headers["X-Align-Verdict"] == "skipped"


async def test_text_parts_are_corrected_and_others_pass(world: World) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,xx"}}
    gw, _, _ = await world(replying(with_message(content=[{"type": "text", "text": DRAFT}, image])))
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == [{"type": "text", "text": BETTER}, image]


@pytest.mark.parametrize("reasoning", ["pass", "drop"])
async def test_reasoning_passes_or_is_dropped(world: World, reasoning: str) -> None:
    reply = with_message(content=f"<think>hm</think>\n\n{DRAFT}", reasoning_content="well", reasoning="so")
    gw, _, corrector = await world(
        replying(reply), objectives=OBJECTIVES.replace("allow_off: true", f"allow_off: true, reasoning: {reasoning}")
    )
    for headers in ({}, {"X-Align-Mode": "off"}, {"X-Align-Mode": "shadow"}):
        _, _, body = await gw.chat(headers)
        assert ("reasoning_content" in body["choices"][0]["message"]) == (reasoning == "pass")
    _, _, body = await gw.chat()
    thinking = "<think>hm</think>\n\n" if reasoning == "pass" else ""
    assert body["choices"][0]["message"]["content"] == thinking + BETTER
    assert "hm" not in corrector.last["prompt"]


async def test_white_space_is_text(world: World) -> None:
    gw, _, _ = await world(saying(f"\n\n  {DRAFT} \n"))
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == f"\n\n  {BETTER} \n"


async def test_protected_text_comes_out_byte_for_byte(world: World) -> None:
    draft = f"{DRAFT} See `the air` at https://example.org/the%20air and\n```\nthe air\n```"
    gw, _, _ = await world(saying(draft), correcting(str.upper))
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == (
        f"{DRAFT.upper()} SEE `the air` AT https://example.org/the%20air AND\n```\nthe air\n```"
    )


async def test_off_is_the_policys_bytes(world: World) -> None:
    raw = b'{"id": "1",  "choices": [], "object":"chat.completion"}'

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=raw, content_type="application/json")

    gw, _, corrector = await world(handler)
    async with gw.client.post(
        f"{gw.url}/v1/chat/completions", json={"model": "m", "messages": []}, headers={"X-Align-Mode": "off"}
    ) as response:
        assert await response.read() == raw
        assert response.headers["X-Align-Verdict"] == "skipped"
        assert response.headers["X-Align-Reason"] == "mode_off"
    assert not corrector.requests


async def test_structured_output_passes_and_says_so(world: World) -> None:
    gw, _, corrector = await world(saying('{"colour": "blue"}'))
    _, headers, body = await gw.chat(response_format={"type": "json_object"})
    assert body["choices"][0]["message"]["content"] == '{"colour": "blue"}'
    assert (body["align"]["verdict"], body["align"]["reason"]) == ("skipped", "structured_output")
    assert headers["X-Align-Reason"] == "structured_output"
    assert not corrector.requests


async def test_shadow_sends_the_draft_and_records_the_correction(world: World) -> None:
    gw, _, corrector = await world()
    _, _, body = await gw.chat({"X-Align-Mode": "shadow"})
    assert body["choices"][0]["message"]["content"] == DRAFT
    assert (body["align"]["verdict"], body["align"]["reason"]) == ("skipped", "shadow")
    for _ in range(200):
        if told := [line for line in gw.lines if line["event"] == "shadow"]:
            break
        await asyncio.sleep(0.01)
    assert (told[0]["verdict"], told[0]["reason"]) == ("corrected", "rewritten")
    assert len(corrector.requests) == 1
    async with gw.client.get(f"{gw.url}/metrics") as response:
        assert 'metaaligner_shadow_total{policy="m",reason="rewritten",tenant="public",verdict="corrected"} 1.0' in (
            await response.text()
        )


async def test_an_upstream_that_streams_unasked(world: World) -> None:
    gw, policy, _ = await world()

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await saying(DRAFT)(request, {"stream": True, "stream_options": {"include_usage": True}})

    policy.handler = handler
    _, _, body = await gw.chat()
    body.pop("align")
    assert body["choices"][0]["message"]["content"] == BETTER
    assert body["object"] == "chat.completion"
    assert body["usage"]["total_tokens"] == 12


async def test_calls_without_an_index_that_are_streamed_unasked(world: World) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    events = [chat_chunk({"role": "assistant", "tool_calls": [{**call, "index": None}]}), chat_chunk({}, "tool_calls")]
    gw, _, _ = await world(sending(*events))
    status, _, body = await gw.chat()
    assert status == 200
    assert body["choices"][0]["message"] == {"role": "assistant", "content": None, "tool_calls": [call]}


async def test_names_of_any_script_in_headers(world: World) -> None:
    """They come back as they can be sent."""
    gw, _, _ = await world(objectives=OBJECTIVES.replace("  humour:", "  友好: Be kind\n  humour:"))
    _, headers, body = await gw.chat({"X-Align-Objectives": "%E5%8F%8B%E5%A5%BD, humour"})
    assert body["align"]["objectives"] == ["友好", "humour"]
    assert headers["X-Align-Objectives"] == "%E5%8F%8B%E5%A5%BD, humour"


async def test_a_ten_megabyte_answer_passes(world: World) -> None:
    """Far beyond what any model writes: the draft arrives whole, says that it is one, and no corrector is asked."""
    text = "A sentence with some words in it. " * 300_000
    gw, _, corrector = await world(saying(text))
    _, _, body = await gw.chat()
    assert (body["align"]["verdict"], body["align"]["reason"]) == ("failed", "draft_too_long")
    assert body["choices"][0]["message"]["content"] == text
    assert not corrector.requests
