"""Around the chat: models, health, metrics, CORS, and the log."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import OBJECTIVES, Service, chat_chunk, chat_reply, correcting, saying, streaming, two_services
from tests.gateway.conftest import DRAFT, Serve, Start, World, improve, soon
from wire import sse
from wire.endpoint import Opened

KEYED = (
    OBJECTIVES
    + """  acme: {keys: [{env: ACME}], policies: [n], objectives: kids}
  strict: {keys: [{env: STRICT}], required: [harmlessness]}
"""
)


async def get(gw: Any, path: str, **headers: str) -> tuple[int, Any]:
    async with gw.client.get(gw.url + path, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text.startswith("{") else text


async def test_a_tenant_sees_the_models_that_it_may_use(
    service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    monkeypatch.setenv("STRICT", "sk-strict")
    upstream = await service(saying("x"))
    policies = two_services(upstream, upstream).replace(
        "correctors:",
        f'  n: {{kind: openai, base_url: "{upstream.url}", corrector: c}}\n'
        f'  "org/bare": {{kind: openai, base_url: "{upstream.url}", corrector: none}}\ncorrectors:',
    )
    gw = await gateway(policies, KEYED)

    async def models(**headers: str) -> list[str]:
        status, body = await get(gw, "/v1/models", **headers)
        assert (status, body["object"]) == (200, "list")
        assert all(model["object"] == "model" and isinstance(model["created"], int) for model in body["data"])
        return [model["id"] for model in body["data"]]

    assert await models() == ["m", "n", "org/bare"]
    assert await models(Authorization="Bearer sk-acme") == ["n"]
    assert await models(Authorization="Bearer sk-strict") == ["m", "n"]
    assert (await get(gw, "/v1/models/org/bare"))[1]["id"] == "org/bare"
    assert (await get(gw, "/v1/models/org/bare@kids"))[1]["id"] == "org/bare@kids"
    for nothing in ("org/bare@nope", "nope@kids"):
        status, body = await get(gw, f"/v1/models/{nothing}")
        assert (status, body["error"]["code"]) == (404, "model_not_found")
    status, body = await get(gw, "/v1/models/org/bare", Authorization="Bearer sk-strict")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert (await get(gw, "/v1/models", Authorization="Bearer wrong"))[0] == 401


async def test_health(world: World) -> None:
    gw, _, _ = await world()
    assert await get(gw, "/healthz") == (200, {"status": "alive"})
    status, body = await get(gw, "/readyz")
    assert (status, body["status"], body["engines"]) == (200, "ready", {"corrector c": "up"})
    assert body["configuration"] == "in force"


async def test_not_ready_while_a_corrector_is_away(service: Start, gateway: Serve) -> None:
    gw = await gateway(two_services(await service(saying("x")), Service(saying("x"), "http://127.0.0.1:9/v1")))
    status, body = await get(gw, "/readyz")
    assert (status, body["engines"]) == (503, {"corrector c": "down"})


async def logged(gw: Any, count: int) -> list[dict[str, Any]]:
    """The lines of so many requests: each is written when its answer has left, which its client may outrun."""
    for _ in range(200):
        lines = [line for line in gw.lines if line["event"] == "request"]
        if len(lines) >= count:
            break
        await asyncio.sleep(0.01)
    assert len(lines) == count
    return lines


async def test_metrics(world: World) -> None:
    gw, _, _ = await world()
    await gw.chat()
    await gw.chat({"X-Align-Mode": "off"})
    await gw.chat(model="nothing")
    await gw.stream()
    await logged(gw, 4)
    _, text = await get(gw, "/metrics")
    sample = 'metaaligner_requests_total{policy="m",reason="%s",status="200",tenant="public",verdict="%s"} %s'
    assert sample % ("rewritten", "corrected", "2.0") in text
    assert sample % ("mode_off", "skipped", "1.0") in text
    assert 'status="404"' in text
    for name in ("policy_ttft", "policy", "corrector_queue", "corrector_ttft", "corrector", "overhead"):
        assert re.search(rf"^metaaligner_{name}_seconds_count(\{{.*\}})? [1-9]", text, re.MULTILINE), name
    assert "metaaligner_in_flight 0.0" in text


async def test_one_line_a_request_without_keys_or_texts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    gw, _, _ = await world(objectives=OBJECTIVES + "  acme: {keys: [{env: ACME}]}\n")
    secret = "my own question"
    for stream in (False, True):
        body = {"messages": [{"role": "user", "content": secret}]}
        headers = {"Authorization": "Bearer sk-acme", "X-Request-Id": "mine-1", "X-Align-Define": "own=My own wish"}
        await (gw.stream(headers, **body) if stream else gw.chat(headers, **body))
    lines = await logged(gw, 2)
    for line in lines:
        told = {name: line[name] for name in ("request_id", "tenant", "policy", "verdict", "reason", "status", "error")}
        assert told == {
            "request_id": "mine-1",
            "tenant": "acme",
            "policy": "m",
            "verdict": "corrected",
            "reason": "rewritten",
            "status": 200,
            "error": None,
        }
        assert line["corrector_tokens"] == 3
        assert all(
            line[name] > 0 for name in ("policy_ttft_ms", "policy_ms", "corrector_ttft_ms", "corrector_ms", "total_ms")
        )
    assert lines[0]["policy_tokens"] == 7
    said = json.dumps(gw.lines) + (await get(gw, "/metrics"))[1]
    for text in ("sk-acme", secret, DRAFT[:20], "My own wish"):
        assert text not in said


async def test_a_slow_client_is_neither_the_policys_time_nor_the_gateways(world: World) -> None:
    gw, _, _ = await world()

    async def slowly() -> AsyncIterator[bytes]:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Why?"}]}).encode()
        yield body[:9]
        await asyncio.sleep(0.6)
        yield body[9:]

    async with gw.client.post(f"{gw.url}/v1/chat/completions", data=slowly()) as response:
        assert response.status == 200
    [line] = await logged(gw, 1)
    rest_ms = line["total_ms"] - 600
    assert 0 < line["own_ms"] <= rest_ms
    text = (await get(gw, "/metrics"))[1]
    for name in ("policy_ttft_seconds", "policy_seconds", "overhead_seconds"):
        total = re.search(rf"(?m)^metaaligner_{name}_sum\S* (\S+)$", text)
        assert total is not None
        assert 0 < float(total[1]) * 1000 <= rest_ms, name


async def test_a_request_id_that_could_not_stand_in_a_log_is_replaced(world: World) -> None:
    gw, _, _ = await world()
    for told in ("x" * 200, "a\u00e9b"):
        _, headers, _ = await gw.chat({"X-Request-Id": told})
        assert headers["X-Request-Id"].startswith("req_")


async def test_cors_by_configuration(world: World) -> None:
    gw, _, _ = await world(cors_origins='["https://app.example"]')
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,x-align-objectives"}  # fmt: skip
    async with gw.client.options(f"{gw.url}/v1/chat/completions", headers=asked) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "x-align-objectives" in response.headers["Access-Control-Allow-Headers"]
    _, headers, _ = await gw.chat({"Origin": "https://app.example"})
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "X-Align-Verdict" in headers["Access-Control-Expose-Headers"]
    status, headers, _ = await gw.chat({"Origin": "https://evil.example"})
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers


async def test_no_cors_unless_configured(world: World) -> None:
    gw, _, _ = await world()
    _, headers, _ = await gw.chat({"Origin": "https://app.example"})
    assert "Access-Control-Allow-Origin" not in headers


async def test_a_key_of_other_letters_is_the_same_to_every_route(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "schl\u00fcssel-\u30ad\u30fc")
    gw, _, _ = await world(objectives=OBJECTIVES + "  acme: {keys: [{env: ACME}], audit: full}\n")
    key = "Bearer schl\u00fcssel-\u30ad\u30fc"
    assert (await gw.chat({"Authorization": key}))[0] == 200
    assert (await get(gw, "/v1/models", Authorization=key))[0] == 200
    assert (await get(gw, "/v1/objectives", Authorization=key))[1]["tenant"] == "acme"
    for path, body in (("/v1/feedback", {"request_id": "none"}), ("/console/api/diff", {"before": "", "after": ""})):
        async with gw.client.post(gw.url + path, json=body, headers={"Authorization": key}) as response:
            assert response.status != 401, path


async def test_an_admins_key_of_other_letters(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "schl\u00fcssel")
    gw, _, _ = await world()
    assert (await get(gw, "/console/api/live", **{"X-Admin-Key": "schl\u00fcssel"}))[0] == 200


async def test_a_key_that_is_not_there_is_warned_of_on_a_save(world: World) -> None:
    gw, _, _ = await world()
    assert "configuration.incomplete" not in [line["event"] for line in gw.lines]
    told = gw.policies.read_text().replace(
        "corrector: c, retries", "api_key_env: NOT_SET_ANYWHERE, corrector: c, retries"
    )
    gw.policies.write_text(told)
    await gw.chat()
    missing = "the policy m has no key: the environment variable NOT_SET_ANYWHERE is not set"
    await soon(lambda: [line.get("missing") for line in gw.lines if "incomplete" in line["event"]] == [missing])


async def test_a_key_that_is_not_there_is_warned_of_at_the_start(service: Start, gateway: Serve) -> None:
    upstream = await service(saying("x"))
    policies = two_services(upstream, upstream).replace("corrector: c,", "api_key_env: NOT_SET_ANYWHERE, corrector: c,")
    gw = await gateway(policies)
    [told] = [line["missing"] for line in gw.lines if line["event"] == "configuration.incomplete"]
    assert told == "the policy m has no key: the environment variable NOT_SET_ANYWHERE is not set"


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions/", "/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"]
)
async def test_a_route_like_the_chats_is_told_where_that_is(world: World, path: str) -> None:
    gw, policy, _ = await world()
    async with gw.client.post(gw.url + path, json={}, allow_redirects=False) as response:
        body = await response.json()
        assert (response.status, body["error"]["code"]) == (404, "not_found")
        assert "not served here; POST /v1/chat/completions is" in body["error"]["message"]
    assert not policy.requests


@pytest.mark.parametrize("status", [200, 429])
async def test_controls_in_an_upstreams_header_do_not_cost_the_answer(
    service: Start, gateway: Serve, status: int
) -> None:
    body = json.dumps(chat_reply(DRAFT) if status == 200 else {"error": {"message": "busy"}}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\nx-ratelimit-reset: a\x01b\x7fc\td\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        policy = Service(saying(DRAFT), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        gw = await gateway(two_services(policy, await service(correcting(improve))))
        got, headers, _ = await gw.chat()
    assert (got, headers["x-ratelimit-reset"]) == (status, "a b c\td")


@pytest.mark.parametrize("mode", ["full", "shadow", "off"])
async def test_a_head_that_cannot_be_sent_gives_the_policys_reply_back(
    world: World, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream has not begun then, and to close one that has not begun runs nothing of it."""
    given_back: list[Opened] = []
    close = Opened.close

    def noted(opened: Opened) -> None:
        given_back.append(opened)
        close(opened)

    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [sse.encode(chat_chunk({"content": "x "}))] * 5000, pause_s=0.01)

    gw, policy, _ = await world(slow)
    raw = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
    messages = [{"type": "http.request", "body": raw}]
    headers = [(b"x-align-mode", mode.encode()), (b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "root_path": "",
             "client": ("127.0.0.1", 1), "headers": headers}  # fmt: skip

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.Event().wait()

    async def gone(message: Any) -> None:
        raise OSError

    monkeypatch.setattr(Opened, "close", noted)
    await gw.app(scope, receive, gone)
    assert len(given_back) == 1
    await soon(lambda: policy.cancelled == 1)
