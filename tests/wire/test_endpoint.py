"""One service behind one or several URLs: balancing, retries, and every way it can fail."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import Handler, Service, saying, streaming
from wire.endpoint import Endpoint, json_events, translate
from wire.errors import Dropped, Malformed, Rejected, TimedOut, Unreachable, WireError

Start = Callable[[Handler], Awaitable[Service]]
NOWHERE = "http://127.0.0.1:9/v1"


def answering(*statuses: int, headers: dict[str, str] | None = None) -> Handler:
    """Answers with these statuses, one after the other, and with the last one from then on."""
    left = list(statuses)

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.json_response({"status": status}, status=status, headers=headers)

    return handler


@pytest.fixture
async def endpoint() -> AsyncIterator[Callable[..., Endpoint]]:
    made: list[Endpoint] = []

    def make(*urls: str, **options: Any) -> Endpoint:
        made.append(Endpoint("service", urls, **options))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def ask(endpoint: Endpoint) -> bytes:
    opened = await endpoint.post("/chat/completions", b"{}")
    try:
        return await opened.read()
    finally:
        opened.close()


async def test_a_body_arrives_as_it_was_with_our_key(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(200))
    opened = await endpoint(upstream.url, api_key="sk-1").post(
        "/chat/completions", b'{"a": 1}', {"x-own": "2", "authorization": "Bearer theirs"}, "api-version=3"
    )
    opened.close()
    request, body = upstream.requests[0]
    assert body == {"a": 1}
    assert request.query_string == "api-version=3"
    assert request.headers["x-own"] == "2"
    assert request.headers.getall("Authorization") == ["Bearer sk-1"]
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 520, 522, 524, 529])
async def test_what_may_pass_is_tried_again(status: int, service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(status, 200))
    assert await ask(endpoint(upstream.url, retries=1)) == b'{"status": 200}'
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501, 505])
async def test_what_will_not_pass_is_not(status: int, service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(status, 200))
    with pytest.raises(Rejected) as caught:
        await ask(endpoint(upstream.url, retries=2))
    assert (caught.value.status, len(upstream.requests)) == (status, 1)
    assert caught.value.body == b'{"status": %d}' % status


async def test_the_last_failure_is_told(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(500, 503))
    with pytest.raises(Rejected) as caught:
        await ask(endpoint(upstream.url, retries=1))
    assert caught.value.status == 503


@pytest.mark.parametrize("asked", ["0.3", "date"])
async def test_retry_after_is_waited_for(asked: str, service: Start, endpoint: Callable[..., Endpoint]) -> None:
    said = formatdate(time.time() + 2, usegmt=True) if asked == "date" else asked
    upstream = await service(answering(429, 200, headers={"Retry-After": said}))
    started = time.monotonic()
    await ask(endpoint(upstream.url, retries=1))
    assert time.monotonic() - started >= 0.3


async def test_a_long_retry_after_is_the_clients_to_wait_for(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(429, 200, headers={"Retry-After": "3600"}))
    with pytest.raises(Rejected):
        await ask(endpoint(upstream.url, retries=3))
    assert len(upstream.requests) == 1


async def test_but_not_where_another_is_idle(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    busy = await service(answering(429, 429, headers={"Retry-After": "3600"}))
    idle = await service(answering(200))
    both = endpoint(busy.url, idle.url, retries=1)
    for _ in range(2):
        await ask(both)
    assert len(idle.requests) == 2
    with pytest.raises(Rejected):
        await ask(endpoint(busy.url, busy.url.replace("127.0.0.1", "localhost"), retries=3))


async def test_requests_are_spread(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    one, two = await service(answering(200)), await service(answering(200))
    both = endpoint(one.url, two.url)
    for _ in range(6):
        await ask(both)
    assert (len(one.requests), len(two.requests)) == (3, 3)


async def test_the_busy_one_is_spared(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await go_on.wait()
        return web.json_response({})

    one, two = await service(slow), await service(answering(200))
    both = endpoint(two.url, one.url)
    waiting = asyncio.create_task(ask(both))
    while not one.requests:
        await asyncio.sleep(0.01)
    for _ in range(4):
        await ask(both)
    assert (len(one.requests), len(two.requests)) == (1, 4)
    go_on.set()
    await waiting


async def test_a_failing_one_is_set_aside_and_tried_again_later(
    service: Start, endpoint: Callable[..., Endpoint]
) -> None:
    ill, well = await service(answering(500, 200)), await service(answering(200))
    both = endpoint(ill.url, well.url, retries=1)
    for _ in range(6):
        await ask(both)
    assert len(ill.requests) == 1
    await asyncio.sleep(1.1)  # the first time aside lasts a second
    for _ in range(4):
        await ask(both)
    assert len(ill.requests) > 1


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    service: Start, endpoint: Callable[..., Endpoint]
) -> None:
    upstream = await service(answering(429, 200, headers={"Retry-After": "3"}))
    started = time.monotonic()
    with pytest.raises(TimedOut):
        await endpoint(upstream.url, retries=1).post("/x", b"{}", total_s=1.0)
    assert time.monotonic() - started < 1.0
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("fair_s", "asked_again"), [(0.1, 0), (5.0, 2)])
async def test_one_that_is_silent_until_the_deadline_is_set_aside_if_it_had_time(
    service: Start, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch, fair_s: float, asked_again: int
) -> None:
    monkeypatch.setattr("wire.endpoint.FAIR_S", fair_s)

    async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if len(hung.requests) == 1:
            await asyncio.sleep(60)
        return web.json_response({})

    hung, well = await service(silent), await service(answering(200))
    both = endpoint(well.url, hung.url, timeout_s=60.0)
    with pytest.raises(TimedOut):
        await both.post("/x", b"{}", total_s=0.2)
    for _ in range(4):
        await ask(both)
    assert (len(hung.requests), len(well.requests)) == (1 + asked_again, 4 - asked_again)


async def test_the_deadline_holds_to_the_end_of_the_answer(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [b"data: {}\n\n"] * 10_000, pause_s=0.01)

    opened = await endpoint((await service(endless)).url, timeout_s=60.0).post("/x", b"{}", total_s=0.3)
    with pytest.raises(TimedOut):
        async for _ in json_events(opened):
            pass
    opened.close()


async def test_failures_without_end_keep_it_aside_and_no_longer(
    service: Start, endpoint: Callable[..., Endpoint]
) -> None:
    both = endpoint(NOWHERE)
    for _ in range(1100):
        with pytest.raises(Unreachable):
            await ask(both)


async def test_one_that_is_silent_is_set_aside_too(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def silent(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    hanging, healthy = await service(silent), await service(saying("yes"))
    made = endpoint(hanging.url, healthy.url, timeout_s=0.1)
    failed = 0
    for _ in range(6):
        try:
            (await made.post("/chat/completions", b"{}")).close()
        except TimedOut:
            failed += 1
    assert failed == 1, "it is known after the first time"


async def test_an_idle_connection_is_not_used_for_long(
    service: Start, endpoint: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side may be closing it just then, and a POST that is lost cannot be sent again unasked."""
    monkeypatch.setattr("wire.endpoint.KEEPALIVE_S", 0.05)
    policy = await service(saying("yes"))
    made = endpoint(policy.url)
    peers = set()
    for _ in range(2):
        opened = await made.post("/chat/completions", b"{}")
        await opened.read()
        opened.close()
        peers.add(policy.requests[-1][0].transport)
        await asyncio.sleep(0.2)
    assert len(peers) == 2


