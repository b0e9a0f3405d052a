"""When things fail: what the client is told, and what is stopped."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import (
    OBJECTIVES,
    Handler,
    Service,
    chat_chunk,
    chat_reply,
    correcting,
    saying,
    streaming,
    two_services,
)
from tests.gateway.conftest import DRAFT, World, improve, replying, sending
from wire import sse

ERROR = {"message": "no", "type": "invalid_request_error", "param": "messages", "code": "bad"}
STRICT = OBJECTIVES.replace("allow_off: true", "on_failure: error")


def failing(status: int, body: Any = None, **headers: str) -> Handler:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(text=body, status=status, content_type="text/html")
        return web.json_response({"error": ERROR} if body is None else body, status=status, headers=headers)

    return handler


async def hang(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


def dying(events: list[bytes]) -> Handler:
    """Streams these and cuts the connection."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(event)
        assert request.transport is not None
        request.transport.close()
        return response

    return handler


BEGUN = [sse.encode(chat_chunk({"role": "assistant", "content": ""})), sse.encode(chat_chunk({"content": "The sky "}))]


async def soon(happened: Callable[[], bool]) -> None:
    for _ in range(250):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def is_error(body: dict[str, Any]) -> bool:
    return set(body) == {"error"} and {"message", "type", "param", "code"} <= set(body["error"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503])
async def test_an_upstreams_error_keeps_status_and_body(world: World, status: int, stream: bool) -> None:
    gw, _, _ = await world(failing(status, **{"Retry-After": "7", "x-request-id": "up-1", "Set-Cookie": "a=b"}))
    got, headers, body = await gw.chat(stream=stream)
    assert (got, body) == (status, {"error": ERROR})
    assert headers["Retry-After"] == "7"
    assert headers["X-Request-Id"] == "up-1"
    assert "Set-Cookie" not in headers
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [401, 403])
async def test_the_gateways_own_key_is_not_the_clients_fault(world: World, status: int) -> None:
    gw, _, _ = await world(failing(status, {"error": {**ERROR, "message": "Incorrect API key provided: sk-secret"}}))
    got, _, body = await gw.chat()
    assert (got, body["error"]["code"]) == (502, "upstream_authentication")
    assert "sk-secret" not in json.dumps(body)


@pytest.mark.parametrize("said", ["<html>Bad Gateway</html>", {"detail": "nope"}, {"error": "nope"}, ["nope"]])
async def test_an_error_in_another_form_gets_ours(world: World, said: Any) -> None:
    gw, _, _ = await world(failing(500, said))
    got, _, body = await gw.chat()
    assert got == 500
    assert is_error(body)
    if isinstance(said, dict):
        assert body["error"]["message"] == "nope"


async def test_a_redirect_is_not_followed(world: World) -> None:
    gw, policy, _ = await world(failing(302, Location="http://127.0.0.1:1/"))
    got, _, body = await gw.chat()
    assert (got, body["error"]["code"]) == (502, "upstream_unavailable")
    assert len(policy.requests) == 1


@pytest.mark.parametrize(("status", "asked"), [(302, 1), (402, 1), (401, 1), (503, 1), (400, 0), (422, 0)])
async def test_what_tells_of_the_policy_alone_is_its_fallbacks_to_answer(
    service: Any, gateway: Any, status: int, asked: int
) -> None:
    broken, well, corrector = (
        await service(failing(status)),
        await service(saying(DRAFT)),
        await service(correcting(improve)),
    )
    policies = two_services(broken, corrector).replace("retries: 0,", "retries: 0, fallbacks: [n],")
    other = f'  n: {{kind: openai, base_url: "{well.url}", corrector: c}}\n'
    gw = await gateway(policies.replace("correctors:", f"{other}correctors:"))
    got, _, _ = await gw.chat()
    assert (got == 200, len(well.requests)) == (bool(asked), asked)


async def test_nobody_there(service: Any, gateway: Any) -> None:
    corrector = await service(correcting(improve))
    policy = Service(hang, "http://127.0.0.1:9/v1")
    gw = await gateway(two_services(policy, corrector))
    for stream in (False, True):
        got, _, body = await gw.chat(stream=stream)
        assert (got, body["error"]["code"]) == (502, "upstream_unavailable")


async def test_too_slow(world: World) -> None:
    gw, policy, corrector = await world(hang)
    gw.policies.write_text(two_services(policy, corrector).replace("timeout_s: 5", "timeout_s: 0.2"))
    got, _, body = await gw.chat()
    assert (got, body["error"]["code"]) == (504, "upstream_timeout")
    await soon(lambda: policy.cancelled == 1)


@pytest.mark.parametrize("answer", ["", "no json", "[]", '"text"'])
async def test_an_answer_that_is_none(world: World, answer: str) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text=answer, content_type="application/json")

    gw, _, _ = await world(handler)
    got, _, body = await gw.chat()
    assert (got, body["error"]["code"]) == (502, "upstream_malformed")


