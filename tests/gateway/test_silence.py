"""A policy that says nothing for a while: its stream is kept alive, and what comes after that is told all the same."""

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.conftest import Handler, correcting, saying
from tests.gateway.conftest import BETTER, DRAFT, World, improve, replying, soon
from tests.gateway.test_required import texts
from wire import sse


def silent_for(seconds: float, then: Handler) -> Handler:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await then(request, asked)

    return handler


async def test_a_stream_is_kept_alive_before_its_policy_has_begun(world: World) -> None:
    gw, _, _ = await world(silent_for(0.3, saying(DRAFT)), correcting(improve), heartbeat_s=0.02)
    body = {"model": "m", "messages": [], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        raw = await response.read()
    assert raw.startswith(sse.HEARTBEAT)
    decoder = sse.Decoder()
    assert texts([event.data for event in decoder.feed(raw)]) == BETTER


async def test_what_fails_after_that_is_told_as_an_event(world: World) -> None:
    gw, _, _ = await world(silent_for(0.3, replying({"error": {"message": "no"}}, 429)), heartbeat_s=0.02)
    events = await gw.stream()
    assert len(events) == 1
    assert json.loads(events[0])["error"]["message"] == "no"


async def test_a_status_that_comes_in_time_stays_a_status(world: World) -> None:
    gw, _, _ = await world(replying({"error": {"message": "no"}}, 429), heartbeat_s=5)
    body = {"model": "m", "messages": [], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        assert response.status == 429


async def test_a_client_that_leaves_a_silent_policy_cancels_it(world: World) -> None:
    gw, policy, _ = await world(silent_for(60, saying(DRAFT)), heartbeat_s=0.02)
    body = {"model": "m", "messages": [], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        await response.content.readany()
        response.close()
    await soon(lambda: policy.cancelled == 1)
