"""GET /v1/models and /v1/models/{id}: the policies that the tenant may use."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway import plan
from gateway.errors import GatewayError
from gateway.surfaces.http import Context, answer, calling


def routes(context: Context) -> list[BaseRoute]:
    async def allowed(request: Request) -> list[str]:
        snapshot, _, tenant = await calling(request, context)
        return plan.usable(snapshot.config, tenant)

    async def models(request: Request) -> Response:
        return answer(request, {"object": "list", "data": [_model(name) for name in await allowed(request)]})

    async def model(request: Request) -> Response:
        wanted = request.path_params["name"]
        names = await allowed(request)
        if wanted not in names:
            message = f"no model {wanted!r} here; there are: {', '.join(names) or 'none'}"
            raise GatewayError(404, "model_not_found", message, param="model")
        return answer(request, _model(wanted))

    return [Route("/v1/models", models), Route("/v1/models/{name:path}", model)]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "metaaligner"}
