"""A client for one OpenAI-compatible service behind one or several base URLs.

Balances over the URLs, sets a failing one aside for a while, retries before the first byte. A base
URL is `http(s)://host/v1` or `unix:/path/to.sock` (an engine that this gateway started).
"""

import asyncio
import io
import random
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import takewhile
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict

from wire import sse
from wire.codec import loads
from wire.errors import Dropped, Malformed, Rejected, TimedOut, Unreachable, WireError

NEVER_PASSES = (501, 505)  # of the 5xx: what a service has not learnt, it does not know the next time either
LONGEST_WAIT_S = 10.0  # a Retry-After beyond this is the client's to wait for, not ours
LONGEST_ASIDE_S = 30.0
# A deadline that runs out tells of a hung replica only if that one had so long, or its usual `timeout_s`, and sent no
# head: what is left of a request's time may be too little for a healthy one.
FAIR_S = 2.0
# Idle connections are given up before the other side does (uvicorn, and so vLLM, and llama.cpp after 5 s): a request
# that is sent just when it does is lost, and a POST cannot be sent again unasked.
KEEPALIVE_S = 3.0
UNTOLD_TYPES = ("application/octet-stream", "text/plain")  # the former is also aiohttp's for no type at all
LARGE_BODY_BYTES = 1_000_000  # from here on aiohttp wants to write piece by piece, so that the loop goes on


@dataclass(slots=True)
class _Replica:
    base_url: str
    root: str
    session: aiohttp.ClientSession | None = None
    in_flight: int = 0
    failures: int = 0
    aside_until: float = 0.0


@dataclass(slots=True)
class Opened:
    """An answer whose head has arrived. Read it once, then `close()` (also on cancellation)."""

    response: aiohttp.ClientResponse
    replica: _Replica
    name: str
    streamed: bool = False  # is it a stream of events?
    done: bool = False  # has the stream said `[DONE]`?
    _open: bool = field(default=True)

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    async def read(self) -> bytes:
        with _Translated(self.name):
            return await self.response.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        with _Translated(self.name):
            async for chunk in self.response.content.iter_any():
                yield chunk

    async def batches(self) -> AsyncIterator[list[sse.Event]]:
        """Events up to, and without, `[DONE]`; those that have come together are given together."""
        decoder = sse.Decoder()
        async for chunk in self.chunks():
            events = decoder.feed(chunk)
            if batch := list(takewhile(_goes_on, events)):
                yield batch
            if len(batch) < len(events):
                self.done = True
                return
        events = decoder.close()
        if batch := list(takewhile(_goes_on, events)):
            yield batch
        self.done = len(batch) < len(events)

    def close(self) -> None:
        """Give the connection back; one whose answer was not read to its end is cut, which cancels the service."""
        if self._open:
            self._open = False
            self.replica.in_flight -= 1
            if self.response.content.is_eof():
                self.response.release()
            else:
                self.response.close()


