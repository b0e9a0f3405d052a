"""The least that a Python proxy can be: FastAPI and aiohttp, nothing looked at. `UPSTREAM` names the base URL."""

import os
from collections.abc import AsyncIterator

import aiohttp
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

app = FastAPI(openapi_url=None)
sessions: list[aiohttp.ClientSession] = []


@app.post("/v1/chat/completions")
async def forward(request: Request) -> Response:
    if not sessions:
        sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    body = await request.body()
    url = os.environ["UPSTREAM"] + "/chat/completions"
    upstream = await sessions[0].post(url, data=body, headers={"Content-Type": "application/json"})
    if upstream.content_type != "text/event-stream":
        async with upstream:
            return Response(await upstream.read(), upstream.status, media_type="application/json")

    async def relay() -> AsyncIterator[bytes]:
        async with upstream:
            async for chunk in upstream.content.iter_any():
                yield chunk

    return StreamingResponse(relay(), media_type="text/event-stream")
