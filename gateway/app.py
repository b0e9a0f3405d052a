"""The composition root: configuration, engines and surfaces become one ASGI application."""

import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from corrector.supervisor import Supervisor
from gateway import spans
from gateway.admin import Admin
from gateway.audit.trail import FLUSH_S, Trail
from gateway.callers import Callers
from gateway.config import ServerOptions
from gateway.errors import GatewayError
from gateway.limits import InFlight
from gateway.pipeline import Pipeline
from gateway.record import Record
from gateway.reload import Reloader
from gateway.shadows import Shadows
from gateway.surfaces import (
    align,
    chat,
    console,
    console_admin,
    console_objectives,
    feedback,
    health,
    models,
    objectives,
)
from gateway.surfaces.http import Context, error_body, request_id, unforeseen
from gateway.telemetry import Metrics

SURFACES = (chat, align, models, objectives, feedback, health, console, console_admin, console_objectives)
# FastAPI would tell a collector of its own: every request a second time, and with bodies in it.
UNTOLD: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

CHAT = "/v1/chat/completions"
# What clients ask for in its stead; also the path with a slash, which the router's redirect would send to http://.
UNSERVED = (CHAT, "/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

EXPOSED = (
    "X-Request-Id",
    "X-Align-Verdict",
    "X-Align-Reason",
    "X-Align-Objectives",
    "X-Align-Corrector",
    "X-Align-Overhead-Ms",
    "Retry-After",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """`run_dir` holds the engines' sockets. `own_engines` is False where another process runs them.

    `anonymous` allows a tenant that needs no key; `anywhere` says that it is not for this machine alone.
    """

    policies: Path
    objectives: Path
    run_dir: Path
    server: ServerOptions
    own_engines: bool = True
    anonymous: bool = True
    anywhere: bool = False


def create_app(settings: Settings, log: Any = None) -> FastAPI:
    log = log or structlog.get_logger()
    metrics = Metrics()
    supervisor = Supervisor(settings.run_dir, log.warning, log.info) if settings.own_engines else None
    reloader = Reloader(
        settings.policies, settings.objectives, settings.run_dir, supervisor, metrics, log, anonymous=settings.anonymous
    )
    tracing = spans.tracing(log)
    trail = Trail(settings.server.audit, metrics, log)
    shadows = Shadows(metrics, trail, log)
    pipeline = Pipeline(shadows, log)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await reloader.start()
            async with trail.purging(lambda: reloader.snapshot.config.objectives.tenants):
                yield
            await shadows.drain(settings.server.drain_s)
        finally:
            await reloader.aclose()
            await trail.aclose(max(settings.server.drain_s, FLUSH_S))
            if tracing is not None:
                await tracing.aclose()

    app = FastAPI(
        title="metaaligner-gateway",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=UNTOLD,
    )
    app.state.reloader = reloader
    app.state.supervisor = supervisor
    app.state.trail = trail
    context = Context(
        reloader,
        pipeline,
        trail,
        Admin.of_environment(),
        Callers(settings.server.cors_origins, settings.anywhere),
        InFlight(settings.server.max_in_flight),
        metrics,
        log,
        int(settings.server.max_body_mb * 1_000_000),
        tracing=tracing,
    )
    for surface in SURFACES:
        app.router.routes.extend(surface.routes(context))
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, functools.partial(_unforeseen, log=log))
    if settings.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.server.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    return app


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    headers = {"X-Request-Id": request_id(request.scope), **error.headers}
    return Response(error.body, error.status, headers, media_type="application/json")


async def _unforeseen(request: Request, error: Exception, *, log: Any) -> Response:
    record = Record(request_id=request_id(request.scope))
    failure = unforeseen(record, log)
    return Response(failure.body, failure.status, {"X-Request-Id": record.request_id}, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says (no such path, wrong method), in OpenAI's form."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail = error.detail
    if error.status_code == 404 and request.url.path.rstrip("/") in UNSERVED:
        detail = f"not served here; POST {CHAT} is"
    body = error_body(error.status_code, code, f"{request.method} {request.url.path}: {detail}")
    headers = {**(error.headers or {}), "X-Request-Id": request_id(request.scope)}
    return Response(body, error.status_code, headers, media_type="application/json")
