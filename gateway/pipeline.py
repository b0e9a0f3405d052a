"""One request, top to bottom.

    chat
      authenticate, resolve      who calls, and what is to be done with the answer      (plan.py)
      _ask                       the policy or a fallback; its corrector may go ahead   (upstreams/)
      _stream                    kept alive; where the policy takes long, begun before it
      _pass                      nothing to correct: bytes as they come
      _shadow                    the draft goes out, its correction is only recorded     (shadows.py)
      _correct_reply             one JSON body, its texts corrected                     (corrector/)
      _correct_stream            chunks; the text held back, corrected, streamed on     (corrections.py)
    align                        a draft that is there already: no policy is asked

Each step gets what it needs as an argument, from one snapshot taken at the start.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from corrector.correction import Correction
from corrector.corrector import Corrector
from gateway import corrections, exchange, plan, replies, report, spans
from gateway.citations import moved
from gateway.corrections import LiveDraft, Spoken
from gateway.errors import GatewayError, from_wire
from gateway.exchange import ChatRequest, Json, ThinkingSplit
from gateway.plan import Plan
from gateway.record import Record
from gateway.shadows import Shadows
from gateway.snapshot import Snapshot
from gateway.streams import HeldStream
from gateway.upstreams import Reply
from wire import sse
from wire.codec import dumps
from wire.errors import Rejected, WireError

PATIENCE_BEATS = 3  # so long a stream waits for its policy's head, whose status it then has; after that it begins

# Skipped by configuration or by wish: such an answer is relayed byte for byte, its verdict in the headers only.
_UNSEEN = ("mode_off", "no_corrector")
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True)
class Answer:
    """What a surface sends: a body, or a stream of bytes that must be closed.

    With `heartbeat_s`, a comment whenever nothing has been sent for so long: the stream's chunks are whole events.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    heartbeat_s: float | None = None


