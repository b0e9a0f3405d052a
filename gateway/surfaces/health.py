"""/healthz (this process lives), /readyz (it can answer: engines and configuration), /metrics (Prometheus)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.snapshot import Snapshot
from gateway.surfaces.http import Context
from wire.codec import dumps

# A hosted policy may be away without this gateway being at fault, and others answer. Without its corrector, wherever
# that runs, a gateway has nothing to promise.
OWN = "local"


def routes(context: Context) -> list[BaseRoute]:
    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        told = await engines(context.reloader.snapshot)
        ready = "down" not in told.values()
        said = {
            "status": "ready" if ready else "not ready",
            "engines": told,
            # Anybody may ask: what is wrong with it stands in the log.
            "configuration": "in force" if context.reloader.last_error is None else "rejected",
        }
        return Response(dumps(said), status_code=200 if ready else 503, media_type="application/json")

    async def metrics(request: Request) -> Response:
        return Response(context.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def engines(snapshot: Snapshot) -> dict[str, str]:
    """`up` or `down`, of each policy that runs here and each corrector."""
    names = [name for name, policy in snapshot.config.policies.items() if policy.kind == OWN]
    checks = {f"policy {name}": snapshot.upstreams[name].reachable() for name in names}
    checks |= {f"corrector {name}": corrector.reachable() for name, corrector in snapshot.correctors.items()}
    up = await asyncio.gather(*checks.values())
    return {name: "up" if fine else "down" for name, fine in zip(checks, up, strict=True)}
