"""The least that a Python proxy can be, in FastAPI and aiohttp. `UPSTREAM` names the base URL.

`/v1` passes an answer on, and looks at nothing. `/corrected/v1` is the least that any proxy must do that corrects: it
asks a policy for a stream, reads its text, has it rewritten by a corrector's stream, and sends what that says as the
policy's chunks. No tenants, no plan, nothing protected, no gate, no verdict.
"""

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

app = FastAPI(openapi_url=None)
sessions: list[aiohttp.ClientSession] = []


async def post(path: str, body: bytes) -> aiohttp.ClientResponse:
    if not sessions:
        sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    url = os.environ["UPSTREAM"] + path
    return await sessions[0].post(url, data=body, headers={"Content-Type": "application/json"})


@app.post("/v1/chat/completions")
async def forward(request: Request) -> Response:
    upstream = await post("/chat/completions", await request.body())
    if upstream.content_type != "text/event-stream":
        async with upstream:
            return Response(await upstream.read(), upstream.status, media_type="application/json")

    async def relay() -> AsyncIterator[bytes]:
        async with upstream:
            async for chunk in upstream.content.iter_any():
                yield chunk

    return StreamingResponse(relay(), media_type="text/event-stream")


@app.post("/corrected/v1/chat/completions")
async def correct(request: Request) -> Response:
    asked = json.loads(await request.body())
    streamed = asked["stream"]
    policy = await post("/chat/completions", json.dumps({**asked, "stream": True}).encode())
    chunks = [chunk async for chunk in _events(policy)]
    draft = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    question = asked["messages"][-1]["content"]
    prompt = f"Edit the answer. | Query: {question} | Answer: {draft} | Edit: "
    told = {"model": asked["model"], "prompt": prompt, "max_tokens": 1024, "temperature": 0, "stream": True}
    rewrite = _rewritten(await post("/completions", json.dumps(told).encode()))
    if not streamed:
        message = {"role": "assistant", "content": "".join([piece async for piece in rewrite])}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return Response(json.dumps({**chunks[-1], "choices": choices}), media_type="application/json")

    async def relay() -> AsyncIterator[bytes]:
        async for piece in rewrite:
            yield _event({**chunks[0], "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        yield _event(chunks[-1])
        yield b"data: [DONE]\n\n"

    return StreamingResponse(relay(), media_type="text/event-stream")


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    async with response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])


async def _rewritten(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for event in _events(response):
        if piece := event["choices"][0].get("text"):
            yield piece


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
