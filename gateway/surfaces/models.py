"""GET /v1/models and /v1/models/{id}: the policies that the tenant may use."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway import plan
from gateway.errors import GatewayError
from gateway.surfaces.http import Context, answer, calling


def routes(context: Context) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        snapshot, _, tenant = await calling(request, context)
        return answer(
            request, {"object": "list", "data": [_model(name) for name in plan.usable(snapshot.config, tenant)]}
        )

    async def model(request: Request) -> Response:
        """What a request may name: a policy, or one with a set of objectives, as in `smollm2@kids`."""
        snapshot, _, tenant = await calling(request, context)
        wanted = request.path_params["name"]
        try:
            plan.policy_of(snapshot.config, tenant, plan.usable(snapshot.config, tenant), wanted)
        except GatewayError as error:
            raise GatewayError(404, "model_not_found", error.message, param="model") from None
        return answer(request, _model(wanted))

    return [Route("/v1/models", models), Route("/v1/models/{name:path}", model)]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "metaaligner"}
