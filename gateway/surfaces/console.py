"""/console: the page, and what anybody who may call the gateway may ask it. The rest is `console_admin.py`'s."""

import asyncio
import hashlib
import mimetypes
from importlib.metadata import version
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway import worddiff
from gateway.errors import GatewayError
from gateway.surfaces.http import Context, answer, calling, json_object

WEB = Path(__file__).parent.parent / "web"
MAX_DIFF_CHARS = 400_000
# Nothing but the page's own files is loaded or run, whatever a model says; and nobody frames it.
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(context: Context) -> list[BaseRoute]:
    files = {path.name: path.read_bytes() for path in WEB.iterdir() if path.is_file()}

    def file(request: Request, name: str) -> Response:
        if name not in files:
            raise GatewayError(404, "not_found", f"GET {request.url.path}: Not Found")
        tag = f'"{hashlib.sha256(files[name]).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={**_SAFE, "ETag": tag})
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(files[name], media_type=kind, headers={**_SAFE, "ETag": tag})

    async def root(request: Request) -> Response:
        return RedirectResponse("console")  # relative: a proxy may put a path before it

    async def slash(request: Request) -> Response:
        return RedirectResponse("../console")  # before the router's own does it, by what is said of host and scheme

    async def page(request: Request) -> Response:
        return file(request, "index.html")

    async def static(request: Request) -> Response:
        return file(request, request.path_params["name"])

    async def about(request: Request) -> Response:
        told = {"version": version("metaaligner-gateway"), "admin": context.admin.state}
        return answer(request, told)

    async def diff(request: Request) -> Response:
        await calling(request, context)
        with context.limits.place():
            body = await json_object(request, context, ("before", "after"))
            before, after = body.get("before"), body.get("after")
            if not isinstance(before, str) or not isinstance(after, str):
                raise GatewayError(400, "invalid_request", "`before` and `after` must be texts")
            if len(before) + len(after) > MAX_DIFF_CHARS:
                raise GatewayError(413, "body_too_large", f"at most {MAX_DIFF_CHARS} characters can be compared")
            return answer(request, await compared(before, after))

    return [
        Route("/", root),
        Route("/console", page),
        Route("/console/", slash),
        Route("/console/static/{name}", static),
        Route("/console/api/about", about),
        Route("/console/api/diff", diff, methods=["POST"]),
    ]


async def compared(before: str, after: str) -> dict[str, object]:
    """The words that were changed, and how much that is."""
    told = await asyncio.to_thread(worddiff.diff, before, after)
    return {"diff": told, "changed": worddiff.changed(before, after)}
