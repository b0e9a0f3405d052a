"""What every surface does alike: read a body, send an answer or an error, stop when the client goes away."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from corrector.objectives import Tenant
from gateway import spans
from gateway.admin import Admin
from gateway.audit.trail import Trail
from gateway.callers import Callers, Headers, headers_of
from gateway.errors import GatewayError, error_object
from gateway.limits import InFlight
from gateway.pipeline import Answer, Pipeline, error_event
from gateway.record import Record
from gateway.reload import Reloader
from gateway.snapshot import Snapshot
from gateway.telemetry import Metrics
from wire import sse
from wire.codec import dumps, loads
from wire.streams import kept_alive

if TYPE_CHECKING:  # OpenTelemetry is optional
    from gateway.tracing import Tracing

BODY_S = 60.0  # for a body to come; until then it keeps a place that another request could have
CLIENT_GONE = 499  # nginx's status for it: for the log only, nobody is there to read it
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # uvicorn sends no header that has one, and so no answer


@dataclass(frozen=True, slots=True)
class Context:
    """What the surfaces share."""

    reloader: Reloader
    pipeline: Pipeline
    trail: Trail
    admin: Admin
    callers: Callers
    limits: InFlight
    metrics: Metrics
    log: Any
    max_body_bytes: int
    tracing: "Tracing | None" = None


class ClientGone(Exception):
    pass


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's body. Raises `GatewayError`: 413 once it is over the limit, in bytes; 408 if it does not come."""
    try:
        async with asyncio.timeout(BODY_S):
            return await _read(receive, limit)
    except TimeoutError:
        raise GatewayError(
            408, "request_timeout", f"the body did not come within {BODY_S:g} s", headers={"Connection": "close"}
        ) from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise GatewayError(
                413, "body_too_large", f"the body is over {limit / 1e6:g} MB", headers={"Connection": "close"}
            )
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


Handle = Callable[[Snapshot, Headers, bytes, Record], Awaitable[Answer]]


async def serve(context: Context, scope: Scope, receive: Receive, send: Send, handle: Handle) -> None:
    """Run one request to its end: the only place where a failure becomes an error answer."""
    record = Record(request_id=request_id(scope))
    if context.tracing is not None:
        record.trace = spans.begin(context.tracing, scope)
    context.metrics.in_flight.inc()
    watcher: asyncio.Task[None] | None = None
    try:
        snapshot = await context.reloader.current()
        headers = headers_of(scope)
        context.callers.tenant(snapshot.config.objectives, headers)  # who may not ask takes no place
        with context.limits.place():
            body = await read_body(scope, receive, context.max_body_bytes)
            record.received_s = record.since()
            work = asyncio.current_task()
            assert work is not None
            watcher = asyncio.create_task(_cancel_when_gone(receive, work))
            answer = await _answered(handle(snapshot, headers, body, record), record, context.log)
            if answer.stream is not None:
                answer.stream = _ended_well(answer.stream, record, context.log)
            await send_answer(answer, send)
    except GatewayError as error:  # before there was work: no key, too many in flight, body too large
        await send_answer(_error_answer(error, record), send)
    except ClientGone:
        record.status, record.error = CLIENT_GONE, "client_gone"
    except asyncio.CancelledError:
        if watcher is None or not watcher.done():
            raise  # we are being shut down
        record.status, record.error = CLIENT_GONE, "client_gone"
    except OSError:
        record.status, record.error = CLIENT_GONE, "client_gone"
    finally:
        if watcher is not None:
            watcher.cancel()
        context.metrics.in_flight.dec()
        try:
            record.finish(context.metrics, context.log)
        finally:
            context.trail.settle(record)
        if record.trace is not None:
            spans.finish(record, record.trace)


async def send_answer(answer: Answer, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), _latin(value)) for name, value in answer.headers.items()]
    if answer.stream is None:
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    except BaseException:
        await _end_unbegun(answer.stream)
        raise
    await _send_stream(answer.stream, answer.heartbeat_s, send)


