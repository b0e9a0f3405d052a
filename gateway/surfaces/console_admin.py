"""/console/api, for admins: what is going on, and the audit trail."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.audit.entries import storable
from gateway.audit.search import Wanted
from gateway.errors import GatewayError
from gateway.figures import figures
from gateway.surfaces import health
from gateway.surfaces.console import MAX_DIFF_CHARS, compared
from gateway.surfaces.feedback import judge
from gateway.surfaces.http import Context, answer, json_object

MAX_ROWS = 200
FILTERS = ("tenant", "policy", "verdict", "mode", "q")

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(context: Context) -> list[BaseRoute]:
    async def live(request: Request) -> Response:
        told = await asyncio.to_thread(figures, context.metrics)
        told["reloads"]["last"] = list(context.reloader.history)
        told["engines"] = await health.engines(context.reloader.snapshot)
        told["audit"]["queued"] = context.trail.queued
        return answer(request, told)

    async def rows(request: Request) -> Response:
        wanted = _wanted(request)
        await context.trail.flush()
        async with context.trail.reading() as store:
            found = await store.search(replace(wanted, limit=wanted.limit + 1))
            names = await store.names()
        page = found[: wanted.limit]
        following = page[-1]["id"] if len(found) > len(page) else None
        return answer(request, {"rows": [_plain(row) for row in page], "next": following, **names})

    async def row(request: Request) -> Response:
        async with context.trail.reading() as store:
            found = await store.get(_id(request))
        if found is None:
            raise GatewayError(404, "not_found", "no such answer is kept")
        for choice in found["choices"]:
            choice["index"] = choice.pop("choice")
            after = choice["correction"]
            if after is not None and len(choice["draft"]) + len(after) <= MAX_DIFF_CHARS:
                choice |= await compared(choice["draft"], after)
        return answer(request, _plain(found))

    async def feedback(request: Request) -> Response:
        id_ = _id(request)
        body = await json_object(request, context, ("choice", "objective", "comment"))
        tenants = context.reloader.snapshot.config.objectives.tenants
        async with context.trail.reading() as store:
            found = await store.get(id_)
            tenant = tenants.get(found["tenant"]) if found is not None else None
            await judge(store, id_, body, by="console", redact=tenant.redact if tenant is not None else ())
            found = await store.get(id_)
        return answer(request, _plain({"feedback": found["feedback"] if found is not None else []}))

    async def compare(request: Request) -> Response:
        await context.trail.flush()
        async with context.trail.reading() as store:
            arms = await store.compare(request.query_params.get("tenant") or None)
        return answer(request, {"arms": arms})

    return [
        Route("/console/api/live", admitted(context, live)),
        Route("/console/api/audit", admitted(context, rows)),
        Route("/console/api/audit/compare", admitted(context, compare)),
        Route("/console/api/audit/{id:int}", admitted(context, row)),
        Route("/console/api/audit/{id:int}/feedback", admitted(context, feedback), methods=["POST"]),
    ]


def admitted(context: Context, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for admins only."""

    async def guarded(request: Request) -> Response:
        context.admin.admit(request)
        return await endpoint(request)

    return guarded


def _id(request: Request) -> int:
    return min(int(request.path_params["id"]), 2**63 - 1)


def _wanted(request: Request) -> Wanted:
    told = request.query_params
    filters: dict[str, Any] = {name: storable(told[name]) for name in FILTERS if told.get(name)}
    for name in ("since", "until"):
        if told.get(name):
            try:
                moment = datetime.fromisoformat(told[name])
            except ValueError:
                raise GatewayError(400, "invalid_request", f"{name} must be a time in ISO 8601", param=name) from None
            filters[name] = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    for name, most in (("before", 2**63 - 1), ("limit", MAX_ROWS)):
        if told.get(name):
            if not told[name].isdecimal() or int(told[name]) < 1:
                raise GatewayError(400, "invalid_request", f"{name} must be a number from 1", param=name)
            filters[name] = min(int(told[name]), most)
    return Wanted(**filters)


def _plain(value: Any) -> Any:
    """As JSON can say it: times in ISO 8601."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
