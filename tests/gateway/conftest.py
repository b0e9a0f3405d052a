"""A gateway between a scripted policy and a scripted corrector."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog
from aiohttp import web

from gateway import reload
from gateway.tracing import Tracing
from tests.conftest import OBJECTIVES, Gateway, Handler, Service, correcting, saying, streaming, two_services
from tests.gateway.collector import Collector
from wire import sse

Start = Callable[[Handler], Awaitable[Service]]
Serve = Callable[..., Awaitable[Gateway]]
World = Callable[..., Awaitable[tuple[Gateway, Service, Service]]]

DRAFT = "The sky is blue because of the air. That is all there is to say."
BETTER = DRAFT.replace("the air", "how air scatters light")


def improve(text: str) -> str:
    return text.replace("the air", "how air scatters light")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A save is in force for the next request, however slow the machine is."""
    monkeypatch.setattr(reload, "PATIENCE_S", 60.0)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a save whose engines take their time, which no request waits for."""
    monkeypatch.setattr(reload, "PATIENCE_S", 0.3)


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


async def ask(gw: Gateway, headers: dict[str, str] | None = None, *, stream: bool = False, **body: Any) -> None:
    """One request, its answer not looked at."""
    await (gw.stream(headers, **body) if stream else gw.chat(headers, **body))


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without what the environment of the tests may say itself."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


@pytest.fixture
async def collector(untraced: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """One that runs; gateways that are started from here on send to it."""
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    untraced.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    untraced.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield made
    await runner.cleanup()


@pytest.fixture(scope="module")
async def tracing() -> AsyncIterator[Tracing]:
    made = Tracing(structlog.get_logger())
    yield made
    await made.aclose()
