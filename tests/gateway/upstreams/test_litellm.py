"""Every other provider: Anthropic's own protocol, through litellm, with its HTTP answered by respx."""

import asyncio
import inspect
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from aiohttp import web

from gateway.exchange import ChatRequest, drop_reasoning, parse
from gateway.upstreams.litellm import LiteLLMUpstream, Options, build, sdk, translate
from tests.conftest import correcting
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, improve
from wire.codec import dumps, loads
from wire.errors import Rejected, TimedOut, Unreachable, WireError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # litellm's own

MESSAGES = "http://127.0.0.1:1/v1/messages"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": DRAFT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 7},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**ANSWER, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word + " "}}
        for word in DRAFT.split(" ")
    ),
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
]


@pytest.fixture(scope="module", autouse=True)
def _over_httpx() -> Iterator[None]:
    """litellm's default transport is aiohttp, which respx does not see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litellm = sdk()
    litellm.disable_aiohttp_transport = True
    yield
    litellm.disable_aiohttp_transport = False


@pytest.fixture
def provider() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(MESSAGES)


def claude(tmp_path: Path, base_url: str = "http://127.0.0.1:1", retries: int = 0) -> LiteLLMUpstream:
    options = Options(kind="litellm", model="anthropic/claude-x", corrector="none", api_key_env="CLAUDE_KEY",
                      base_url=base_url, retries=retries)  # fmt: skip
    made = build("claude", options, tmp_path)
    assert isinstance(made, LiteLLMUpstream)
    return made


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LiteLLMUpstream:
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    return claude(tmp_path)


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LiteLLMUpstream:
    """One that tries twice more."""
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    return claude(tmp_path, retries=2)


def asked(**body: Any) -> ChatRequest:
    return parse(dumps({"model": "claude", "messages": [{"role": "user", "content": "Why?"}], **body}), (), "")


def streamed() -> httpx.Response:
    text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
    return httpx.Response(200, content=text.encode(), headers={"content-type": "text/event-stream"})


async def test_an_answer_comes_in_openais_form(provider: respx.Route, upstream: LiteLLMUpstream) -> None:
    provider.respond(json=ANSWER)
    reply = await upstream.ask(asked(max_tokens=99))
    body = loads(await reply.read())
    assert not reply.streamed
    [choice] = body["choices"]
    assert choice["message"]["content"] == DRAFT
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert (body["object"], body["usage"]["completion_tokens"]) == ("chat.completion", 7)
    sent = provider.calls.last.request
    assert sent.headers["x-api-key"] == "sk-claude"
    assert json.loads(sent.content)["max_tokens"] == 99
    assert json.loads(sent.content)["model"] == "claude-x"


async def test_what_was_thought_stands_where_it_can_be_dropped(
    provider: respx.Route, upstream: LiteLLMUpstream
) -> None:
    """The SDK repeats it among its own fields, which nothing here knows."""
    thought = {"type": "thinking", "thinking": "Let me see.", "signature": "s"}
    provider.respond(json={**ANSWER, "content": [thought, {"type": "text", "text": DRAFT}]})
    [choice] = loads(await (await upstream.ask(asked())).read())["choices"]
    assert "Let me see." in dumps(choice["message"]).decode()
    drop_reasoning(choice["message"])
    assert "Let me see." not in dumps(choice["message"]).decode()
    assert choice["message"]["content"] == DRAFT


async def test_a_stream_comes_in_openais_form(provider: respx.Route, upstream: LiteLLMUpstream) -> None:
    provider.mock(return_value=streamed())
    reply = await upstream.ask(asked(stream=True))
    chunks = [chunk async for chunk in reply.events()]
    assert reply.streamed
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text.strip() == DRAFT
    assert [
        choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice.get("finish_reason")
    ] == ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


async def test_tools(provider: respx.Route, upstream: LiteLLMUpstream) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}
    provider.respond(json={**ANSWER, "content": [use], "stop_reason": "tool_use"})
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    reply = await upstream.ask(asked(tools=[tool]))
    [choice] = loads(await reply.read())["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Bern"})
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(provider.calls.last.request.content)["tools"][0]["name"] == "weather"


@pytest.mark.parametrize("field", ["api_base", "api_key", "extra_headers", "mock_response", "custom_llm_provider", "x"])
async def test_what_is_the_gateways_to_say_a_client_cannot(
    provider: respx.Route, upstream: LiteLLMUpstream, field: str
) -> None:
    with pytest.raises(Rejected) as caught:
        await upstream.ask(asked(**{field: "http://127.0.0.1:2"}))
    assert caught.value.status == 400
    assert loads(caught.value.body)["error"]["param"] == field
    assert not provider.called


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
async def test_errors_keep_their_status(provider: respx.Route, upstream: LiteLLMUpstream, status: int) -> None:
    error = {"type": "error", "error": {"type": "some_error", "message": "said no"}}
    provider.respond(status, json=error, headers={"retry-after": "9"})
    with pytest.raises(WireError) as caught:
        await upstream.ask(asked())
    assert isinstance(caught.value, Rejected)
    assert caught.value.status in (status, 500, 503)
    if status < 500:
        assert caught.value.status == status
    body = loads(caught.value.body)
    assert {"message", "type", "param", "code"} == set(body["error"])
    assert "said no" in body["error"]["message"]
    assert "some_error" not in body["error"]["message"], "what else the body holds may be what the model wrote"


async def test_when_to_come_back_is_passed_on(provider: respx.Route, upstream: LiteLLMUpstream) -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    provider.respond(429, json=error, headers={"retry-after": "9", "anthropic-ratelimit-tokens-remaining": "3"})
    with pytest.raises(Rejected) as caught:
        await upstream.ask(asked())
    assert caught.value.headers["retry-after"] == "9"
    assert caught.value.headers["anthropic-ratelimit-tokens-remaining"] == "3"


@pytest.mark.parametrize(
    "failure",
    [httpx.Response(500), httpx.Response(429, headers={"retry-after": "0"}), httpx.ConnectError("x")],
    ids=["500", "429", "connect"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_may_pass_is_tried_again(
    provider: respx.Route, stubborn: LiteLLMUpstream, failure: httpx.Response | Exception, stream: bool
) -> None:
    provider.mock(side_effect=[failure, failure, streamed() if stream else httpx.Response(200, json=ANSWER)])
    reply = await stubborn.ask(asked(stream=stream))
    assert reply.streamed == stream
    assert provider.call_count == 3


@pytest.mark.parametrize("failure", [httpx.Response(400), httpx.ReadTimeout("x")], ids=["400", "timeout"])
async def test_what_will_not_pass_is_not(
    provider: respx.Route, stubborn: LiteLLMUpstream, failure: httpx.Response | Exception
) -> None:
    provider.mock(side_effect=[failure, httpx.Response(200, json=ANSWER)])
    with pytest.raises(WireError):
        await stubborn.ask(asked())
    assert provider.call_count == 1


@pytest.mark.parametrize(
    ("failure", "told"), [(httpx.ConnectError("x"), Unreachable), (httpx.ReadTimeout("x"), TimedOut)]
)
async def test_when_the_provider_is_away(
    provider: respx.Route, upstream: LiteLLMUpstream, failure: Exception, told: type[WireError]
) -> None:
    provider.mock(side_effect=failure)
    with pytest.raises(told):
        await upstream.ask(asked())


# litellm's own machinery, which no call of ours reaches; all that they can tell a client is that it failed.
INTERNAL = {"ModelNotMappedError", "ModifyResponseException", "OpenAIError", "SensitiveDataRouteException"}
ARGUMENTS = {"status_code": 418, "response": httpx.Response(418, request=httpx.Request("POST", "http://127.0.0.1"))}


def raised(kind: type[Exception]) -> Exception:
    """One such exception, with what its constructor asks for."""
    if kind.__init__ is Exception.__init__:
        return kind("no")
    empty = inspect.Parameter.empty
    wanted = [name for name, parameter in inspect.signature(kind).parameters.items() if parameter.default is empty]
    named = [name for name in wanted if name not in ("self", "args", "kwargs")]
    numbers, lists = ("current_cost", "max_budget"), ("failures",)
    return kind(
        **{name: ARGUMENTS.get(name, 1.0 if name in numbers else [] if name in lists else "x") for name in named}
    )


def test_every_exception_of_litellm_is_mapped() -> None:
    """A new one in a later release has to be thought about here."""
    litellm = sdk()
    kinds = [
        kind
        for _, kind in inspect.getmembers(litellm.exceptions, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == "litellm.exceptions"
    ]
    assert len(kinds) > 15
    for kind in kinds:
        error = raised(kind)
        told = translate(error, "claude")
        if issubclass(kind, litellm.Timeout):
            assert isinstance(told, TimedOut)
        elif issubclass(kind, litellm.APIConnectionError):
            assert isinstance(told, Rejected)
            assert told.of_the_request, "nothing tells of a connection"
        elif kind.__name__ not in INTERNAL:
            assert isinstance(told, Rejected), kind
            assert told.status == getattr(error, "status_code", None)


async def talking(request: web.Request, events: list[dict[str, Any]]) -> web.StreamResponse:
    """Anthropic's stream, over a real socket, as far as these events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return response


