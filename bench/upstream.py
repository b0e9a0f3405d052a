"""A policy and a corrector that answer at once, on loopback: `python -m bench.upstream`. Prints its port."""

import asyncio
import json

from aiohttp import web

ANSWER = "Boil the water, warm the pot, add one spoon of leaves a cup, and let it stand for four minutes. " * 4
REWRITTEN = ANSWER.replace("let it stand", "leave it to stand")
PIECE = 16  # characters a chunk, as a tokenizer's three or four tokens


def _reply() -> bytes:
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 90, "total_tokens": 110}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "loopback"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


def _events(kind: str, text: str) -> bytes:
    """One answer as server-sent events: chat chunks, or those of the older completions API."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "loopback"}
    choices = []
    if kind == "chat":
        choices.append({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        said = {"delta": {"content": piece}} if kind == "chat" else {"text": piece}
        choices.append({"index": 0, **said, "finish_reason": None})
    choices.append({"index": 0, **({"delta": {}} if kind == "chat" else {"text": ""}), "finish_reason": "stop"})
    lines = [f"data: {json.dumps({**head, 'choices': [choice]})}\n\n" for choice in choices]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


REPLY, CHAT_EVENTS, REWRITE_EVENTS = _reply(), _events("chat", ANSWER), _events("completion", REWRITTEN)


async def chat(request: web.Request) -> web.Response:
    streamed = b'"stream": true' in await request.read()
    if streamed:
        return web.Response(body=CHAT_EVENTS, headers={"Content-Type": "text/event-stream"})
    return web.Response(body=REPLY, content_type="application/json")


async def completions(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=REWRITE_EVENTS, headers={"Content-Type": "text/event-stream"})


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
    asyncio.run(main())