class Pipeline:
    """Stateless: all that it needs comes with the request."""

    def __init__(self, shadows: Shadows, log: Any) -> None:
        self._shadows = shadows
        self._log = log

    async def chat(self, snapshot: Snapshot, request: ChatRequest, record: Record) -> Answer:
        """Answer one chat completion. Raises `GatewayError`."""
        todo = self._resolve(snapshot, request, record)
        request = replace(request, salt=todo.salt)
        if record.trace is not None:
            request = spans.planned(request, record.trace, todo, snapshot.config)
        if request.stream and todo.skip not in _UNSEEN:  # in those, a beat could fall into the midst of an event
            return await self._stream(snapshot, todo, request, record)
        reply = await self._ask(snapshot, todo, request, record)
        return await self._answer(reply, snapshot, todo, request, record)

    def _resolve(self, snapshot: Snapshot, request: ChatRequest, record: Record) -> Plan:
        """Who calls, and what is to be done. Raises `GatewayError`."""
        name, tenant = plan.authenticate(snapshot.config.objectives, request.headers)
        record.tenant, record.rules, record.configuration = name, tenant, snapshot.config.digest
        record.asked = request
        record.todo = todo = plan.resolve(snapshot.config, name, tenant, request, record.request_id)
        record.policy, record.mode, record.stream = todo.policy, todo.mode, request.stream
        return todo

    async def align(self, snapshot: Snapshot, request: ChatRequest, draft: str, record: Record) -> Answer:
        """A draft that is there already, corrected as this request's answer would be. Raises `GatewayError`."""
        todo = self._resolve(snapshot, request, record)
        if todo.mode == "shadow":  # who asks for a correction is not to be sent his draft
            todo = replace(todo, mode="full")
            record.mode = todo.mode
        thinking, draft = corrections.draft_of(draft, todo)
        if todo.skip is not None:
            correction = Correction(draft, "skipped", todo.skip)
        else:
            record.corrector = todo.corrector
            if record.trace is not None:
                request = spans.planned(request, record.trace, todo, snapshot.config)
            [correction] = await corrections.of_drafts([draft], todo, snapshot.correctors[todo.corrector], request)
        record.drafts, record.corrections = {0: draft}, {0: correction}
        report.note(record)
        record.status = 200
        shown = correction.text if todo.drops_thinking else thinking + correction.text
        answer = {"text": shown, "verdict": correction.verdict, "reason": correction.reason}
        body = dumps({**answer, "align": report.align(todo, record, [correction], [draft])})
        headers = {**report.headers({}, todo, record), **report.verdict_headers(record)}
        headers |= {"Content-Type": "application/json", **report.overhead_header(record)}
        return Answer(200, headers, body)

    async def _ask(self, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record) -> Reply:
        """The first of the plan's policies that answers; meanwhile its corrector may begin with what is there already.

        Raises `GatewayError` with the first one's failure.
        """
        if todo.skip is None and todo.mode != "shadow" and snapshot.correctors[todo.corrector].goes_ahead:
            record.ahead = snapshot.correctors[todo.corrector].ahead(corrections.task(request, todo, ""))
        failure: WireError | None = None
        record.asked_s = record.since()
        for name in todo.policies:
            asked = request if record.trace is None else spans.asking(request, record.trace, name, snapshot.config)
            try:
                reply = await snapshot.upstreams[name].ask(asked)
            except WireError as error:
                failure = failure or error
                if record.trace is not None:
                    spans.failed(record.trace, error)
                if isinstance(error, Rejected) and error.of_the_request:
                    break  # another policy would say so too
                self._log.warning("policy.failed", policy=name, request_id=record.request_id, error=str(error))
                continue
            record.served_by = name
            record.policy_ttft_s = record.since()
            if (request_id := reply.headers.get("x-request-id")) and not record.id_is_sent:
                record.request_id = request_id
            return reply
        assert failure is not None, "a plan has a policy"
        record.policy_s = record.since()
        raise from_wire(failure) from failure

    async def _stream(self, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record) -> Answer:
        """A stream that is kept alive: with its policy's status if that comes in time, else begun before it."""
        heartbeat_s = snapshot.config.server.heartbeat_s
        asking = asyncio.create_task(self._ask(snapshot, todo, request, record))
        try:
            await asyncio.wait({asking}, timeout=PATIENCE_BEATS * heartbeat_s)
        except asyncio.CancelledError:
            _abandon(asking)
            raise
        if asking.done():
            answer = await self._answer(asking.result(), snapshot, todo, request, record)
        else:
            headers = {**_STREAM_HEADERS, **report.headers({}, todo, record)}
            record.id_is_sent = True
            answer = Answer(200, headers, stream=self._late(asking, snapshot, todo, request, record))
        assert answer.stream is not None, "a stream was asked for"
        answer.heartbeat_s = heartbeat_s
        return answer

    async def _late(
        self, asking: asyncio.Task[Reply], snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record
    ) -> AsyncGenerator[bytes, None]:
        """The stream of a policy that let its client wait: what fails now can be told as an event only."""
        try:
            answer = await self._answer(await asking, snapshot, todo, request, record)
        except asyncio.CancelledError:
            _abandon(asking)
            raise
        except GatewayError as error:
            yield error_event(error, record)
            return
        assert answer.stream is not None, "a stream was asked for"
        async with aclosing(answer.stream) as stream:
            async for chunk in stream:
                yield chunk

    async def _answer(
        self, reply: Reply, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record
    ) -> Answer:
        """What is done with the policy's reply: the plan has decided."""
        if todo.skip is not None:
            return await self._pass(reply, todo, request, record)
        corrector = snapshot.correctors[todo.corrector]
        record.corrector = todo.corrector
        if todo.mode == "shadow":
            return await self._shadow(reply, snapshot, todo, request, record)
        if not request.stream:
            return await self._correct_reply(reply, todo, corrector, request, record)
        record.status = 200
        headers = {**_STREAM_HEADERS, **report.headers(reply.headers, todo, record)}
        return Answer(200, headers, stream=self._correct_stream(reply, todo, corrector, request, record))

    async def _pass(self, reply: Reply, todo: Plan, request: ChatRequest, record: Record) -> Answer:
        """The policy's answer as it is. Where alignment is off, its bytes are not looked into."""
        assert todo.skip is not None
        record.verdict, record.reason, record.status = "skipped", todo.skip, 200
        headers = {**report.headers(reply.headers, todo, record), **report.verdict_headers(record)}
        as_asked = reply.streamed == record.stream
        unseen = as_asked and todo.skip in _UNSEEN and not todo.drops_thinking
        if record.stream:
            held = HeldStream()
            stream = (
                self._relay(reply, record) if unseen else self._relay_with_align(reply, todo, request, record, held)
            )
            return Answer(200, {**_STREAM_HEADERS, **headers}, stream=stream)
        if unseen:
            body = await replies.raw(reply, record)
            headers["Content-Type"] = reply.headers.get("content-type", "application/json")
            if record.keeps_texts:
                record.unread.append(body)
        else:
            whole_body = await replies.whole(reply, record)
            uncorrected = _uncorrected(whole_body, todo, record)
            record.drafts = _drafts(exchange.texts(uncorrected), todo)
            body = dumps(uncorrected)
            headers["Content-Type"] = "application/json"
        return Answer(200, {**headers, **report.overhead_header(record)}, body)

    async def _relay(self, reply: Reply, record: Record) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in reply.relay():
                if record.keeps_texts:
                    record.unread.append(chunk)
                yield chunk
        except WireError as error:
            yield b"\n\n" + error_event(from_wire(error), record)
        finally:
            record.policy_s = record.since()
            reply.close()

    async def _relay_with_align(
        self, reply: Reply, todo: Plan, request: ChatRequest, record: Record, held: HeldStream
    ) -> AsyncGenerator[bytes, None]:
        """The policy's chunks, with `align` in those that carry a `finish_reason`. `held` learns the text."""
        splits: dict[int, ThinkingSplit] = {}
        try:
            async with aclosing(replies.events(reply, request, record)) as events:
                async for event in events:
                    held.take(event)
                    yield sse.encode(_uncorrected_chunk(event, todo, record, splits))
            for choice in held.end(done=reply.done or not reply.streamed):
                event = {**choice.finish_event, "choices": [choice.finish]}
                yield sse.encode(_uncorrected_chunk(event, todo, record, splits, last=True))
            yield sse.DONE
        except WireError as error:
            yield error_event(from_wire(error), record)
        finally:
            record.policy_s = record.since()
            record.drafts = _drafts({index: choice.text for index, choice in held.choices.items()}, todo)
            reply.close()

    async def _shadow(
        self, reply: Reply, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record
    ) -> Answer:
        """The draft as it is; what its correction would have been goes to the log and the metrics."""
        record.verdict, record.reason, record.status = "skipped", "shadow", 200
        headers = {**report.headers(reply.headers, todo, record), **report.verdict_headers(record)}
        if request.stream:
            stream = self._shadow_stream(reply, snapshot, todo, request, record)
            return Answer(200, {**_STREAM_HEADERS, **headers}, stream=stream)
        body = await replies.whole(reply, record)
        record.drafts = _drafts(exchange.texts(body), todo)
        self._shadows.begin(snapshot, todo, request, record)
        headers |= {"Content-Type": "application/json", **report.overhead_header(record)}
        return Answer(200, headers, dumps(_uncorrected(body, todo, record)))

    async def _shadow_stream(
        self, reply: Reply, snapshot: Snapshot, todo: Plan, request: ChatRequest, record: Record
    ) -> AsyncGenerator[bytes, None]:
        held = HeldStream()
        async with aclosing(self._relay_with_align(reply, todo, request, record, held)) as chunks:
            async for chunk in chunks:
                yield chunk
        if record.error is None:
            self._shadows.begin(snapshot, todo, request, record)

    async def _correct_reply(
        self, reply: Reply, todo: Plan, corrector: Corrector, request: ChatRequest, record: Record
    ) -> Answer:
        """The policy's body with its texts corrected, and `align` beside them."""
        body = await replies.whole(reply, record)
        choices: list[Json] = body["choices"]
        drafts = [corrections.draft_of(exchange.message_text(choice.get("message") or {}), todo) for choice in choices]
        if record.ahead is not None:
            await record.ahead.finish()
        made = await corrections.of_drafts([draft for _, draft in drafts], todo, corrector, request)
        for choice, (thinking, draft), correction in zip(choices, drafts, made, strict=True):
            message = choice.get("message") or {}
            if todo.drops_thinking:
                exchange.drop_reasoning(message)
            corrections.name_skip(correction, bool(message.get("tool_calls") or message.get("function_call")))
            shown = correction.text if todo.drops_thinking else thinking + correction.text
            if shown != thinking + draft:
                if message.get("annotations"):
                    message["annotations"] = moved(message["annotations"], thinking + draft, shown)
                exchange.set_text(message, shown)
            if shown != thinking + draft or todo.drops_thinking:
                exchange.drop_logprobs(choice)
        record.drafts = {index: draft for index, (_, draft) in enumerate(drafts)}
        record.corrections = dict(enumerate(made))
        report.note(record)
        body["align"] = report.align(todo, record, made, list(record.drafts.values()))
        record.status = 200
        headers = {**report.headers(reply.headers, todo, record), **report.verdict_headers(record)}
        headers |= report.overhead_header(record)
        return Answer(200, {**headers, "Content-Type": "application/json"}, dumps(body))

    async def _correct_stream(
        self, reply: Reply, todo: Plan, corrector: Corrector, request: ChatRequest, record: Record
    ) -> AsyncGenerator[bytes, None]:
        """Everything but text passes at once; text comes corrected; ends, usage and `[DONE]` come last."""
        held = HeldStream(drop_reasoning=todo.drops_thinking)
        correct = corrections.by_segments if todo.mode == "segment" else corrections.as_a_whole
        try:
            async with (
                aclosing(self._hold(held, reply, todo, request, record)) as taken,
                aclosing(correct(taken, held, todo, corrector, request)) as chunks,
            ):
                async for chunk in chunks:
                    if isinstance(chunk, Spoken):
                        record.drafts[chunk.choice.index] = chunk.draft
                        record.corrections[chunk.choice.index] = chunk.correction
                        report.note(record)
                        align = report.align(todo, record, [chunk.correction], [chunk.draft])
                        end = corrections.end_of(chunk, todo)
                        yield sse.encode({**chunk.choice.finish_event, "choices": [end], "align": align})
                    else:
                        yield sse.encode(chunk)
            report.note(record)  # also of an answer without a choice
            for event in held.usage_events:
                yield sse.encode(event)
            yield sse.DONE
        except WireError as error:
            yield error_event(from_wire(error), record)
        except GatewayError as error:
            yield error_event(error, record)
        finally:
            record.policy_s = record.policy_s or record.since()
            unspoken = {index: choice.text for index, choice in held.choices.items() if index not in record.drafts}
            record.drafts |= _drafts(unspoken, todo)  # whoever hung up has read some of it
            reply.close()

    async def _hold(
        self, held: HeldStream, reply: Reply, todo: Plan, request: ChatRequest, record: Record
    ) -> AsyncGenerator[Json | None, None]:
        """Of each of the policy's chunks what may pass at once; `held` has its text. Raises `WireError`."""
        live = LiveDraft(held, todo)
        async with aclosing(replies.events(reply, request, record)) as events:
            async for event in events:
                yield held.take(event)
                if todo.live_draft:
                    for chunk in live.chunks(event):
                        yield chunk
                if record.ahead is not None and todo.mode == "full" and record.ahead.due and 0 in held.choices:
                    record.ahead.grow(corrections.draft_of(held.choices[0].text, todo)[1])
        record.policy_s = record.since()
        if record.ahead is not None and todo.mode == "full":
            await record.ahead.finish()
        held.end(done=reply.done or not reply.streamed)