@pytest.mark.parametrize("ending", ["cut", "error"])
async def test_a_stream_that_breaks_does_not_look_like_a_clean_end(
    service: Start, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        response = await talking(request, EVENTS[:5] + ([error] if ending == "error" else []))
        if ending == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    provider = await service(breaks)
    reply = await claude(tmp_path, provider.url.removesuffix("/v1"), retries=2).ask(asked(stream=True))
    texts = []
    with pytest.raises(WireError):
        async for chunk in reply.events():
            texts += [choice["delta"].get("content") for choice in chunk["choices"]]
    assert texts[:2] == ["The ", "sky "]
    assert len(provider.requests) == 1, "nothing is asked again once bytes have come"


@pytest.mark.parametrize("mode", ["full", "off"])
@pytest.mark.parametrize("phase", ["before the head", "mid-stream"])
async def test_a_client_that_goes_away_stops_the_provider(
    service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch, mode: str, phase: str
) -> None:
    began = asyncio.Event()

    async def endless(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if phase == "mid-stream":
            await talking(request, EVENTS[:5])
        began.set()
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    provider, corrector = await service(endless), await service(correcting(improve))
    gw = await gateway(policies(provider.url.removesuffix("/v1"), corrector.url))
    asking = asyncio.create_task(gw.stream({"X-Align-Mode": mode}))
    await began.wait()
    asking.cancel()
    async with asyncio.timeout(2):
        while not provider.cancelled:
            await asyncio.sleep(0.02)


def policies(url: str, corrector: str) -> str:
    return (
        f"policies:\n  m: {{kind: litellm, model: anthropic/claude-x, base_url: '{url}', "
        "api_key_env: CLAUDE_KEY, retries: 0, corrector: c}\n"
        f"correctors:\n  c: {{engine: {{kind: endpoint, base_url: '{corrector}', model: x}}}}\n"
    )


async def test_through_the_gateway_it_is_corrected(
    provider: respx.Route, service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    corrector = await service(correcting(improve))
    gw = await gateway(policies("http://127.0.0.1:1", corrector.url))
    provider.respond(json=ANSWER)
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == BETTER
    provider.mock(return_value=streamed())
    data = await gw.stream()
    assert data[-1] == "[DONE]"
    text = "".join(
        choice["delta"].get("content") or "" for event in data[:-1] for choice in json.loads(event)["choices"]
    )
    assert text.strip() == BETTER
    provider.respond(401, json={"type": "error", "error": {"type": "authentication_error", "message": "sk-claude"}})
    status, _, body = await gw.chat()
    assert (status, body["error"]["code"]) == (502, "upstream_authentication")
    assert "sk-claude" not in json.dumps(body)
    provider.respond(429, json={"type": "error", "error": {"type": "x", "message": "no"}}, headers={"retry-after": "9"})
    status, headers, _ = await gw.chat()
    assert (status, headers["Retry-After"]) == (429, "9")