class Endpoint:
    """POSTs to a service. Safe for many requests at once; `aclose()` when done."""

    def __init__(
        self,
        name: str,
        base_urls: Sequence[str],
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        retries: int = 0,
    ) -> None:
        self.name = name
        self._replicas = [_Replica(url, _root(url)) for url in base_urls]
        self._headers = dict(headers or {})
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, sock_read=timeout_s)
        self._retries = retries
        self._turn = 0

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        *,
        total_s: float | None = None,
    ) -> Opened:
        """Send, and return once a 2xx head has come. `total_s`: until the answer must have been read to its end.

        Raises `Unreachable`, `TimedOut`, `Dropped` or `Rejected` (any other status), each after the
        configured retries where a retry can help: 429, 5xx and connections that could not be made.
        """
        merged = CIMultiDict(headers or {})
        merged.setdefault("Content-Type", "application/json")
        merged.update(self._headers)
        target = f"{path}?{query}" if query else path
        deadline = None if total_s is None else time.monotonic() + total_s
        tried: set[str] = set()
        for attempt in range(self._retries + 1):
            replica = self._pick(tried)
            try:
                return await self._post_once(replica, target, body, merged, self._timeout_until(deadline))
            except (Unreachable, Dropped, Rejected) as error:
                wait_s = retry_wait_s(error, attempt)
                tried.add(replica.base_url)
                others = len(tried) < len(self._replicas)
                busy = isinstance(error, Rejected) and may_pass(error.status)  # for longer than may be waited
                if attempt == self._retries or (wait_s is None and not (busy and others)):
                    raise
            if not others:  # every one has had its turn: now waiting helps
                tried.clear()
                assert wait_s is not None, "raised above"
                if deadline is not None and time.monotonic() + wait_s >= deadline:
                    raise TimedOut(f"{self.name} cannot be tried again in time")
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def reachable(self, path: str = "/health") -> bool:
        """Does any replica answer a GET of `path` below 500?"""
        for replica in self._replicas:
            try:
                async with (
                    asyncio.timeout(2.0),
                    self._session(replica).get(replica.root.removesuffix("/v1") + path) as response,
                ):
                    if response.status < 500:
                        return True
            except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError):  # the last: the session is closed
                continue
        return False

    async def aclose(self) -> None:
        for replica in self._replicas:
            if replica.session is not None:
                await replica.session.close()

    async def _post_once(
        self, replica: _Replica, target: str, body: bytes, headers: CIMultiDict[str], timeout: aiohttp.ClientTimeout
    ) -> Opened:
        replica.in_flight += 1
        opened: Opened | None = None
        started = time.monotonic()
        try:
            with _Translated(self.name):
                data = body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body)
                response = await self._session(replica).post(
                    replica.root + target, data=data, headers=headers, allow_redirects=False, timeout=timeout
                )
                opened = Opened(response, replica, self.name)
                if response.status < 300:
                    opened.streamed = _streamed(response, body)
                    _recovered(replica)
                    return opened
                text = await response.read()
            if response.status >= 500:
                _set_aside(replica)
            opened.close()
            raise Rejected(f"{self.name} answered {response.status}", response.status, dict(response.headers), text)
        except BaseException as error:
            waited_s = time.monotonic() - started
            hung = isinstance(error, TimedOut) and waited_s >= min(FAIR_S, timeout.sock_read or FAIR_S)
            if hung or isinstance(error, (Unreachable, Dropped)):
                _set_aside(replica)
            if opened is None:
                replica.in_flight -= 1
            else:
                opened.close()
            raise

    def _timeout_until(self, deadline: float | None) -> aiohttp.ClientTimeout:
        usual = self._timeout
        if deadline is None:
            return usual
        left_s = max(deadline - time.monotonic(), 0.001)  # 0 would mean no limit
        return aiohttp.ClientTimeout(left_s, sock_connect=usual.sock_connect, sock_read=usual.sock_read)

    def _pick(self, tried: set[str]) -> _Replica:
        """The least busy replica that is neither set aside nor just tried, in turns among equals."""
        if len(self._replicas) == 1:
            return self._replicas[0]
        now = time.monotonic()
        self._turn += 1
        order = self._replicas[self._turn % len(self._replicas) :] + self._replicas
        fresh = [replica for replica in order if replica.base_url not in tried]
        ready = [replica for replica in fresh if replica.aside_until <= now]
        if ready:
            return min(ready, key=lambda replica: replica.in_flight)
        return min(fresh, key=lambda replica: replica.aside_until)

    def _session(self, replica: _Replica) -> aiohttp.ClientSession:
        # Made on first use: aiohttp binds a session to the running loop.
        if replica.session is None:
            connector: aiohttp.BaseConnector
            if replica.base_url.startswith("unix:"):
                connector = aiohttp.UnixConnector(
                    path=replica.base_url.removeprefix("unix:"), limit=0, keepalive_timeout=KEEPALIVE_S
                )
            else:
                connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
            replica.session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=_proxy(replica.base_url),
            )
        return replica.session


