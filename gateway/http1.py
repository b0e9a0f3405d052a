"""The server's end of one connection: uvicorn's, with what uvicorn leaves to a proxy before it.

Knows bytes and uvicorn, and nothing of what is asked.
"""

import asyncio
from collections.abc import Iterator

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# For a client to take what waits for it. One that has stopped (SIGSTOP, a dead link with a live kernel) would keep its
# place, and its policy's connection, for ever; the slowest that goes on takes tens of kilobytes in this time.
UNREAD_S = 300.0


class Http1(HttpToolsProtocol):
    """HTTP/1.1 whatever else the client offers to speak (RFC 9110, 7.8), to clients that read what they are sent.

    Java's HttpClient and `curl --http2` offer h2c with requests over plain HTTP. There the parser stops, whatever body
    follows; so the request is given to a new one, without the offer.
    """

    _unread: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest:
                rest = self._parsed(rest)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # the latter: CONNECT, which no header offers
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():  # else the request begins anew
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_unread()
        super().connection_lost(exc)

    def _parsed(self, data: memoryview) -> memoryview:
        """Parses the data, up to an offer's end; gives what is left. Raises what the parser does."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = b"".join(self._head_without_offer())
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            self.parser.feed_data(head)
            return data[offer.args[0] :]
        return data[:0]

    def _head_without_offer(self) -> Iterator[bytes]:
        yield b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        for name, value in self.headers:
            if name not in (b"upgrade", b"http2-settings"):
                yield b"%b: %b\r\n" % (name, value)
        yield b"\r\n"

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
