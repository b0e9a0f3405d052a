"""Any OpenAI-compatible URL: keys, balancing, retries, and who answers when it does not."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from gateway.upstreams.openai import forwarded
from tests.conftest import OBJECTIVES, Gateway, Handler, Service, chat_reply, correcting, saying
from tests.gateway.conftest import DRAFT, Serve, Start, improve


def statuses(*codes: int, text: str = DRAFT) -> Handler:
    left = list(codes)

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        code = left.pop(0) if len(left) > 1 else left[0]
        if code == 200:
            return web.json_response(chat_reply(text))
        return web.json_response({"error": {"message": f"said {code}"}}, status=code)

    return handler


async def configured(service: Start, gateway: Serve, objectives: str = OBJECTIVES, **policies: str) -> Gateway:
    corrector = await service(correcting(improve))
    rows = "\n".join(
        f"  {name}: {{kind: openai, corrector: c, timeout_s: 1, {rest}}}" for name, rest in policies.items()
    )
    engine = f'{{kind: endpoint, base_url: "{corrector.url}", model: x}}'
    return await gateway(f"policies:\n{rows}\ncorrectors:\n  c: {{engine: {engine}}}\n", objectives)


def served_by(gw: Gateway) -> list[str]:
    return [line["served_by"] for line in gw.lines if line["event"] == "request"]


async def test_the_gateways_key_goes_up_and_the_clients_does_not(
    service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UP_KEY", "sk-upstream")
    upstream = await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: "{upstream.url}", api_key_env: UP_KEY, model: real-name')
    keys = dict.fromkeys(("api-key", "x-api-key", "X-Admin-Key"), "sk-client")
    await gw.chat({"Authorization": "Bearer sk-client", **keys})
    request, body = upstream.requests[0]
    assert request.headers.getall("Authorization") == ["Bearer sk-upstream"]
    assert "sk-client" not in str(request.headers)
    assert body["model"] == "real-name"
    assert request.path == "/v1/chat/completions"


async def test_what_the_client_sends_goes_on_as_it_came(service: Start, gateway: Serve) -> None:
    """Unknown fields, number formats and headers too; what concerns the connection or the gateway stays behind."""
    raws: list[bytes] = []

    async def keep(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        raws.append(await request.read())
        return await saying(DRAFT)(request, body)

    upstream = await service(keep)
    gw = await configured(service, gateway, m=f'base_url: "{upstream.url}"')
    raw = b'{"messages": [], "model":"m",  "new_field": {"deep": [1.50, 12345678901234567890, "\xc3\xa9"]}}'
    headers = {
        "X-Stainless-Lang": "python",
        "User-Agent": "OpenAI/Python 9",
        "OpenAI-Beta": "x=1",
        "Traceparent": "00-1-2-03",
        "Content-Type": "application/json",
        "Cookie": "secret=1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Align-Objectives": "humour",
    }
    url = f"{gw.url}/v1/chat/completions?api-version=2024&x=%20y"
    async with gw.client.post(url, data=raw, headers=headers) as response:
        assert response.status == 200
    [(request, _)] = upstream.requests
    assert raws == [raw]
    assert request.raw_path == "/v1/chat/completions?api-version=2024&x=%20y"
    for name in ("X-Stainless-Lang", "User-Agent", "OpenAI-Beta", "Traceparent", "Content-Type"):
        assert request.headers.getall(name) == [headers[name]]
    for name in ("Cookie", "X-Forwarded-For", "X-Align-Objectives", "Authorization"):
        assert name not in request.headers
    assert request.headers["Host"] == upstream.url.split("/")[2]


async def test_who_asks_is_not_told_to_the_upstream(service: Start, gateway: Serve) -> None:
    """Whose page, organization or session it is: the key is the gateway's, and so is the question."""
    upstream = await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: "{upstream.url}"')
    kept_back = (
        "Origin", "Referer", "Sec-Fetch-Site", "OpenAI-Organization", "OpenAI-Project", "CF-Access-Jwt-Assertion",
        "CF-Connecting-IP", "X-Auth-Request-Access-Token", "X-Forwarded-Access-Token", "X-Goog-IAP-JWT-Assertion",
        "X-Amzn-Oidc-Data", "X-MS-Token-AAD-Access-Token", "X-MS-Client-Principal-Name", "Remote-User",
        "X-OpenWebUI-User-Email", "X-LiteLLM-Tags", "X-Portkey-Api-Key", "X-Portkey-Metadata", "Helicone-Auth",
        "Helicone-User-Id", "Ocp-Apim-Subscription-Key", "X-Acme-Api-Key", "CF-AIG-Authorization", "HTTP2-Settings",
        "X-Auth-Token", "X-Amz-Security-Token", "X-Vercel-OIDC-Token", "True-Client-IP", "X-Azure-Client-IP",
        "X-Acme-Forwarded-For", "X-Envoy-External-Address", "X-Original-URL", "CF-IPCountry", "X-User-Id", "Fly-Region",
        "Range", "If-None-Match", "If-Match", "If-Modified-Since", "Max-Forwards", "Content-MD5",
        "X-HTTP-Method-Override",
    )  # fmt: skip
    passed = {
        "X-Stainless-Lang": "python",
        "Idempotency-Key": "stainless-1",
        "OpenAI-Beta": "x=1",
        "CF-AIG-Cache-TTL": "60",
    }
    status, _, _ = await gw.chat({**dict.fromkeys(kept_back, gw.url), **passed})
    assert status == 200
    [(request, _)] = upstream.requests
    assert not [name for name in kept_back if name in request.headers]
    assert {name: request.headers.get(name) for name in passed} == passed


