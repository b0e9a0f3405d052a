"""POST /v1/feedback: what a tenant's people think of an answer: was the draft better, or its correction?"""

import asyncio
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from corrector.objectives import Tenant
from corrector.redaction import redacted
from gateway.audit.entries import MAX_REQUEST_ID, storable
from gateway.audit.trail import Choice
from gateway.errors import GatewayError
from gateway.surfaces.http import Context, answer, calling, json_object

MAX_COMMENT = 2000
TRAIL_S = 10.0  # for the trail: while it does not answer, a judgement keeps a place that a request could have
FIELDS = ("request_id", "choice", "objective", "comment")


def routes(context: Context) -> list[BaseRoute]:
    async def feedback(request: Request) -> Response:
        _, name, tenant = await calling(request, context)
        with context.limits.place():
            return await judged(request, name, tenant)

    async def judged(request: Request, name: str, tenant: Tenant) -> Response:
        body = await json_object(request, context, FIELDS)
        request_id = body.get("request_id")
        if not isinstance(request_id, str) or not request_id:
            raise GatewayError(400, "invalid_feedback", "`request_id` must be that of an answer", param="request_id")
        unknown = GatewayError(404, "unknown_request", f"no answer to {request_id[:128]!r} is kept", param="request_id")
        if tenant.audit == "off":
            raise unknown
        try:
            async with asyncio.timeout(TRAIL_S), context.trail.reading() as store:
                id_ = await context.trail.settled(store, storable(request_id)[:MAX_REQUEST_ID], name)
                if id_ is None:
                    raise unknown
                await judge(store, id_, body, by="client", redact=tenant.redact)
        except TimeoutError:
            raise GatewayError(503, "audit_unavailable", "the audit trail does not answer now") from None
        return answer(request, {"object": "feedback", "request_id": request_id, "choice": body["choice"]})

    return [Route("/v1/feedback", feedback, methods=["POST"])]


async def judge(store: Any, id_: int, body: dict[str, Any], *, by: str, redact: tuple[str, ...]) -> None:
    """Keeps what the body says of the answer. Raises `GatewayError`, 404 where there is no such answer."""
    choice, objective, comment = body.get("choice"), body.get("objective"), body.get("comment")
    if choice not in get_args(Choice):
        listed = ", ".join(get_args(Choice))
        raise GatewayError(400, "invalid_feedback", f"`choice` must be one of {listed}", param="choice")
    if comment is not None and (not isinstance(comment, str) or len(comment) > MAX_COMMENT):
        message = f"`comment` must be text of at most {MAX_COMMENT} characters"
        raise GatewayError(400, "invalid_feedback", message, param="comment")
    row = await store.get(id_)
    if row is None:
        raise GatewayError(404, "unknown_request", "no such answer is kept")
    if objective is not None and objective not in row["objectives"]:
        known = ", ".join(row["objectives"]) or "none"
        raise GatewayError(400, "invalid_feedback", f"the answer's objectives are: {known}", param="objective")
    kept = redacted(storable(comment), redact) if comment else None
    await store.judge(id_, choice, by, objective, kept)