def _uncorrected(answer: Json, todo: Plan, record: Record) -> Json:
    """A whole answer as the policy gave it, but for thinking that is dropped; with `align`."""
    for choice in answer["choices"] if todo.drops_thinking else ():
        exchange.drop_thinking(choice)
    return {**answer, "align": report.align(todo, record, [], [])}


def _uncorrected_chunk(
    chunk: Json, todo: Plan, record: Record, splits: dict[int, ThinkingSplit], *, last: bool = False
) -> Json:
    """The same of a stream's chunk, with `align` where a choice ends. `splits`: what is held back of each choice.

    `last`: no more will come of its choices, whether or not they say that they end.
    """
    choices = chunk.get("choices") or ()
    for choice in choices if todo.drops_thinking else ():
        splits.setdefault(choice.get("index", 0), ThinkingSplit(waits=True)).drop(choice, last=last)
    ends = last or any(choice.get("finish_reason") for choice in choices)
    return {**chunk, "align": report.align(todo, record, [], [])} if ends else chunk


def _abandon(asking: asyncio.Task[Reply]) -> None:
    """Nobody waits any more: neither for the policy, nor for the reply that it may have just given."""
    if not asking.cancel() and not asking.cancelled() and asking.exception() is None:
        asking.result().close()


def _drafts(texts: dict[int, str], todo: Plan) -> dict[int, str]:
    return {index: corrections.draft_of(text, todo)[1] for index, text in texts.items()}


def error_event(error: GatewayError, record: Record) -> bytes:
    """The end of a stream that failed: an `error` event, and no `[DONE]` after it."""
    record.fail(error)
    return b"data: " + b" ".join(error.body_for(record.may_see_draft).splitlines()) + b"\n\n"
