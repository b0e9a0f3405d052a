"""A policy and a corrector that answer at once, on loopback: `python -m bench.upstream`. Prints its port.

Their stream has the shape of OpenAI's: 31 events of 264 bytes, 8 KiB, then `[DONE]`. `loopback` sends it in one piece,
so that a proxy's own work is all there is; `trickling` sends event by event, as tokens come in reality.
"""

import asyncio
import json
from typing import Any

import uvloop
from aiohttp import web

ANSWER = (
    "Boil fresh water, and warm the pot with a little of it. Add one spoon of leaves for each cup, pour the water on, "
    "and let it stand for four minutes. Green tea wants less: eighty degrees and two minutes, or it turns bitter. Pour "
    "it through a strainer into warm cups. Milk goes in last, if at all; a slice of lemon is good with black tea. What "
    "is left in the pot is better poured off than kept warm."
)
REWRITTEN = ANSWER.replace("let it stand", "leave it to stand")
EVENTS = 31
EVENT_BYTES = 264
GAP_S = 0.01  # between the events of what trickles


def reply() -> bytes:
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 90, "total_tokens": 110}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "loopback"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


def events(kind: str, text: str) -> list[bytes]:
    """One answer as server-sent events: chat chunks, or those of the older completions API."""
    chat = kind == "chat"
    said: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}} if chat else {"text": ""}]
    inner = EVENTS - 2
    for at in range(inner):
        piece = text[len(text) * at // inner : len(text) * (at + 1) // inner]
        said.append({"delta": {"content": piece}} if chat else {"text": piece})
    said.append({"delta": {}} if chat else {"text": ""})
    return [_event(one, "stop" if at == EVENTS - 1 else None) for at, one in enumerate(said)]


def _event(said: dict[str, Any], finish: str | None) -> bytes:
    """One chunk of `EVENT_BYTES`, padded in the field that OpenAI pads its own with."""
    event = {
        "id": "chatcmpl-0123456789abcdefghijklmnopqrs",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "loopback",
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish}],
        "obfuscation": "",
    }
    bare = len(_framed(event))
    assert bare <= EVENT_BYTES
    return _framed({**event, "obfuscation": "0" * (EVENT_BYTES - bare)})


def _framed(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


REPLY, CHAT_EVENTS, REWRITE_EVENTS = reply(), events("chat", ANSWER), events("completion", REWRITTEN)
DONE = b"data: [DONE]\n\n"


async def _stream(request: web.Request, told: list[bytes], *, trickles: bool) -> web.StreamResponse:
    headers = {"Content-Type": "text/event-stream"}
    if not trickles:
        return web.Response(body=b"".join([*told, DONE]), headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for event in told:
        await response.write(event)
        await asyncio.sleep(GAP_S)
    await response.write(DONE)
    return response


async def chat(request: web.Request) -> web.StreamResponse:
    asked = json.loads(await request.read())
    if asked.get("stream"):
        return await _stream(request, CHAT_EVENTS, trickles=asked["model"] == "trickling")
    return web.Response(body=REPLY, content_type="application/json")


async def completions(request: web.Request) -> web.StreamResponse:
    asked = json.loads(await request.read())
    return await _stream(request, REWRITE_EVENTS, trickles=asked["model"] == "trickling")


async def main() -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/completions", completions)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