@pytest.mark.parametrize("text", [None, ""])
async def test_an_empty_answer_is_an_answer(world: World, text: str | None) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(chat_reply(text))

    gw, _, corrector = await world(handler)
    got, headers, body = await gw.chat()
    assert (got, headers["X-Align-Reason"]) == (200, "empty_draft")
    assert body["choices"][0]["message"]["content"] == text
    assert not corrector.requests


@pytest.mark.parametrize("mode", ["full", "shadow", "off"])
@pytest.mark.parametrize(
    "handler",
    [
        dying(BEGUN),
        lambda request, body: streaming(request, BEGUN),
        lambda request, body: streaming(request, [*BEGUN, b"data: {broken\n\n"]),
    ],
    ids=["cut", "ended early", "malformed"],
)
async def test_a_broken_stream_does_not_look_like_a_clean_end(world: World, handler: Handler, mode: str) -> None:
    gw, _, corrector = await world(handler)
    data = await gw.stream({"X-Align-Mode": mode})
    assert "[DONE]" not in data
    if mode == "off":  # relayed: what the policy left out is left out, what it said is said
        return
    assert is_error(json.loads(data[-1]))
    chunks = [json.loads(event) for event in data[:-1]]
    assert all(choice["finish_reason"] is None for chunk in chunks for choice in chunk["choices"])
    assert not corrector.requests


async def test_a_cut_while_relaying_is_told(world: World) -> None:
    gw, _, _ = await world(dying(BEGUN))
    data = await gw.stream({"X-Align-Mode": "off"})
    assert is_error(json.loads(data[-1]))


async def test_an_error_event_inside_a_stream_reaches_the_client(world: World) -> None:
    error = {"error": {**ERROR, "code": "content_filter"}}
    gw, _, _ = await world(lambda request, body: streaming(request, [*BEGUN, sse.encode(error), sse.DONE]))
    data = await gw.stream()
    assert json.loads(data[-1]) == error


@pytest.mark.parametrize("handler", [failing(500), failing(404), dying([]), failing(200, {"no": "choices"})])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_corrector_leaves_the_draft(world: World, handler: Handler, stream: bool) -> None:
    gw, _, _ = await world(corrector=handler)
    if stream:
        chunks = [json.loads(event) for event in (await gw.stream())[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        align = chunks[-1]["align"]
    else:
        _, headers, body = await gw.chat()
        text, align = body["choices"][0]["message"]["content"], body["align"]
        assert headers["X-Align-Verdict"] == "failed"
    assert (text, align["verdict"], align["reason"]) == (DRAFT, "failed", "corrector_unavailable")


@pytest.mark.parametrize("handler", [failing(500), dying([])])
async def test_or_it_is_an_error_where_the_tenant_wants_that(world: World, handler: Handler) -> None:
    gw, _, _ = await world(corrector=handler, objectives=STRICT)
    got, _, body = await gw.chat()
    assert (got, body["error"]["code"]) == (502, "corrector_unavailable")
    assert is_error(body)
    data = await gw.stream()
    assert json.loads(data[-1])["error"]["code"] == "corrector_unavailable"
    assert "sky" not in "".join(data), "nothing of the draft has left"


@pytest.mark.parametrize("phase", ["policy", "corrector"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_stops_all_work(world: World, phase: str, stream: bool) -> None:
    gw, policy, corrector = await (world(policy=hang) if phase == "policy" else world(corrector=hang))
    busy = policy if phase == "policy" else corrector
    asking = asyncio.create_task(gw.stream() if stream else gw.chat())
    await soon(lambda: len(busy.requests) == 1)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await soon(lambda: busy.cancelled == 1)
    await soon(lambda: any(line.get("status") == 499 for line in gw.lines))


async def test_a_client_that_goes_away_mid_stream(world: World) -> None:
    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [*BEGUN, *[sse.encode(chat_chunk({"content": "x "}))] * 5000], pause_s=0.01)

    gw, policy, _ = await world(endless)
    for headers in ({}, {"X-Align-Mode": "off"}, {"X-Align-Mode": "shadow"}):
        before = policy.cancelled
        body = {"model": "m", "messages": [], "stream": True}
        async with aiohttp.ClientSession() as client:
            response = await client.post(f"{gw.url}/v1/chat/completions", json=body, headers=headers)
            await response.content.readany()
            response.close()
        await soon(lambda before=before: policy.cancelled == before + 1)  # type: ignore[misc]


async def test_over_the_limit_is_told_when_to_come_back(world: World) -> None:
    gw, policy, _ = await world(policy=hang, max_in_flight=2)
    waiting = [asyncio.create_task(gw.chat()) for _ in range(2)]
    await soon(lambda: len(policy.requests) == 2)
    got, headers, body = await gw.chat()
    assert (got, body["error"]["code"], headers["Retry-After"]) == (503, "overloaded", "1")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await soon(lambda: policy.cancelled == 2)
    policy.handler = saying(DRAFT)
    assert (await gw.chat())[0] == 200, "a place that was given back can be taken"


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"model": "m", "messages": [], }', 400, "invalid_json"),
        (b'{"model": "x", "messages": []}', 404, "model_not_found"),
        (b'{"model": "m"}', 400, "missing_messages"),
        (b'{"model": "m", "messages": [], "align": {"mode": "of"}}', 400, "invalid_mode"),
        (b" " * 1_100_000, 413, "body_too_large"),
    ],
)
async def test_bad_requests(world: World, raw: bytes, status: int, code: str) -> None:
    gw, policy, _ = await world(max_body_mb=1)
    async with gw.client.post(f"{gw.url}/v1/chat/completions", data=_pieces(raw)) as response:
        body = await response.json()
        assert (response.status, body["error"]["code"]) == (status, code)
        assert is_error(body)
        assert response.headers["X-Request-Id"]
        if code == "invalid_json":
            assert "line 1 column" in body["error"]["message"]
    assert not policy.requests


