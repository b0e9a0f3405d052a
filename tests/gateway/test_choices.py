"""Answers of several choices: each by itself, in its place."""

from typing import Any

import pytest
from aiohttp import web

from tests.conftest import chat_chunk, chat_reply, streaming
from tests.gateway.conftest import BETTER, DRAFT, World, replying, sending
from tests.gateway.test_streams import chunks_of, text_of
from wire import sse


async def test_each_choice_is_corrected_in_its_own_stream(world: World) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [chat_chunk({"role": "assistant", "content": ""}, index=index) for index in (0, 1)]
        for word in DRAFT.split(" "):
            events += [chat_chunk({"content": f"{word} "}), chat_chunk({"content": f"{word} ".upper()}, index=1)]
        events += [chat_chunk({}, "stop"), chat_chunk({}, "length", index=1)]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(handler)
    chunks = chunks_of(await gw.stream(n=2))
    assert text_of(chunks, 0) == f"{BETTER} "
    assert text_of(chunks, 1) == f"{DRAFT} ".upper()
    ends = {choice["index"]: (choice["finish_reason"], chunk["align"]["verdict"])
            for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]}  # fmt: skip
    assert ends == {0: ("stop", "corrected"), 1: ("length", "unchanged")}


async def test_usage_beside_several_ends_is_told_once(world: World) -> None:
    begun = [chat_chunk({"role": "assistant", "content": DRAFT}, index=index) for index in (0, 1)]
    end = {**chat_chunk({}, "stop"), "usage": {"total_tokens": 3}}
    end["choices"] += chat_chunk({}, "stop", index=1)["choices"]
    gw, _, _ = await world(sending(*begun, end))
    chunks = chunks_of(await gw.stream(n=2))
    assert [choice["index"] for chunk in chunks if chunk.get("usage") for choice in chunk["choices"]] == [1]
    assert sum(choice["finish_reason"] == "stop" for chunk in chunks for choice in chunk["choices"]) == 2


@pytest.mark.parametrize("index", [{}, {"index": None}])
async def test_a_choice_without_an_index_has_its_place_for_one(world: World, index: dict[str, Any]) -> None:
    def bare(choice: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in choice.items() if name != "index"} | index

    reply = chat_reply(DRAFT)
    reply["choices"] = [bare(reply["choices"][0]), bare(chat_reply(DRAFT.upper())["choices"][0])]
    events = [chat_chunk({"content": DRAFT}), chat_chunk({}, "stop")]
    for event, said in zip(events, (DRAFT.upper(), None), strict=True):
        delta = {"content": said} if said else {}
        event["choices"] = [bare(event["choices"][0]), bare({**event["choices"][0], "delta": delta})]
    gw, policy, _ = await world(replying(reply))
    for handler in (replying(reply), sending(*events)):
        policy.handler = handler
        chunks = chunks_of(await gw.stream(n=2))
        assert (text_of(chunks, 0), text_of(chunks, 1)) == (BETTER, DRAFT.upper())
        status, _, body = await gw.chat(n=2)
        assert (status, [choice["index"] for choice in body["choices"]]) == (200, [0, 1])
