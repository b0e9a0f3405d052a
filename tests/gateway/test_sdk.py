"""OpenAI's own SDK against the gateway, unchanged but for its base URL."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.conftest import Gateway, chat_chunk, chat_reply, correcting, saying, streaming
from tests.gateway.conftest import BETTER, DRAFT, World, improve
from wire import sse

HI: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: list[Any] = [{"type": "function", "function": {"name": "weather", "strict": True, "parameters": SCHEMA}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}


@pytest.fixture
async def sdk() -> AsyncIterator[Callable[[Gateway], AsyncOpenAI]]:
    made: list[AsyncOpenAI] = []

    def make(gw: Gateway) -> AsyncOpenAI:
        made.append(AsyncOpenAI(base_url=f"{gw.url}/v1", api_key="none", max_retries=0))
        return made[-1]

    yield make
    for client in made:
        await client.close()


Sdk = Callable[[Gateway], AsyncOpenAI]


async def failing(request: web.Request, status: int) -> web.StreamResponse:
    error = {"message": "no", "type": "x", "param": None, "code": "y"}
    return web.json_response({"error": error}, status=status)


async def test_create(world: World, sdk: Sdk) -> None:
    gw, _, _ = await world()
    answer = await sdk(gw).chat.completions.create(model="m", messages=HI)
    assert answer.choices[0].message.content == BETTER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    assert answer.model_extra is not None
    assert answer.model_extra["align"]["verdict"] == "corrected"


async def test_create_from_sync_code(world: World) -> None:
    gw, _, _ = await world()

    def ask() -> tuple[str | None, str, list[str]]:
        with OpenAI(base_url=f"{gw.url}/v1", api_key="anything", max_retries=0) as client:
            whole = client.chat.completions.create(model="m", messages=HI).choices[0].message.content
            stream = client.chat.completions.create(model="m", messages=HI, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            return whole, text, [model.id for model in client.models.list()]

    assert await asyncio.to_thread(ask) == (BETTER, BETTER, ["m"])


async def test_stream_with_usage(world: World, sdk: Sdk) -> None:
    gw, _, _ = await world()
    stream = await sdk(gw).chat.completions.create(
        model="m", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == BETTER
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12


async def test_the_stream_helper(world: World, sdk: Sdk) -> None:
    gw, _, _ = await world(corrector=correcting(improve, pause_s=0.001))
    async with sdk(gw).chat.completions.stream(model="m", messages=HI) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert kinds.count("content.done") == 1
    assert kinds.count("content.delta") > 3
    assert final.choices[0].message.content == BETTER


async def test_tools(world: World, sdk: Sdk) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        begun = {"name": "weather", "arguments": ""}
        if not body.get("stream"):
            reply = chat_reply(None)
            reply["choices"][0]["message"]["tool_calls"] = [CALL]
            reply["choices"][0]["finish_reason"] = "tool_calls"
            return web.json_response(reply)
        deltas: list[dict[str, Any]] = [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{**CALL, "index": 0, "function": begun}],
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": ' "Bern"}'}}]},
        ]
        events = [chat_chunk(delta) for delta in deltas] + [chat_chunk({}, "tool_calls")]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, policy, _ = await world(handler)
    answer = await sdk(gw).chat.completions.create(model="m", messages=HI, tools=TOOL)
    assert policy.last["tools"] == TOOL
    [call] = answer.choices[0].message.tool_calls or []
    assert call.model_dump() == CALL
    assert answer.choices[0].message.content is None
    async with sdk(gw).chat.completions.stream(model="m", messages=HI, tools=TOOL) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert (streamed.id, streamed.function.name, streamed.function.arguments) == (
        "call_1",
        "weather",
        '{"city": "Bern"}',
    )
    assert final.choices[0].finish_reason == "tool_calls"


class Colour(BaseModel):
    name: str


@pytest.mark.parametrize("streamed", [False, True])
async def test_parse(world: World, sdk: Sdk, streamed: bool) -> None:
    gw, policy, corrector = await world(saying('{"name": "blue"}'))
    if streamed:
        async with sdk(gw).chat.completions.stream(model="m", messages=HI, response_format=Colour) as stream:
            async for _ in stream:
                pass
            parsed = (await stream.get_final_completion()).choices[0].message.parsed
    else:
        answer = await sdk(gw).chat.completions.parse(model="m", messages=HI, response_format=Colour)
        parsed = answer.choices[0].message.parsed
    assert parsed == Colour(name="blue")
    assert policy.last["response_format"]["type"] == "json_schema"
    assert not corrector.requests


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_errors_raise_what_they_always_raise(
    world: World, sdk: Sdk, status: int, error: type[openai.APIStatusError]
) -> None:
    gw, _, _ = await world(lambda request, body: failing(request, status))
    with pytest.raises(error) as caught:
        await sdk(gw).chat.completions.create(model="m", messages=HI)
    assert caught.value.code == "y"
    with pytest.raises(error):
        await sdk(gw).chat.completions.create(model="m", messages=HI, stream=True)


async def test_an_unknown_model(world: World, sdk: Sdk) -> None:
    gw, _, _ = await world()
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9' here; there are: m"):
        await sdk(gw).chat.completions.create(model="gpt-9", messages=HI)
    with pytest.raises(openai.NotFoundError):
        await sdk(gw).models.retrieve("gpt-9")
    assert (await sdk(gw).models.retrieve("m")).id == "m"


async def test_a_broken_stream_raises(world: World, sdk: Sdk) -> None:
    events = [sse.encode(chat_chunk({"role": "assistant", "content": "The"}))]
    gw, _, _ = await world(lambda request, body: streaming(request, events))
    with pytest.raises(openai.APIError):
        async for _ in await sdk(gw).chat.completions.create(model="m", messages=HI, stream=True):
            pass


async def test_wishes_by_header_and_by_body(world: World, sdk: Sdk) -> None:
    gw, policy, corrector = await world()
    raw = await sdk(gw).chat.completions.with_raw_response.create(
        model="m", messages=HI, extra_headers={"X-Align-Objectives": "humour", "X-Align-Return": "draft"}
    )
    assert raw.headers["X-Align-Objectives"] == "humour"
    assert raw.headers["X-Align-Verdict"] == "corrected"
    assert json.loads(raw.content)["align"]["draft"] == DRAFT
    answer = await sdk(gw).chat.completions.create(
        model="m",
        messages=HI,
        extra_body={"align": {"objectives": ["humour", "kindness"], "define": {"kindness": "Be kind"}}, "top_k": 3},
    )
    assert answer.model_extra is not None
    assert answer.model_extra["align"]["objectives"] == ["humour", "kindness"]
    assert "align" not in policy.last
    assert policy.last["top_k"] == 3
    assert "Kindness: Be kind" in corrector.last["prompt"]
