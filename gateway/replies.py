"""An upstream's reply, read: whole, or chunk by chunk, whichever way it was asked for and whichever way it came.

Who may not see a draft gets no field that could restate it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from gateway import exchange, report
from gateway.errors import from_wire
from gateway.exchange import ChatRequest, Json
from gateway.record import Record
from gateway.streams import Fold, as_chunks
from gateway.upstreams import Reply
from wire.codec import loads
from wire.errors import Dropped, Malformed, Reported, WireError


async def raw(reply: Reply, record: Record) -> bytes:
    """The body, not looked into. Raises `GatewayError`."""
    try:
        return await reply.read()
    except WireError as error:
        raise from_wire(error) from error
    finally:
        record.policy_s = record.since()
        reply.close()


async def whole(reply: Reply, record: Record) -> Json:
    """The reply as one object, also of an upstream that streams unasked. Raises `GatewayError`."""
    try:
        body = await _folded(reply) if reply.streamed else _answer(await reply.read())
    except WireError as error:
        raise from_wire(error) from error
    finally:
        record.policy_s = record.since()
        reply.close()
    report.note_usage(record, body)
    return body if record.may_see_draft else exchange.only_known(body)


async def events(reply: Reply, request: ChatRequest, record: Record) -> AsyncGenerator[Json, None]:
    """The reply as chunks, also of an upstream that cannot stream. Raises `WireError`."""
    if reply.streamed:
        chunks = _checked(reply)
    else:
        chunks = _each(as_chunks(_answer(await reply.read()), include_usage=request.include_usage))
    async for chunk in chunks:
        report.note_usage(record, chunk)
        yield chunk if record.may_see_draft else exchange.only_known(chunk)


async def _each(chunks: Iterator[Json]) -> AsyncIterator[Json]:
    for chunk in chunks:
        yield chunk


async def _checked(reply: Reply) -> AsyncIterator[Json]:
    spoken = misplaced = False
    async for event in reply.events():
        if event.get("error"):
            raise Reported("the policy reported an error in its stream", event)
        chunk = exchange.check(event, "delta")
        spoken |= any(choice.get("delta") for choice in chunk.get("choices") or ())
        misplaced |= chunk is not event
        yield chunk
    if misplaced and not spoken:
        raise Malformed("the policy's stream has its text in `message`, and nothing in `delta`")


async def _folded(reply: Reply) -> Json:
    fold = Fold()
    async for event in _checked(reply):
        fold.take(event)
    body = fold.reply()
    ends = [bool(choice.get("finish_reason")) for choice in body["choices"]]
    if not fold.answered or not (reply.done or (ends and all(ends))):
        raise Dropped("the policy's stream ended before its answer did")
    return body


def _answer(body: bytes) -> Json:
    """An unstreamed answer. Raises `Reported` for an error that came with a status of success, and `Malformed`."""
    try:
        answer = loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Malformed("the policy did not answer with a JSON object")
    if answer.get("error"):
        raise Reported("the policy reported an error", answer)
    if answer.get("choices") is None:
        raise Malformed("the policy's answer has no choices")
    checked = exchange.check(answer, "message")
    if checked is not answer and not any(choice.get("message") for choice in checked["choices"]):
        raise Malformed("the policy's answer has its text in `delta`, and nothing in `message`")
    return checked
