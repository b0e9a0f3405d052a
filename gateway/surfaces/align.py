"""POST /v1/align: corrects a draft that is there already, under the tenant's plan; no policy is asked."""

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway import exchange
from gateway.callers import Headers
from gateway.errors import GatewayError
from gateway.pipeline import Answer
from gateway.record import Record
from gateway.snapshot import Snapshot
from gateway.surfaces.http import Context, serve


def routes(context: Context) -> list[BaseRoute]:
    return [Route("/v1/align", Align(context), methods=["POST"])]


class Align:
    """An ASGI endpoint: a request is `/v1/chat/completions`' own, with a `draft` beside its messages."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def handle(snapshot: Snapshot, headers: Headers, body: bytes, record: Record) -> Answer:
            request = exchange.parse(body, headers, scope["query_string"].decode("latin-1"))
            draft = request.body.pop("draft", None)
            if not isinstance(draft, str):
                raise GatewayError(400, "missing_draft", "`draft` must be the text to correct", param="draft")
            if request.stream:
                raise GatewayError(400, "invalid_stream", "/v1/align answers in one piece", param="stream")
            return await self._context.pipeline.align(snapshot, request, draft, record)

        await serve(self._context, scope, receive, send, handle)