async def test_a_body_that_does_not_come_keeps_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.surfaces.http.BODY_S", 0.1)
    gw, policy, _ = await world(max_in_flight=1)
    reader, writer = await asyncio.open_connection(*gw.url.removeprefix("http://").split(":"))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert b" 408 " in head
    assert b"connection: close" in head
    writer.close()
    assert (await gw.chat())[0] == 200
    assert len(policy.requests) == 1


async def test_who_has_no_key_takes_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    gw, _, _ = await world(max_in_flight=1, objectives=OBJECTIVES.replace("keys: none", "keys: [{env: ACME}]"))
    reader, writer = await asyncio.open_connection(*gw.url.removeprefix("http://").split(":"))
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    assert b" 401 " in await reader.readuntil(b"\r\n\r\n"), "though the body has not come"
    assert (await gw.chat({"Authorization": "Bearer sk-acme"}))[0] == 200
    writer.close()


async def test_an_error_does_not_quote_a_draft_to_who_may_not_see_it(world: World) -> None:
    """Groq's `failed_generation` is what the model wrote."""
    error = {"message": "no tool was called", "code": "tool_use_failed", "failed_generation": DRAFT}
    body = {"error": error, "choices": [{"message": {"content": DRAFT}}]}
    for required, seen in (("", True), (", required: [helpfulness]", False)):
        objectives = OBJECTIVES.replace("keys: none", f"keys: none{required}")
        gw, _, _ = await world(replying(body, status=400), objectives=objectives)
        _, _, told = await gw.chat()
        gw, _, _ = await world(sending(chat_chunk({"role": "assistant"}), body), objectives=objectives)
        *_, last = await gw.stream()
        for one in (told, json.loads(last)):
            assert (DRAFT in json.dumps(one)) == seen
            assert one["error"]["code"] == "tool_use_failed"
        assert told["error"]["message"] == "no tool was called"


async def _pieces(raw: bytes) -> Any:
    for at in range(0, len(raw), 100_000):
        yield raw[at : at + 100_000]


async def test_a_bad_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    gw, _, _ = await world(objectives=OBJECTIVES.replace("keys: none", "keys: [{env: ACME}]"))
    for headers in ({}, {"Authorization": "Bearer sk-other"}, {"Authorization": "Basic x"}):
        got, told, body = await gw.chat(headers)
        assert (got, body["error"]["code"], body["error"]["type"]) == (401, "invalid_api_key", "authentication_error")
        assert told["WWW-Authenticate"] == "Bearer"
    assert (await gw.chat({"Authorization": "Bearer sk-acme"}))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/no", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("GET", "/no", 404)],
)
async def test_routes_that_are_not_there(world: World, method: str, path: str, status: int) -> None:
    gw, _, _ = await world()
    async with gw.client.request(method, gw.url + path) as response:
        assert response.status == status
        assert is_error(await response.json())


async def test_what_nobody_foresaw_shows_nothing_of_its_inside(world: World) -> None:
    gw, _, _ = await world()
    gw.app.state.reloader.snapshot.correctors.pop("c")  # as if by a mistake of ours
    got, headers, body = await gw.chat()
    assert (got, body["error"]["code"]) == (500, "internal_error")
    assert headers["X-Request-Id"] in body["error"]["message"]
    assert any(line["event"] == "unexpected" for line in gw.lines)


async def test_one_failing_choice_fails_the_answer_once(world: World) -> None:
    """With n > 1 and `on_failure: error`, no choice leaves uncorrected."""
    calls: list[int] = []

    async def second_fails(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        calls.append(1)
        if len(calls) >= 2:
            return web.json_response({}, status=500)
        return await correcting(improve)(request, body)

    async def two(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events = [chat_chunk({"role": "assistant", "content": DRAFT}, index=index) for index in (0, 1)]
        events += [chat_chunk({}, "stop", index=index) for index in (0, 1)]
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    gw, _, _ = await world(two, second_fails, objectives=STRICT)
    data = await gw.stream(n=2)
    assert "[DONE]" not in data
    assert json.loads(data[-1])["error"]["code"] == "corrector_unavailable"
