"""What an engine answers, read as it comes: also by one that does not keep to the API."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from corrector import generation
from corrector.corrector import CorrectorOptions
from corrector.engines.endpoint import OURS, Options
from corrector.generation import ContextTooLong, Usage, generate, request
from corrector.objectives import Objective
from corrector.running import CorrectorSpec, corrector_endpoint, corrector_of
from corrector.segments import tokens
from tests.conftest import Handler, Service, correcting, streaming
from tests.corrector.scripted import DRAFT, HELPFUL, corrected, saying
from wire import sse
from wire.codec import dumps
from wire.endpoint import Endpoint
from wire.errors import Malformed, Rejected, Reported, TimedOut

Start = Callable[[Handler], Awaitable[Service]]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("said", [{"choices": [{"delta": "hello"}]}, {"choices": ["hello"]}, [1, 2]])
async def test_an_answer_of_another_shape_is_malformed(service: Start, said: Any, streamed: bool) -> None:
    async def odd(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if streamed:
            return await streaming(request, [b"data: " + dumps(said) + b"\n\n", sse.DONE])
        return web.json_response(said)

    endpoint = Endpoint("c", [(await service(odd)).url])
    try:
        with pytest.raises(Malformed):
            async for _ in generate(endpoint, request("m", "x", 10), 5.0, Usage()):
                pass
    finally:
        await endpoint.aclose()


@pytest.mark.parametrize("count", [None, "many", 1.5, [3]])
async def test_a_count_that_is_none_fails_no_correction(service: Start, count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 2}
    said = {"choices": [{"text": "hello", "finish_reason": "stop"}], "usage": usage}

    async def odd(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [b"data: " + dumps(said) + b"\n\n", sse.DONE])

    endpoint, spent = Endpoint("c", [(await service(odd)).url]), Usage()
    try:
        told = [piece async for piece in generate(endpoint, request("m", "x", 10), 5.0, spent)]
    finally:
        await endpoint.aclose()
    assert told == ["hello"]
    assert (spent.prompt_tokens, spent.completion_tokens) == (0, 2)


async def test_sums_that_come_with_every_event_are_not_added_up(service: Start) -> None:
    def event(text: str, spent: int, finish: str | None = None) -> bytes:
        usage = {"prompt_tokens": 9, "completion_tokens": spent}
        return sse.encode({"choices": [{"text": text, "finish_reason": finish}], "usage": usage})

    async def telling(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [event("a", 1), event("b", 2), event("c", 3, "stop"), sse.DONE])

    endpoint, spent = Endpoint("c", [(await service(telling)).url]), Usage()
    try:
        for _ in range(2):  # of each part of one correction
            assert [piece async for piece in generate(endpoint, request("m", "x", 10), 5.0, spent)]
    finally:
        await endpoint.aclose()
    assert (spent.prompt_tokens, spent.completion_tokens) == (18, 6)


HELLO = sse.encode({"choices": [{"text": "hello", "finish_reason": "stop"}]})
FULL = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
TGI = {
    "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 20",
    "error_type": "validation",
}


async def told(upstream: Service, timeout_s: float = 5.0) -> list[str]:
    endpoint = Endpoint("c", [upstream.url])
    try:
        return [piece async for piece in generate(endpoint, request("m", "x", 10), timeout_s, Usage())]
    finally:
        await endpoint.aclose()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "This model's maximum context length is 4096 tokens.", "code": None}}),
        (400, {"error": {"message": "Please reduce your prompt", "code": "context_length_exceeded"}}),
        (400, {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error", "n_ctx": 4096}}),
        (
            400,
            {"object": "error", "message": "The prompt is longer than the maximum model length of 4096", "code": 400},
        ),
        (400, {"error": {"message": "The input (5000 tokens) is longer than the model's context length (4096)"}}),
        (400, {"error": {"message": "litellm.ContextWindowExceededError: no", "type": None, "code": "400"}}),
        (400, {"error": {"message": "prompt is too long: 5000 tokens > 4096 maximum"}}),
        (422, TGI),
        (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500"}),
        (413, "<html><title>413 Request Entity Too Large</title></html>"),
        (200, TGI),
    ],
)
async def test_who_says_that_a_prompt_is_too_long_is_understood(service: Start, status: int, body: Any) -> None:
    """In the words of OpenAI, llama.cpp, vLLM, SGLang, LiteLLM, Anthropic, TGI, nginx, and TGI in a stream."""

    async def refusing(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if status == 200:
            return await streaming(request, [sse.encode(body)])
        return web.Response(body=body if isinstance(body, str) else dumps(body), status=status)

    with pytest.raises(ContextTooLong):
        await told(await service(refusing))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Unsupported parameter: stream_options is not supported in this context"}},
        {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        {"error": {"message": f"Invalid: {'x' * 400} an input of another context length"}},
        {"detail": [{"msg": "Field required", "input": {"prompt": "provided with a context length, too long"}}]},
        {"error": {"message": "no", "param": "context length"}},
        ["context length"],
        "context length",
        "not JSON: context length",
    ],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_what_is_refused_for_another_reason_is_not_taken_for_too_long(
    service: Start, body: Any, status: int
) -> None:
    async def refusing(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=body if str(body).startswith("not JSON") else dumps(body), status=status)

    with pytest.raises(Rejected):
        await told(await service(refusing))


@pytest.mark.parametrize("streamed", [True, False])
async def test_where_others_leave_no_room_it_is_asked_again(
    service: Start, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SHORTEST_WAIT_S", 0.01)

    async def full_at_first(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        if len(upstream.requests) > 2:
            return await streaming(request, [HELLO, sse.DONE])
        if streamed:
            return await streaming(request, [sse.encode({"choices": [{"text": ""}]}), sse.encode(FULL)])
        return web.json_response(FULL, status=500)

    upstream = await service(full_at_first)
    assert await told(upstream) == ["hello"]
    assert len(upstream.requests) == 3


async def test_for_room_it_waits_no_longer_than_it_may(service: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "SHORTEST_WAIT_S", 0.01)

    async def full(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [sse.encode(FULL)])

    upstream = await service(full)
    with pytest.raises(TimedOut):
        await told(upstream, 0.5)
    assert len(upstream.requests) > 1


async def test_what_was_given_up_with_text_sent_is_not_begun_anew(service: Start) -> None:
    async def giving_up(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return await streaming(request, [sse.encode({"choices": [{"text": "hel"}]}), sse.encode(FULL)], 0.1)

    upstream = await service(giving_up)
    with pytest.raises(Reported):
        await told(upstream)
    assert len(upstream.requests) == 1


async def test_a_generation_that_is_cut_costs_what_it_came_to(corrector: Callable[..., Any]) -> None:
    """An engine tells in its last event, which it never comes to."""
    loop = ["The water is boiled. "] * 60
    made, upstream = await corrector(saying(*loop, pause_s=0.002))
    _, told = await corrected(made, DRAFT)
    assert (told.verdict, told.reason) == ("kept_original", "looping")
    assert told.prompt_tokens == tokens(upstream.last["prompt"])
    assert 0 < told.completion_tokens < tokens("".join(loop))


async def test_so_does_one_that_was_to_be_a_refusal_and_is_none(corrector: Callable[..., Any]) -> None:
    """What is required is asked for by itself first: both generations count, each once."""
    harmless = Objective(key="harmlessness", name="Harmlessness", description="Nobody is harmed", may_refuse=True)
    made, upstream = await corrector(correcting(str.upper, pause_s=0.002))
    _, told = await corrected(made, DRAFT, objectives=(harmless, *HELPFUL), required=(harmless,))
    first, second = (asked["prompt"] for _, asked in upstream.requests)
    assert first != second
    assert told.prompt_tokens == tokens(first) + 11
    assert 3 < told.completion_tokens < 3 + tokens(DRAFT)


def test_only_vllm_is_told_not_to_mind_what_is_repeated() -> None:
    """By its own name for it, which others may refuse: who takes a salt is vLLM."""
    _, salted = request("m", "hi", 9, "salt")
    assert (salted["cache_salt"], salted["repetition_penalty"]) == ("salt", 1.0)
    _, plain = request("m", "hi", 9)
    assert not {"cache_salt", "repetition_penalty"} & plain.keys()


def test_fields_of_the_engine_stand_above_the_usual_ones() -> None:
    fields = {"max_tokens": None, "temperature": None, "max_completion_tokens": 2000, "top_k": 1}
    _, body = request("m", [{"role": "user", "content": "hi"}], 9, "", fields)
    assert not {"max_tokens", "temperature"} & body.keys()
    assert (body["max_completion_tokens"], body["top_k"], body["stream"]) == (2000, 1, True)


async def test_a_corrector_is_asked_with_the_fields_of_its_engine(service: Start) -> None:
    fields: dict[str, Any] = {"max_tokens": None, "max_completion_tokens": 2000, "template": {"think": False}}
    upstream = await service(saying(DRAFT))
    engine = Options(kind="endpoint", base_url=upstream.url, model="m", request=fields)  # type: ignore[arg-type]
    spec = CorrectorSpec(engine=engine, options=CorrectorOptions(template="chat", prefill_ahead=3))
    endpoint = corrector_endpoint("c", spec, Path("/nowhere"))
    made = corrector_of("c", spec, endpoint)
    try:
        await corrected(made, DRAFT)
    finally:
        await endpoint.aclose()
    assert upstream.last["max_completion_tokens"] == 2000
    assert upstream.last["template"] == {"think": False}
    assert "max_tokens" not in upstream.last
    assert not made.goes_ahead, "one token could not be asked for"


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_the_gateway_says_itself_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' is not for `request`: "):
        Options.model_validate({"kind": "endpoint", "base_url": "http://h/v1", "model": "m", "request": {name: None}})
