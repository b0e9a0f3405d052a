"""GET /v1/objectives: what a request of the calling tenant may choose, and what holds for it anyway."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from corrector.objectives import Objectives, Tenant
from gateway import plan
from gateway.surfaces.http import Context, answer, calling


def routes(context: Context) -> list[BaseRoute]:
    async def objectives(request: Request) -> Response:
        snapshot, name, tenant = await calling(request, context)
        return answer(request, _told(snapshot.config.objectives, name, tenant))

    return [Route("/v1/objectives", objectives)]


def _told(known: Objectives, name: str, tenant: Tenant) -> dict[str, object]:
    required, default = set(known.expand(tenant.required)), set(known.expand(tenant.objectives))
    allowed = plan.choosable(known, tenant)
    return {
        "object": "list",
        "data": [
            {
                "id": key,
                "object": "objective",
                "name": aim.name,
                "description": aim.description,
                "required": key in required,
                "default": key in default,
            }
            for key, aim in known.objectives.items()
            if key in allowed
        ],
        "sets": {name: list(keys) for name, keys in known.sets.items() if set(keys) <= allowed},
        "tenant": name,
        "mode": tenant.mode,
        "may": {
            "define": tenant.define,
            "off": tenant.allow_off and not tenant.required,
            "draft": tenant.may_see_draft,
        },
        "audit": tenant.audit,
    }
