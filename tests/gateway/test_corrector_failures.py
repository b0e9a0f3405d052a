"""A corrector that fails: the log says why, also where its draft is sent; once a request, and without a text."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import OBJECTIVES, Gateway, Handler, chat_reply, correcting
from tests.gateway.conftest import DRAFT, World, ask, improve, replying, soon
from tests.gateway.test_segment_mode import DRAFT as LONG_DRAFT


def refusing(status: int) -> Handler:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": f"no model for {body['prompt']}"}}, status=status)

    return handler


async def ended(gw: Gateway, event: str = "request") -> list[dict[str, Any]]:
    """The warnings, once there is a line of that event."""
    await soon(lambda: any(line["event"] == event for line in gw.lines))
    return [line for line in gw.lines if line["event"] == "corrector.failed"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["full", "segment", "shadow"])
@pytest.mark.parametrize("status", [401, 404])
async def test_it_says_why_once(world: World, status: int, mode: str, stream: bool) -> None:
    reply = chat_reply(LONG_DRAFT)
    reply["choices"].append({**reply["choices"][0], "index": 1})
    gw, _, _ = await world(replying(reply), refusing(status))
    await ask(gw, {"X-Request-Id": "mine", "X-Align-Mode": mode}, stream=stream, n=2)
    if mode == "shadow":
        await soon(lambda: len([line for line in gw.lines if line["event"] == "shadow"]) == 2)
        await soon(lambda: any(line["event"] == "corrector.failed" for line in gw.lines))
    [told] = await ended(gw)
    assert (told["corrector"], told["request_id"]) == ("c", "mine")
    assert str(status) in told["error"]
    assert "Paragraph" not in json.dumps(gw.lines)


async def test_so_it_does_of_a_draft_that_was_there(world: World) -> None:
    gw, _, _ = await world(corrector=refusing(401))
    async with gw.client.post(f"{gw.url}/v1/align", json={"model": "m", "messages": [], "draft": DRAFT}) as response:
        assert (await response.json())["verdict"] == "failed"
    [told] = await ended(gw)
    assert "401" in told["error"]


@pytest.mark.parametrize("stream", [False, True])
async def test_so_it_does_where_the_answer_is_an_error(world: World, stream: bool) -> None:
    gw, _, _ = await world(None, refusing(401), OBJECTIVES.replace("allow_off: true", "on_failure: error"))
    await ask(gw, stream=stream)
    [told] = await ended(gw)
    assert "401" in told["error"]


@pytest.mark.parametrize("mode", ["full", "shadow"])
async def test_nothing_is_said_of_one_that_does_not_fail(world: World, mode: str) -> None:
    gw, _, _ = await world(corrector=correcting(improve))
    await gw.chat({"X-Align-Mode": mode})
    assert await ended(gw, "shadow" if mode == "shadow" else "request") == []
