"""What every file of `gateway/upstreams` does with one and the same OpenAI-compatible service.

A new kind is tested by being there, as long as `base_url` or an `endpoint` engine tells it where to ask.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway import upstreams
from gateway.exchange import ChatRequest, parse
from gateway.upstreams import Upstream
from tests.conftest import Handler, Service, saying
from tests.contracts.test_kinds import filled
from wire.codec import dumps
from wire.errors import Rejected, TimedOut, Unreachable, WireError

pytestmark = [
    pytest.mark.parametrize("kind", upstreams.kinds()),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),  # litellm's own
]

Start = Callable[[Handler], Awaitable[Service]]
Made = Callable[..., Upstream]
TEXT = "The sky is blue because of the air."


@pytest.fixture
async def made(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    """Builds upstreams of the kind: `made("http://...")`."""
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream")
    built: list[Upstream] = []

    def make(url: str, **options: object) -> Upstream:
        from corrector.engines import load

        module = upstreams.load(kind)
        engine = {"kind": "endpoint", "base_url": url, "model": "openai/some", "api_key_env": "UPSTREAM_KEY"}
        known = {
            "corrector": "none",
            "model": "openai/some",
            "base_url": url,
            "api_key_env": "UPSTREAM_KEY",
            "engine": load("endpoint").Options.model_validate(engine),
            "retries": 0,
            **options,
        }
        built.append(module.build("some", filled(module.Options, kind, known), tmp_path))
        return built[-1]

    yield make
    for upstream in built:
        await upstream.aclose()


def asked(**body: Any) -> ChatRequest:
    said = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], **body}
    return parse(dumps(said), (("authorization", "Bearer sk-client"),), "")


def text(events: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def test_an_answer(service: Start, made: Made) -> None:
    there = await service(saying(TEXT))
    reply = await made(there.url).ask(asked(temperature=0.5))
    assert not reply.streamed
    [choice] = json.loads(await reply.read())["choices"]
    reply.close()
    assert (choice["message"]["content"], choice["finish_reason"]) == (TEXT, "stop")
    assert there.last["messages"] == [{"role": "user", "content": "Why?"}]
    assert there.last["temperature"] == 0.5
    assert there.requests[0][0].headers["Authorization"] == "Bearer sk-upstream"


async def test_the_events_of_a_stream(service: Start, made: Made) -> None:
    there = await service(saying(TEXT))
    reply = await made(there.url).ask(asked(stream=True))
    assert reply.streamed
    events = [event async for event in reply.events()]
    reply.close()
    assert text(events) == TEXT
    assert [choice["finish_reason"] for event in events for choice in event["choices"]][-1] == "stop"


async def test_the_bytes_of_a_stream(service: Start, made: Made) -> None:
    there = await service(saying(TEXT))
    reply = await made(there.url).ask(asked(stream=True))
    data = b"".join([chunk async for chunk in reply.relay()])
    reply.close()
    lines = [line.removeprefix(b"data: ") for line in data.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    assert text([json.loads(line) for line in lines]) == TEXT


# (99 seconds are the client's to wait: no kind does it here.)
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_keeps_its_status_and_when_to_come_back(
    service: Start, made: Made, status: int, stream: bool
) -> None:
    async def refuses(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        error = {"message": "said no", "type": "some", "param": None, "code": "some"}
        return web.json_response({"error": error}, status=status, headers={"Retry-After": "99"})

    there = await service(refuses)
    with pytest.raises(Rejected) as caught:
        await made(there.url).ask(asked(stream=stream))
    assert caught.value.status == status
    assert {name.lower(): value for name, value in caught.value.headers.items()}["retry-after"] == "99"
    assert "said no" in json.loads(caught.value.body)["error"]["message"]
    assert "sk-upstream" not in f"{caught.value}{caught.value.body!r}"


async def test_a_silent_one(service: Start, made: Made) -> None:
    async def hangs(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    there = await service(hangs)
    with pytest.raises(TimedOut):
        await made(there.url, timeout_s=0.3).ask(asked())


def test_an_answer_may_take_as_long_as_openais_sdk_waits(kind: str) -> None:
    waits_s = openai.DEFAULT_TIMEOUT.read
    assert waits_s is not None
    assert upstreams.load(kind).Options.model_fields["timeout_s"].default >= waits_s


async def test_nobody_there(made: Made) -> None:
    with pytest.raises(Unreachable):
        await made("http://127.0.0.1:1/v1").ask(asked())


async def test_an_answer_that_is_none(service: Start, made: Made) -> None:
    async def page(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>", content_type="text/html")

    there = await service(page)
    try:
        reply = await made(there.url).ask(asked())
    except WireError:
        return
    assert b"<html>" in await reply.read(), "who reads it says what is wrong with it"
    reply.close()


async def test_closing_early_stops_the_service(service: Start, made: Made) -> None:
    began = asyncio.Event()

    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n')
            began.set()
            await asyncio.sleep(0.02)

    there = await service(endless)
    reply = await made(there.url).ask(asked(stream=True))
    events = reply.events()
    assert text([await anext(events)]) == "x"
    await began.wait()
    await events.aclose()  # type: ignore[attr-defined]
    reply.close()
    reply.close()  # twice does no harm
    async with asyncio.timeout(2):
        while not there.cancelled:
            await asyncio.sleep(0.02)
