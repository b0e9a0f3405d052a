"""A judge that is a language model of another kind than it is asked as: one that thinks first, or wants other words."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Handler, Service, chat_reply
from tests.train.test_judges import ask, good_one, judging
from train import judges
from train.judges import llm
from train.judges.llm import LlmJudge
from wire.errors import Malformed, Rejected, TimedOut

Serve = Callable[[Handler], Awaitable[Service]]
GOOD, BAD = "Boil water.", "No idea."


def judge_at(there: Service, **options: Any) -> LlmJudge:
    built = llm.build(llm.Options(kind="llm", base_url=there.url, model="j", **options))  # type: ignore[arg-type]
    assert isinstance(built, LlmJudge)
    return built


@pytest.mark.parametrize("thought", ["<think>\n1 or 2?\n</think>\n\n{}", "Is it 1, or 2?</think> {}"])
async def test_what_is_thought_before_the_answer_is_passed_over(service: Serve, thought: str) -> None:
    there = await service(judging(lambda prompt: thought.format(good_one(prompt))))
    judge = judge_at(there, max_tokens=2000)
    assert await judge.compare(ask(BAD, GOOD)) == 1
    assert there.last["max_tokens"] == 2000
    await judge.aclose()


async def test_one_whose_thought_is_cut_off_is_told_how_to_let_it_think(
    service: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "FIRST", 6)

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        told = chat_reply("<think> Let me see, 1")
        told["choices"][0]["finish_reason"] = "length"
        return web.json_response(told)

    judge = judge_at(await service(handler))
    with pytest.raises(Malformed, match=r"none of the first .* cut off after 8 tokens; .* --llm-max-tokens"):
        await judges.compare_all(judge, [ask(BAD, GOOD)] * 8, in_flight=1)
    assert judge.asked == 6
    await judge.aclose()


async def test_a_parameter_that_a_model_does_not_take_is_left_out(service: Serve) -> None:
    """OpenAI's models that think take no `max_tokens`, and no temperature but their own."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        for name in ("max_tokens", "temperature"):
            if name in body:
                error = {"message": f"Unsupported parameter: '{name}'", "param": name, "code": "unsupported_parameter"}
                return web.json_response({"error": error}, status=400)
        return web.json_response(chat_reply(good_one(body["messages"][0]["content"])))

    there = await service(handler)
    judge = judge_at(there)
    assert await judges.compare_all(judge, [ask(BAD, GOOD)] * 4, in_flight=4) == [1] * 4
    asked = len(there.requests)
    assert await judge.compare(ask(GOOD, BAD)) == -1
    assert len(there.requests) == asked + 2, "once it is known, nothing is asked in vain"
    await judge.aclose()


@pytest.mark.parametrize(
    ("body", "why"),
    [('{"error": {"message": "j is no chat model", "param": null}}', "j is no chat model"), ("no chat", "no chat")],
)
async def test_one_that_refuses_all_that_it_is_asked_first_says_why(
    service: Serve, monkeypatch: pytest.MonkeyPatch, body: str, why: str
) -> None:
    monkeypatch.setattr(llm, "FIRST", 6)

    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=400, text=body)

    judge = judge_at(await service(handler))
    with pytest.raises(Rejected, match=f"the judge answered 400: {why}$"):
        await judges.compare_all(judge, [ask(BAD, GOOD)] * 8)
    await judge.aclose()


@pytest.mark.parametrize(("status", "told"), [(404, "404: no model sk-1"), (401, "401")])
async def test_what_a_service_says_is_told_unless_it_may_name_the_key(service: Serve, status: int, told: str) -> None:
    async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no model sk-1"}}, status=status)

    judge = judge_at(await service(handler))
    with pytest.raises(Rejected, match=f"^the judge answered {told}$"):
        await judge.compare(ask(BAD, GOOD))
    await judge.aclose()


async def test_one_that_has_answered_something_is_no_such_judge(
    service: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "FIRST", 4)
    judge = judge_at(await service(judging(lambda prompt: good_one(prompt) if "Tea" in prompt else "Who knows")))
    told = await judges.compare_all(judge, [ask(BAD, GOOD, query="Tea?")] + [ask(BAD, GOOD)] * 8, in_flight=1)
    assert told == [1] + [None] * 8
    await judge.aclose()


async def test_one_question_that_takes_too_long_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "FIRST", 4)

    class Slow:
        name = "the judge"

        async def post(self, path: str, body: bytes) -> Any:
            json.loads(body)
            raise TimedOut("the judge was silent")

        async def aclose(self) -> None:
            return None

    judge = LlmJudge(Slow(), "j")  # type: ignore[arg-type]
    assert await judge.compare(ask(BAD, GOOD)) is None
    with pytest.raises(TimedOut):
        await judge.compare(ask(BAD, GOOD))


def test_one_that_has_not_been_asked_says_nothing_of_what_it_refused() -> None:
    assert LlmJudge(None, "j").remarks() == ""  # type: ignore[arg-type]
