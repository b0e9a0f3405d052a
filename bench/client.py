"""A client that costs little, so that a machine of few cores has them for what is measured. Knows HTTP/1.1, no more."""

import asyncio
import json
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Answered:
    """Times on the clock of `time.perf_counter`."""

    status: int
    body: bytes
    first_byte_at: float
    ended_at: float


def post(url: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """A whole request, as it goes over the wire."""
    parts, content = urlsplit(url), json.dumps(body).encode()
    told = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + content


class Client:
    """Of one server. Keeps its connections, and makes one more whenever all are busy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[_Connection] = []

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._idle:
            connection.transport.close()

    async def ask(self, request: bytes) -> Answered:
        while self._idle and self._idle[-1].transport.is_closing():
            self._idle.pop()
        if self._idle:
            connection = self._idle.pop()
        else:
            made = await asyncio.get_running_loop().create_connection(_Connection, self._host, self._port)
            connection = made[1]
        answered = await connection.ask(request)
        self._idle.append(connection)
        return answered


class _Connection(asyncio.Protocol):
    """One request at a time."""

    transport: asyncio.Transport
    _answer: "asyncio.Future[Answered] | None" = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[Answered]":
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._first = 0.0
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self._first = time.perf_counter()
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._answer is not None
        status, body = self._parser.get_status_code(), b"".join(self._body)
        self._answer.set_result(Answered(status, body, self._first, time.perf_counter()))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))