def may_pass(status: int) -> bool:
    """Can another try, or another replica, have better luck? (Also after Cloudflare's 520 to 524, Anthropic's 529.)"""
    return status == 429 or (status >= 500 and status not in NEVER_PASSES)


def retry_wait_s(error: WireError, attempt: int) -> float | None:
    """Seconds before the next try (the first is `attempt` 0), or None where another try cannot help."""
    backoff: float = 0.25 * 2**attempt * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
    if not isinstance(error, Rejected):
        return backoff if isinstance(error, (Unreachable, Dropped)) else None
    if not may_pass(error.status):
        return None
    asked = _retry_after_s(error.headers)
    if asked is None:
        return backoff
    return asked if asked <= LONGEST_WAIT_S else None


class _Translated:
    """Turns aiohttp's exceptions into ours, with the service's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, asyncio.CancelledError):
            return
        translated = translate(error, self._name)
        if translated is not None:
            raise translated from error


def translate(error: BaseException, name: str) -> WireError | None:
    """The wire error for an exception of aiohttp's, or None where it is not one."""
    if isinstance(error, (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)):
        return Unreachable(f"{name} cannot be reached")
    if isinstance(error, TimeoutError):  # aiohttp's ServerTimeoutError is one
        return TimedOut(f"{name} did not answer in time")
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.ClientResponseError, aiohttp.ContentTypeError)):
        return Malformed(f"{name} did not answer in HTTP as expected")
    if isinstance(error, (aiohttp.ClientError, ConnectionError)):
        return Dropped(f"{name} closed the connection before the answer was whole")
    if isinstance(error, OSError):
        return Unreachable(f"{name} cannot be reached")
    return None


async def json_events(opened: Opened) -> AsyncIterator[dict[str, object]]:
    """The stream's events as JSON objects. Raises `Malformed` for one that is not."""
    async for batch in opened.batches():
        for event in batch:
            yield _json(opened, event)


async def json_batches(opened: Opened) -> AsyncIterator[list[dict[str, object]]]:
    """The same, those together that have come together: under load, many pieces of text become one."""
    async for batch in opened.batches():
        yield [_json(opened, event) for event in batch]


def _json(opened: Opened, event: sse.Event) -> dict[str, object]:
    try:
        value = loads(event.data)
    except ValueError:
        raise Malformed(f"{opened.name} sent an event that is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed(f"{opened.name} sent an event that is not an object")
    return value


def _streamed(response: aiohttp.ClientResponse, body: bytes) -> bool:
    """Is it a stream of events? Where the service does not tell, it is what was asked for."""
    if response.content_type not in UNTOLD_TYPES:
        return response.content_type == "text/event-stream"
    try:
        asked = loads(body)
    except ValueError:
        return False
    return isinstance(asked, dict) and asked.get("stream") is True


def _goes_on(event: sse.Event) -> bool:
    return event.data.strip() != "[DONE]"


def _root(base_url: str) -> str:
    return "http://engine/v1" if base_url.startswith("unix:") else base_url.rstrip("/")


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this URL, looked up once and not a request."""
    parts = urlsplit(base_url)
    if parts.scheme == "unix" or not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _set_aside(replica: _Replica) -> None:
    replica.aside_until = time.monotonic() + min(LONGEST_ASIDE_S, 2.0 ** min(replica.failures, 10))
    replica.failures += 1


def _recovered(replica: _Replica) -> None:
    replica.failures = 0
    replica.aside_until = 0.0


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` as seconds from now: a number or an HTTP date (RFC 9110, 10.2.3)."""
    raw = CIMultiDict(headers).get("Retry-After", "").strip()
    if not raw:
        return None
    try:
        return max(0.0, float(raw))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(raw).timestamp() - time.time())
    except ValueError:
        return None