async def test_an_unreachable_one_is_passed_over_at_once(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    well = await service(answering(200))
    both = endpoint(NOWHERE, well.url, retries=1)
    for _ in range(4):
        assert await ask(both) == b'{"status": 200}'


async def test_nobody_there(endpoint: Callable[..., Endpoint]) -> None:
    with pytest.raises(Unreachable, match="service cannot be reached"):
        await ask(endpoint(NOWHERE))


async def test_no_answer_in_time(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def hang(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    upstream = await service(hang)
    with pytest.raises(TimedOut):
        await ask(endpoint(upstream.url, timeout_s=0.2, retries=2))
    assert len(upstream.requests) == 1, "a service that is too slow is not asked twice"


async def test_a_connection_cut_before_the_head_is_tried_again(
    service: Start, endpoint: Callable[..., Endpoint]
) -> None:
    async def cut_once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if len(upstream.requests) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({})

    upstream = await service(cut_once)
    assert await ask(endpoint(upstream.url, retries=1)) == b"{}"
    assert len(upstream.requests) == 2


async def test_a_cut_after_the_first_byte_is_told_and_not_retried(
    service: Start, endpoint: Callable[..., Endpoint]
) -> None:
    async def cut(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: {}\n\n")
        assert request.transport is not None
        request.transport.close()
        return response

    upstream = await service(cut)
    opened = await endpoint(upstream.url, retries=3).post("/x", b"{}")
    got = []
    with pytest.raises(Dropped):
        async for event in json_events(opened):
            got.append(event)
    opened.close()
    assert (got, len(upstream.requests)) == ([{}], 1)


@pytest.mark.parametrize("data", [b"data: {oops\n\n", b"data: [1]\n\n"])
async def test_events_that_are_not_objects(data: bytes, service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [data])

    opened = await endpoint((await service(handler)).url).post("/x", b"{}")
    with pytest.raises(Malformed):
        async for _ in json_events(opened):
            pass
    opened.close()


async def test_nothing_after_done_is_read(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [b'data: {"a":1}\n\ndata: [DONE]\n\ndata: {"b":2}\n\n'])

    opened = await endpoint((await service(handler)).url).post("/x", b"{}")
    assert [event async for event in json_events(opened)] == [{"a": 1}]
    opened.close()


async def test_closing_early_cancels_the_service(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [b"data: {}\n\n"] * 10_000, pause_s=0.01)

    upstream = await service(endless)
    opened = await endpoint(upstream.url).post("/x", b"{}")
    async for _ in json_events(opened):
        break
    opened.close()
    for _ in range(100):
        if upstream.cancelled:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the service goes on writing for nobody")


async def test_a_unix_socket(tmp_path: Path, endpoint: Callable[..., Endpoint]) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s.sock")).start()
    try:
        assert await ask(endpoint(f"unix:{tmp_path}/s.sock")) == b'{"path": "/v1/chat/completions"}'
    finally:
        await runner.cleanup()
    with pytest.raises(Unreachable):
        await ask(endpoint(f"unix:{tmp_path}/s.sock"))


async def test_reachable(service: Start, endpoint: Callable[..., Endpoint]) -> None:
    upstream = await service(answering(200))
    made = endpoint(upstream.url)
    assert await made.reachable()
    await made.aclose()
    assert not await made.reachable(), "its session is closed"
    assert await endpoint(NOWHERE, upstream.url).reachable()
    assert not await endpoint(NOWHERE).reachable()


@pytest.mark.parametrize(
    ("kind", "asked", "streamed"),
    [
        ("text/event-stream", b"{}", True), ("application/json", b'{"stream": true}', False),
        ("text/plain", b'{"stream": true}', True), (None, b'{"stream": true}', True),
        (None, b'{"stream": false}', False), (None, b"[", False),
    ],
)  # fmt: skip
async def test_what_has_no_type_of_its_own_is_the_stream_that_was_asked_for(
    endpoint: Callable[..., Endpoint], kind: str | None, asked: bytes, streamed: bool
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        told = f"Content-Type: {kind}\r\n" if kind else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{told}Connection: close\r\n\r\ndata: {{}}\n\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        opened = await endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1").post("/x", asked)
        assert opened.streamed == streamed
        assert await opened.read() == b"data: {}\n\n"
        opened.close()


def test_every_exception_of_aiohttp_is_translated() -> None:
    """A new one in a later release must not escape as an internal error."""
    kinds = [kind for _, kind in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(kind, aiohttp.ClientError)]
    assert len(kinds) > 10
    for kind in kinds:
        error = kind.__new__(kind)
        assert isinstance(translate(error, "service"), WireError), kind
    assert translate(ValueError("ours"), "service") is None
