"""`X-Align-Mode: segment`: the first corrected words long before the policy is done, and nothing else is different."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import OBJECTIVES, Gateway, Handler, chat_chunk, correcting, saying, streaming
from tests.gateway.conftest import World, soon
from wire import sse

SEGMENT = {"X-Align-Mode": "segment"}
PARAGRAPHS = [
    f"Paragraph number {n} says that the sky is blue because of the air, and that there is more to say.\n\n"
    for n in range(5)
]
DRAFT = "".join(PARAGRAPHS).strip()
BETTER = DRAFT.replace("the air", "how air scatters light")


def improve(text: str) -> str:
    return text.replace("the air", "how air scatters light")


def text_of(events: list[str], index: int = 0) -> str:
    choices = [json.loads(event)["choices"] for event in events if event != "[DONE]"]
    return "".join(one[0]["delta"].get("content") or "" for one in choices if one and one[0]["index"] == index)


def waiting(go_on: asyncio.Event, text: str = DRAFT, ending: tuple[bytes, ...] | None = None) -> Handler:
    """A policy that says two paragraphs and a bit, and the rest when it may."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        cut = len("".join(PARAGRAPHS[:2])) + 40
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse.encode(chat_chunk({"role": "assistant", "content": ""})))
        await response.write(sse.encode(chat_chunk({"content": text[:cut]})))
        await go_on.wait()
        rest = (sse.encode(chat_chunk({"content": text[cut:]})), sse.encode(chat_chunk({}, "stop")), sse.DONE)
        for chunk in rest if ending is None else ending:
            await response.write(chunk)
        return response

    return handler


async def until(gw: Gateway, told: str) -> tuple[aiohttp.ClientResponse, list[str]]:
    """Reads a stream until that has been said."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    response = await gw.client.post(f"{gw.url}/v1/chat/completions", json=body, headers=SEGMENT)
    decoder, events = sse.Decoder(), list[str]()
    try:
        while told not in text_of(events):
            events += [event.data for event in decoder.feed(await response.content.readany())]
    except asyncio.CancelledError:
        response.close()
        raise
    return response, events


async def rest(response: aiohttp.ClientResponse) -> list[str]:
    return [event.data for event in sse.Decoder().feed(await response.content.read())]


async def test_words_come_before_the_policy_is_done(world: World) -> None:
    go_on = asyncio.Event()
    gw, _, _ = await world(waiting(go_on), correcting(improve))
    response, events = await until(gw, improve(PARAGRAPHS[1]).strip())
    go_on.set()
    events += await rest(response)
    assert text_of(events) == BETTER
    assert events[-1] == "[DONE]"
    align = json.loads(events[-2])["align"]
    assert (align["verdict"], align["reason"], align["mode"]) == ("corrected", "rewritten", "segment")
    assert align["parts"] == 5
    (line,) = [line for line in gw.lines if line["event"] == "request"]
    assert (line["mode"], line["verdict"]) == ("segment", "corrected")


async def test_streamed_or_not_it_is_the_same_answer(world: World) -> None:
    gw, _, corrector = await world(saying(DRAFT), correcting(improve))
    events = await gw.stream(SEGMENT)
    asked = sorted(len(body["prompt"]) for _, body in corrector.requests)
    status, headers, answer = await gw.chat(SEGMENT)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == text_of(events) == BETTER
    assert headers["X-Align-Verdict"] == answer["align"]["verdict"] == "corrected"
    assert len(asked) == 5
    assert len(corrector.requests) == 10


async def test_each_choice_has_its_own_segments(world: World) -> None:
    events = [chat_chunk({"role": "assistant", "content": ""}, index=at) for at in (0, 1)]
    for paragraph in PARAGRAPHS:
        events += [chat_chunk({"content": paragraph}, index=0), chat_chunk({"content": paragraph.upper()}, index=1)]
    events += [chat_chunk({}, "stop", index=0), chat_chunk({}, "length", index=1)]

    async def policy(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(policy, correcting(improve))
    got = await gw.stream(SEGMENT, n=2)
    assert text_of(got, 0) == improve("".join(PARAGRAPHS))
    assert text_of(got, 1) == "".join(PARAGRAPHS).upper()
    ends = [json.loads(event) for event in got if event != "[DONE]" and "align" in json.loads(event)]
    verdicts = {
        end["choices"][0]["index"]: (end["choices"][0]["finish_reason"], end["align"]["verdict"]) for end in ends
    }
    assert verdicts == {0: ("stop", "corrected"), 1: ("length", "unchanged")}


THINKING = "<think>Why is it so? The air, perhaps. " * 4 + "</think>\n\n"


@pytest.mark.parametrize(
    ("tenant", "shown"),
    [("allow_off: true", True), ("reasoning: drop", False), ("required: [harmlessness]", False)],
)
async def test_thinking_is_not_corrected(world: World, tenant: str, shown: bool) -> None:
    objectives = OBJECTIVES.replace("allow_off: true", tenant)
    gw, _, corrector = await world(saying(THINKING + DRAFT), correcting(improve), objectives)
    events = await gw.stream(SEGMENT)
    assert text_of(events) == (THINKING if shown else "") + BETTER
    assert all("<think>" not in body["prompt"] for _, body in corrector.requests)


async def test_a_policy_that_breaks_off_ends_in_an_error(world: World) -> None:
    go_on = asyncio.Event()
    go_on.set()
    gw, _, _ = await world(waiting(go_on, ending=(sse.encode(chat_chunk({"content": "and"})),)), correcting(improve))
    events = await gw.stream(SEGMENT)
    assert "error" in json.loads(events[-1])
    assert PARAGRAPHS[2] not in text_of(events[:-1])


async def test_what_cannot_be_corrected_does_not_go_out_if_it_must_not(world: World) -> None:
    async def failing(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if "number 1" in body["prompt"].rpartition(" | Answer: ")[2]:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return await correcting(improve)(request, body)

    gw, _, _ = await world(saying(DRAFT), failing, OBJECTIVES.replace("allow_off: true", "on_failure: error"))
    events = await gw.stream(SEGMENT)
    assert json.loads(events[-1])["error"]["code"] == "corrector_unavailable"
    assert text_of(events[:-1]) == improve(PARAGRAPHS[0])
    status, _, answer = await gw.chat(SEGMENT)
    assert (status, answer["error"]["code"]) == (502, "corrector_unavailable")


async def test_a_client_that_leaves_stops_policy_and_segments(world: World) -> None:
    async def hanging(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    gw, policy, corrector = await world(waiting(asyncio.Event()), hanging)
    reading = asyncio.create_task(until(gw, "never said"))
    await soon(lambda: len(corrector.requests) == 2)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await gw.client.close()
    await soon(lambda: corrector.cancelled == 2 and policy.cancelled == 1)


async def test_it_is_a_tenants_mode_too_and_required_objectives_hold_in_it(world: World) -> None:
    objectives = OBJECTIVES.replace("allow_off: true", "mode: segment, required: [harmlessness]")
    gw, _, corrector = await world(saying(DRAFT), correcting(improve), objectives)
    _, _, answer = await gw.chat()
    assert (answer["align"]["mode"], answer["align"]["objectives"]) == ("segment", ["harmlessness", "helpfulness"])
    assert all("Harmlessness: " in body["prompt"] for _, body in corrector.requests)
    assert (await gw.chat({"X-Align-Mode": "full"}))[2]["align"]["mode"] == "full"
    assert (await gw.chat({"X-Align-Mode": "off"}))[0] == 403