async def _send_stream(stream: AsyncGenerator[bytes, None], heartbeat_s: float | None, send: Send) -> None:
    async def write(chunk: bytes) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    writing = kept_alive(write, sse.HEARTBEAT, heartbeat_s) if heartbeat_s else nullcontext(write)
    try:
        async with writing as write_on:
            async for chunk in stream:
                await write_on(chunk)
        await send({"type": "http.response.body", "body": b""})
    finally:
        await stream.aclose()


async def _end_unbegun(stream: AsyncGenerator[bytes, None]) -> None:
    """End a stream of which nothing was read. `aclose()` alone would not run its `finally`, which ends the policy's."""
    beginning = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)  # it runs up to where it waits; a task that is cancelled before it runs never does
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await stream.aclose()


async def _answered(work: Awaitable[Answer], record: Record, log: Any) -> Answer:
    try:
        return await work
    except GatewayError as error:
        return _error_answer(error, record)
    except asyncio.CancelledError:
        raise
    except Exception:
        return _error_answer(unforeseen(record, log), record)


async def _ended_well(stream: AsyncGenerator[bytes, None], record: Record, log: Any) -> AsyncGenerator[bytes, None]:
    """The stream; what nobody foresaw is an `error` event at its end, not a mere cut."""
    try:
        async for chunk in stream:
            yield chunk
    except Exception:
        yield b"\n\n" + error_event(unforeseen(record, log), record)
    finally:
        await stream.aclose()


def unforeseen(record: Record, log: Any) -> GatewayError:
    """For the exception that is being handled: its inside goes to the log, and nothing of it to the client."""
    log.exception("unexpected", request_id=record.request_id)
    return GatewayError(500, "internal_error", f"internal error; request id {record.request_id}")


def _error_answer(error: GatewayError, record: Record) -> Answer:
    record.fail(error)
    headers = {"X-Request-Id": record.request_id}
    for name, value in error.headers.items():
        headers["X-Request-Id" if name.lower() == "x-request-id" else name] = value
    record.request_id = headers["X-Request-Id"]
    return Answer(error.status, {**headers, "Content-Type": "application/json"}, error.body_for(record.may_see_draft))


async def _cancel_when_gone(receive: Receive, work: asyncio.Task[Any]) -> None:
    """Once the body is read, the next message says that the client has gone (or that all has been sent)."""
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


async def json_object(request: Request, context: Context, fields: Sequence[str] | None = None) -> dict[str, Any]:
    """The body of a request that is no completion; fields other than these are refused. Raises `GatewayError`."""
    try:
        body = loads(await read_body(request.scope, request.receive, context.max_body_bytes))
    except ClientGone:
        raise GatewayError(CLIENT_GONE, "client_gone", "the body has not come whole") from None
    except ValueError as error:
        raise GatewayError(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise GatewayError(400, "invalid_request", "the body must be a JSON object")
    unknown = set(body) - set(fields if fields is not None else body)
    if unknown:
        message = f"known are {', '.join(fields or ())}, not {', '.join(sorted(map(repr, unknown)))}"
        raise GatewayError(400, "invalid_request", message)
    return body


def answer(request: Request, value: object, status: int = 200) -> Response:
    """An answer of ours in JSON, with the request's id."""
    headers = {"X-Request-Id": request_id(request.scope)}
    return Response(dumps(value), status, media_type="application/json", headers=headers)


async def calling(request: Request, context: Context) -> tuple[Snapshot, str, Tenant]:
    """What is in force, and the tenant that asks. Raises `GatewayError`."""
    snapshot = await context.reloader.current()
    return snapshot, *context.callers.tenant(snapshot.config.objectives, headers_of(request.scope))


def request_id(scope: Scope) -> str:
    """The client's own `X-Request-Id`, if it is one that can stand in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            told = value.decode("latin-1")
            if 0 < len(told) <= 128 and told.isascii() and told.isprintable():
                return str(told)
    return Record().request_id


def _latin(value: str) -> bytes:
    return _CONTROLS.sub(" ", value).encode("latin-1", "replace")


def error_body(status: int, code: str, message: str) -> bytes:
    return dumps(error_object(status, code, message))
