"""What an engine answers, read as it comes: also by one that does not keep to the API."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from corrector.generation import Usage, generate, request
from tests.conftest import Handler, Service, streaming
from wire import sse
from wire.codec import dumps
from wire.endpoint import Endpoint
from wire.errors import Malformed

Start = Callable[[Handler], Awaitable[Service]]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("said", [{"choices": [{"delta": "hello"}]}, {"choices": ["hello"]}, [1, 2]])
async def test_an_answer_of_another_shape_is_malformed(service: Start, said: Any, streamed: bool) -> None:
    async def odd(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if streamed:
            return await streaming(request, [b"data: " + dumps(said) + b"\n\n", sse.DONE])
        return web.json_response(said)

    endpoint = Endpoint("c", [(await service(odd)).url])
    try:
        with pytest.raises(Malformed):
            async for _ in generate(endpoint, request("m", "x", 10), 5.0, Usage()):
                pass
    finally:
        await endpoint.aclose()


@pytest.mark.parametrize("count", [None, "many", 1.5, [3]])
async def test_a_count_that_is_none_fails_no_correction(service: Start, count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 2}
    said = {"choices": [{"text": "hello", "finish_reason": "stop"}], "usage": usage}

    async def odd(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [b"data: " + dumps(said) + b"\n\n", sse.DONE])

    endpoint, spent = Endpoint("c", [(await service(odd)).url]), Usage()
    try:
        told = [piece async for piece in generate(endpoint, request("m", "x", 10), 5.0, spent)]
    finally:
        await endpoint.aclose()
    assert told == ["hello"]
    assert (spent.prompt_tokens, spent.completion_tokens) == (0, 2)


async def test_sums_that_come_with_every_event_are_not_added_up(service: Start) -> None:
    def event(text: str, spent: int, finish: str | None = None) -> bytes:
        usage = {"prompt_tokens": 9, "completion_tokens": spent}
        return sse.encode({"choices": [{"text": text, "finish_reason": finish}], "usage": usage})

    async def telling(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [event("a", 1), event("b", 2), event("c", 3, "stop"), sse.DONE])

    endpoint, spent = Endpoint("c", [(await service(telling)).url]), Usage()
    try:
        for _ in range(2):  # of each part of one correction
            assert [piece async for piece in generate(endpoint, request("m", "x", 10), 5.0, spent)]
    finally:
        await endpoint.aclose()
    assert (spent.prompt_tokens, spent.completion_tokens) == (18, 6)