def test_what_the_clients_connection_names_is_the_connections() -> None:
    named = [("connection", "close, X-Hop"), ("connection", "x-other")]
    assert forwarded([("x-hop", "1"), *named, ("x-other", "2"), ("x-kept", "3")]) == {"x-kept": "3"}


def test_of_a_header_that_comes_twice_both_values_go_on() -> None:
    assert forwarded([("openai-beta", "a"), ("x-own", "1"), ("openai-beta", "b")]) == {
        "openai-beta": "a, b",
        "x-own": "1",
    }


async def test_several_urls_share_the_work(service: Start, gateway: Serve) -> None:
    one, two = await service(saying(DRAFT)), await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: ["{one.url}", "{two.url}"]')
    for _ in range(6):
        assert (await gw.chat())[0] == 200
    assert (len(one.requests), len(two.requests)) == (3, 3)


async def test_a_failing_url_is_passed_over(service: Start, gateway: Serve) -> None:
    ill, well = await service(statuses(500)), await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: ["{ill.url}", "{well.url}"], retries: 1')
    for _ in range(5):
        assert (await gw.chat())[0] == 200
    assert len(ill.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_retries_then_fallbacks_in_their_order(service: Start, gateway: Serve, stream: bool) -> None:
    first, second, third = await service(statuses(500)), await service(statuses(429)), await service(saying(DRAFT))
    gw = await configured(
        service,
        gateway,
        m=f'base_url: "{first.url}", retries: 1, fallbacks: [b, c]',
        b=f'base_url: "{second.url}", retries: 0',
        c=f'base_url: "{third.url}", model: other',
    )
    if stream:
        assert (await gw.stream())[-1] == "[DONE]"
    else:
        _, _, body = await gw.chat()
        assert body["align"]["policy"] == "c"
    assert (len(first.requests), len(second.requests), len(third.requests)) == (2, 1, 1)
    assert third.last["model"] == "other"
    assert served_by(gw) == ["c"]


async def test_when_all_fail_the_first_ones_error_is_told(service: Start, gateway: Serve) -> None:
    first, second = await service(statuses(503)), await service(statuses(500))
    gw = await configured(
        service,
        gateway,
        m=f'base_url: "{first.url}", retries: 0, fallbacks: [b]',
        b=f'base_url: "{second.url}", retries: 0',
    )
    status, _, body = await gw.chat()
    assert (status, body["error"]["message"]) == (503, "said 503")


async def test_fallbacks_of_fallbacks_are_not_followed(service: Start, gateway: Serve) -> None:
    """So that policies which name each other end."""
    first, second = await service(statuses(503)), await service(statuses(500))
    gw = await configured(
        service,
        gateway,
        m=f'base_url: "{first.url}", retries: 0, fallbacks: [b]',
        b=f'base_url: "{second.url}", retries: 0, fallbacks: [m]',
    )
    assert (await gw.chat())[0] == 503
    assert (await gw.chat(model="b"))[0] == 500
    assert (len(first.requests), len(second.requests)) == (2, 2)


async def test_retry_after_is_waited_for(service: Start, gateway: Serve) -> None:
    asked_at: list[float] = []

    async def busy_once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked_at.append(asyncio.get_running_loop().time())
        if len(asked_at) == 1:
            return web.json_response({}, status=429, headers={"Retry-After": "1"})
        return await saying(DRAFT)(request, body)

    upstream = await service(busy_once)
    gw = await configured(service, gateway, m=f'base_url: "{upstream.url}", retries: 1')
    assert (await gw.chat())[0] == 200
    assert asked_at[1] - asked_at[0] >= 1


@pytest.mark.parametrize("code", [400, 422])
async def test_a_request_at_fault_is_not_asked_again_elsewhere(service: Start, gateway: Serve, code: int) -> None:
    first, second = await service(statuses(code)), await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: "{first.url}", fallbacks: [b]', b=f'base_url: "{second.url}"')
    assert (await gw.chat())[0] == code
    assert not second.requests


async def test_a_policy_that_is_too_slow_is_replaced(service: Start, gateway: Serve) -> None:
    async def hang(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    slow, quick = await service(hang), await service(saying(DRAFT))
    gw = await configured(service, gateway, m=f'base_url: "{slow.url}", fallbacks: [b]', b=f'base_url: "{quick.url}"')
    assert (await gw.chat())[0] == 200
    assert len(slow.requests) == 1


async def test_a_fallback_that_the_tenant_may_not_use_is_not_used(
    service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    first, second = await service(statuses(500)), await service(saying(DRAFT))
    gw = await configured(
        service,
        gateway,
        OBJECTIVES + "  acme: {keys: [{env: ACME}], policies: [m]}\n",
        m=f'base_url: "{first.url}", retries: 0, fallbacks: [b]',
        b=f'base_url: "{second.url}"',
    )
    assert (await gw.chat({"Authorization": "Bearer sk-acme"}))[0] == 500
    assert (await gw.chat())[0] == 200
    assert len(second.requests) == 1


async def test_nothing_is_asked_again_once_bytes_have_come(service: Start, gateway: Serve) -> None:
    async def cut(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"The"}}]}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    first, second = await service(cut), await service(saying(DRAFT))
    gw = await configured(
        service, gateway, m=f'base_url: "{first.url}", retries: 3, fallbacks: [b]', b=f'base_url: "{second.url}"'
    )
    data = await gw.stream()
    assert '"error"' in data[-1]
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_a_policy_without_a_corrector_is_relayed(service: Start, gateway: Serve) -> None:
    upstream = await service(saying(DRAFT))
    gw = await gateway(f'policies:\n  m: {{kind: openai, base_url: "{upstream.url}", corrector: none}}\n')
    _, headers, body = await gw.chat()
    assert body == chat_reply(DRAFT)
    assert headers["X-Align-Reason"] == "no_corrector"
    assert isinstance(upstream, Service)
