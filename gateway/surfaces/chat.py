"""POST /v1/chat/completions: OpenAI's chat API, streamed or not."""

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway import exchange
from gateway.callers import Headers
from gateway.pipeline import Answer
from gateway.record import Record
from gateway.snapshot import Snapshot
from gateway.surfaces.http import Context, serve


def routes(context: Context) -> list[BaseRoute]:
    return [Route("/v1/chat/completions", ChatCompletions(context), methods=["POST"])]


class ChatCompletions:
    """An ASGI endpoint of its own: between the socket and the pipeline stands nothing that costs time."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def handle(snapshot: Snapshot, headers: Headers, body: bytes, record: Record) -> Answer:
            request = exchange.parse(body, headers, scope["query_string"].decode("latin-1"))
            return await self._context.pipeline.chat(snapshot, request, record)

        await serve(self._context, scope, receive, send, handle)
