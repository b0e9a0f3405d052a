"""How a policy's stream may end: with a reason, with no more than `[DONE]`, or with neither, which is a failure."""

import json

import pytest

from tests.conftest import OBJECTIVES, chat_chunk, chat_reply, correcting
from tests.gateway.conftest import BETTER, DRAFT, World, improve, replying, sending, soon
from tests.gateway.test_required import texts
from wire import sse

USAGE = {**chat_chunk({}), "choices": [], "usage": {"total_tokens": 3}}
BEGUN = (chat_chunk({"role": "assistant", "content": ""}), chat_chunk({"content": DRAFT}))


@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b"data: [DONE]"])
@pytest.mark.parametrize("mode", ["full", "segment", "shadow"])
@pytest.mark.parametrize("says", ["allow_off: true", "allow_off: true, reasoning: drop"])
async def test_done_is_an_end_and_no_reason_is_made_up_for_it(world: World, says: str, mode: str, last: bytes) -> None:
    policy = sending(*BEGUN, USAGE, last, done=False)
    gw, _, _ = await world(policy, correcting(improve), OBJECTIVES.replace("allow_off: true", says))
    events = await gw.stream({"X-Align-Mode": mode})
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert texts(events) == (DRAFT if mode == "shadow" else BETTER)
    assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])
    [end] = [chunk for chunk in chunks if "align" in chunk]
    assert end["align"]["verdict"] == ("skipped" if mode == "shadow" else "corrected")
    assert sum("usage" in chunk for chunk in chunks) == 1
    if mode != "shadow":
        assert chunks[-1]["usage"] == {"total_tokens": 3}


@pytest.mark.parametrize("mode", ["full", "shadow"])
async def test_unasked_it_is_folded_to_the_same(world: World, mode: str) -> None:
    gw, policy, _ = await world(sending(*BEGUN), correcting(improve))
    status, _, body = await gw.chat({"X-Align-Mode": mode})
    assert status == 200
    [choice] = body["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (BETTER if mode == "full" else DRAFT, None)
    assert body["align"]["mode"] == mode
    policy.handler = sending(*BEGUN, done=False)
    assert (await gw.chat({"X-Align-Mode": mode}))[0] == 502


async def test_a_stream_of_nothing_but_done_is_a_failure(world: World) -> None:
    gw, _, _ = await world(sending(sse.HEARTBEAT))
    assert "error" in json.loads((await gw.stream())[-1])


@pytest.mark.parametrize("mode", ["full", "segment", "shadow"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_without_a_choice_is_an_answer(world: World, streamed: bool, mode: str) -> None:
    empty = {**chat_chunk({}), "choices": []}
    gw, policy, _ = await world(sending(empty) if streamed else replying({**chat_reply(""), "choices": []}))
    *chunks, done = await gw.stream({"X-Align-Mode": mode})
    assert [json.loads(chunk)["choices"] for chunk in chunks] == [[]]
    assert done == "[DONE]"
    status, _, body = await gw.chat({"X-Align-Mode": mode})
    assert (status, body["choices"]) == (200, [])
    await soon(lambda: sum(line["event"] == "request" for line in gw.lines) == 2)
    assert {line["verdict"] for line in gw.lines if line["event"] == "request"} == {"skipped"}
    if streamed:
        policy.handler = sending(empty, done=False)
        assert "error" in json.loads((await gw.stream({"X-Align-Mode": mode}))[-1])
        assert (await gw.chat({"X-Align-Mode": mode}))[0] == 502


@pytest.mark.parametrize("mode", ["full", "segment", "shadow"])
@pytest.mark.parametrize("reason", [None, ""])
async def test_an_unstreamed_answer_is_at_its_end_whatever_reason_it_has(
    world: World, reason: str | None, mode: str
) -> None:
    reply = chat_reply(DRAFT)
    reply["choices"][0]["finish_reason"] = reason
    gw, _, _ = await world(replying(reply), correcting(improve))
    events = await gw.stream({"X-Align-Mode": mode})
    assert events[-1] == "[DONE]"
    assert texts(events) == (DRAFT if mode == "shadow" else BETTER)
    assert sum("align" in json.loads(event) for event in events[:-1]) == 1
    reasons = {choice["finish_reason"] for event in events[:-1] for choice in json.loads(event)["choices"]}
    assert reasons <= {None, reason}, "none is made up"


@pytest.mark.parametrize("mode", ["full", "shadow"])
async def test_fields_of_a_choice_come_once_in_a_stream_of_an_unstreamed_answer(world: World, mode: str) -> None:
    reply = chat_reply(DRAFT)
    reply["choices"][0] |= {"logprobs": {"content": [{"token": "The"}]}, "stop_reason": "x"}
    gw, _, _ = await world(replying(reply), correcting(improve))
    events = await gw.stream({"X-Align-Mode": mode}, logprobs=True)
    assert sum('"stop_reason"' in event for event in events) == 1
    assert sum('"token":"The"' in event for event in events) == (mode == "shadow")
