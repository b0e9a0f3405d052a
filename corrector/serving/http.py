"""OpenAI's two completion APIs, on a Unix socket. Knows no model: `Generator` turns requests into generations."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from corrector.serving.generation import OUT_OF_MEMORY, Generation, Piece
from corrector.serving.generator import Generator
from corrector.serving.request import Chat, Completion, CompletionRequest, Refused, read
from wire import sse
from wire.codec import dumps, loads

LARGEST_BODY = 64 * 2**20
GENERATOR = web.AppKey("generator", Generator)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one of the APIs words its answers."""

    id: str
    model: str
    chat: bool

    def whole(self, text: str, finish: str | None, usage: dict[str, int]) -> dict[str, Any]:
        says = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [self._choice(says, finish)], "usage": usage}

    def chunk(self, text: str, finish: str | None) -> dict[str, Any]:
        says: dict[str, Any] = {"text": text}
        if self.chat:
            says = {"delta": {"content": text} if text else {}}
        return {**self._head(self._kind), "choices": [self._choice(says, finish)]}

    def opening(self) -> dict[str, Any]:
        says = {"delta": {"role": "assistant", "content": ""}}
        return {**self._head(self._kind), "choices": [self._choice(says, None)]}

    def closing(self, usage: dict[str, int]) -> dict[str, Any]:
        return {**self._head(self._kind), "choices": [], "usage": usage}

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.model}

    @staticmethod
    def _choice(says: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, **says, "logprobs": None, "finish_reason": finish}


async def completions(request: web.Request) -> web.StreamResponse:
    body = read(Completion, await _json(request))
    generator = request.app[GENERATOR]
    return await _answer(request, body, generator.prompt_of_text(body.prompt), body.max_tokens)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    body = read(Chat, await _json(request))
    messages = [message.model_dump() for message in body.messages]
    prompt = request.app[GENERATOR].prompt_of_messages(messages, body.chat_template_kwargs)
    return await _answer(request, body, prompt, body.max_completion_tokens or body.max_tokens)


async def models(request: web.Request) -> web.Response:
    told = {"id": request.app[GENERATOR].name, "object": "model", "created": 0, "owned_by": "transformers"}
    return _body({"object": "list", "data": [told]})


async def health(request: web.Request) -> web.Response:
    """A decoding that hangs answers nobody any more: who watches ends this process then."""
    stalled = request.app[GENERATOR].stalled()
    return _body({"status": "stalled" if stalled else "ok"}, 503 if stalled else 200)


async def _answer(
    request: web.Request, body: CompletionRequest, prompt: list[int], limit: int | None
) -> web.StreamResponse:
    generator = request.app[GENERATOR]
    pieces: asyncio.Queue[Piece] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    generation = generator.generation(
        prompt, body, limit, lambda piece: loop.call_soon_threadsafe(pieces.put_nowait, piece)
    )
    chat = isinstance(body, Chat)
    shape = Shape(f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", generator.name, chat)
    generator.submit(generation)
    try:
        if body.stream:
            return await _streamed(request, shape, generation, pieces, with_usage=body.with_usage)
        return await _whole(shape, generation, pieces)
    finally:
        generation.cancelled = True  # also where the client has gone: aiohttp cancels us then


async def _whole(shape: Shape, generation: Generation, pieces: asyncio.Queue[Piece]) -> web.Response:
    text = []
    async for piece in _until_the_last(pieces):
        if piece.failure:
            return _body(_failed(piece), 503 if piece.code == OUT_OF_MEMORY else 500)
        text.append(piece.text)
    return _body(shape.whole("".join(text), generation.finish, _usage(generation)))


async def _streamed(
    request: web.Request, shape: Shape, generation: Generation, pieces: asyncio.Queue[Piece], *, with_usage: bool
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    if shape.chat:
        await response.write(sse.encode(shape.opening()))
    async for piece in _until_the_last(pieces):
        if piece.failure:
            await response.write(sse.encode(_failed(piece)))
            return response
        await response.write(sse.encode(shape.chunk(piece.text, piece.finish)))
    if with_usage:
        await response.write(sse.encode(shape.closing(_usage(generation))))
    await response.write(sse.DONE)
    return response


async def _until_the_last(pieces: asyncio.Queue[Piece]) -> AsyncGenerator[Piece, None]:
    while True:
        piece = await pieces.get()
        yield piece
        if piece.finish or piece.failure:
            return


def _usage(generation: Generation) -> dict[str, int]:
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.generated,
        "total_tokens": generation.prompt_tokens + generation.generated,
    }


def _failed(piece: Piece) -> dict[str, Any]:
    return {"error": {"message": piece.failure, "type": "server_error", "param": None, "code": piece.code}}


async def _json(request: web.Request) -> Any:
    try:
        return loads(await request.read())
    except ValueError as error:
        raise Refused(f"this is not JSON: {error}") from None


def _body(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[no-any-return]
    except Refused as error:
        return _body(error.body(), 400)
    except web.HTTPException as error:
        return _body(Refused(error.reason or "no").body(), error.status)


def app(generator: Generator) -> web.Application:
    made = web.Application(middlewares=[_refusals], client_max_size=LARGEST_BODY)
    made[GENERATOR] = generator
    made.router.add_post("/v1/completions", completions)
    made.router.add_post("/v1/chat/completions", chat_completions)
    made.router.add_get("/v1/models", models)
    made.router.add_get("/health", health)
    return made


async def serve(generator: Generator, socket: Path) -> None:
    """Until it is cancelled."""
    runner = web.AppRunner(app(generator), handler_cancellation=True, access_log=None)
    await runner.setup()
    socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(socket)).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
