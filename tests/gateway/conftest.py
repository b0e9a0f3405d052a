"""A gateway between a scripted policy and a scripted corrector."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import OBJECTIVES, Gateway, Handler, Service, correcting, saying, streaming, two_services
from wire import sse

Start = Callable[[Handler], Awaitable[Service]]
Serve = Callable[..., Awaitable[Gateway]]
World = Callable[..., Awaitable[tuple[Gateway, Service, Service]]]

DRAFT = "The sky is blue because of the air. That is all there is to say."
BETTER = DRAFT.replace("the air", "how air scatters light")


def improve(text: str) -> str:
    return text.replace("the air", "how air scatters light")


@pytest.fixture
async def world(service: Start, gateway: Serve) -> World:
    """Starts one: `gw, policy, corrector = await world(saying("..."), correcting(str.upper))`."""

    async def make(
        policy: Handler | None = None, corrector: Handler | None = None, objectives: str = OBJECTIVES, **server: Any
    ) -> tuple[Gateway, Service, Service]:
        answers = await service(policy or saying(DRAFT))
        corrects = await service(corrector or correcting(improve))
        return await gateway(two_services(answers, corrects, **server), objectives), answers, corrects

    return make


def replying(body: Any, status: int = 200, **headers: str) -> Handler:
    """A policy that answers with this body, unstreamed whatever it is asked."""

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return handler


def sending(*events: dict[str, Any] | bytes, done: bool = True) -> Handler:
    """A policy that answers with these events, streamed whatever it is asked."""
    encoded = [event if isinstance(event, bytes) else sse.encode(event) for event in events]

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [*encoded, *([sse.DONE] if done else [])])

    return handler


async def soon(happened: Callable[[], bool]) -> None:
    """Waits until it has: 2.5 s are the longest that anything here may take."""
    for _ in range(250):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")
