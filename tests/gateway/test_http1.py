"""The server's end of a connection, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
import uvicorn

from gateway import http1
from gateway.http1 import Http1

Connect = Callable[[Any], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
HEAD = b"POST /v1/x?a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nX-Own:  y \r\n" + OFFER + b"\r\n"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Serves an application, and connects to it."""
    servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(app: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        config = uvicorn.Config(app, port=0, http=Http1, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[assignment]
        servers.append((server, asyncio.create_task(server.serve())))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    yield start
    for writer in writers:
        writer.close()
    for server, serving in servers:
        server.should_exit = True
        await serving


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says how it was asked, and what."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    names = b",".join(name for name, _ in scope["headers"])
    said = b"%b %b?%b [%b] %b" % (
        scope["method"].encode(), scope["raw_path"], scope["query_string"], names, body
    )  # fmt: skip
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))


SAID = b'POST /v1/x?a=1 [host,content-length,x-own,connection] {"model":1}'


@pytest.mark.parametrize("cuts", [[], [len(HEAD)], [20, 60, len(HEAD) - 2, len(HEAD) + 5], range(1, len(HEAD) + 11)])
async def test_an_offer_of_another_protocol_costs_no_body(connect: Connect, cuts: list[int]) -> None:
    """The connection goes on in HTTP/1.1, with the next offer too."""
    whole = HEAD + b'{"model":1}'
    for reader, writer in [await connect(echo)] * 2:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            writer.write(whole[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        assert await answer(reader) == SAID


async def test_offers_in_one_packet(connect: Connect) -> None:
    reader, writer = await connect(echo)
    chunked = HEAD.replace(b"Content-Length: 11", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
    plain = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    offering = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    writer.write(HEAD + b'{"model":1}' + plain + chunked + offering * 2000)
    assert await answer(reader) == SAID
    assert await answer(reader) == b"GET /? [host] "
    assert (await answer(reader)).endswith(b" abc")
    for _ in range(2000):
        assert await answer(reader) == b"GET /? [host,connection] "


async def test_a_client_that_awaits_leave_to_send_its_body_gets_it(connect: Connect) -> None:
    reader, writer = await connect(echo)
    writer.write(HEAD.replace(b"X-Own:  y ", b"Expect: 100-continue"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"model":1}')
    assert (await answer(reader)).endswith(b'{"model":1}')


@pytest.mark.parametrize("said", [b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"nothing\r\n\r\n"])
async def test_what_is_no_request_is_a_400(connect: Connect, said: bytes) -> None:
    reader, writer = await connect(echo)
    writer.write(said)
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_stops_reading_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "UNREAD_S", 0.05)
    gone = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watching = asyncio.create_task(receive())
        while not watching.done():
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(0)
        assert (await watching)["type"] == "http.disconnect"
        gone.set()

    _, writer = await connect(endless)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        await gone.wait()


async def test_one_that_reads_slowly_is_not(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "UNREAD_S", 3600.0)
    whole = 3_000_000

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % whole)]})
        for _ in range(30):
            await send({"type": "http.response.body", "body": b"x" * (whole // 30), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    reader, writer = await connect(large)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    assert len(await answer(reader)) == whole
    loop = asyncio.get_running_loop()
    pending = [handle for handle in getattr(loop, "_scheduled", []) if handle.when() > loop.time() + 1000]
    assert [handle for handle in pending if not handle.cancelled()] == []
