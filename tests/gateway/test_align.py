"""A draft that is there already, corrected: no policy is asked. And the draft of an answer, while it is written."""

import json
from typing import Any

import pytest

from tests.conftest import OBJECTIVES, Gateway, correcting, saying
from tests.gateway.conftest import BETTER, DRAFT, World

STRICT = OBJECTIVES.replace("allow_off: true", "required: [harmlessness]")


async def align(gw: Gateway, headers: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "draft": DRAFT, **more}
    async with gw.client.post(f"{gw.url}/v1/align", json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_a_draft_is_corrected_and_no_policy_asked(world: World) -> None:
    gw, policy, _ = await world()
    status, body = await align(gw)
    assert (status, body["text"], body["verdict"], body["reason"]) == (200, BETTER, "corrected", "rewritten")
    assert body["align"]["objectives"] == ["helpfulness"]
    assert policy.requests == []


async def test_what_it_took_is_told(world: World) -> None:
    gw, _, _ = await world()
    body = {"model": "m", "messages": [], "draft": DRAFT}
    async with gw.client.post(f"{gw.url}/v1/align", json=body) as response:
        assert float(response.headers["X-Align-Overhead-Ms"]) > 0


async def test_toward_what_the_request_says(world: World) -> None:
    gw, _, corrector = await world()
    await align(gw, align={"objectives": ["humour"], "define": {"rhyme": "The response should rhyme"}})
    prompt = corrector.last["prompt"]
    assert "Rhyme: The response should rhyme" in prompt
    assert "Humour: " in prompt
    assert "Helpfulness" not in prompt


async def test_what_is_required_holds_here_too(world: World) -> None:
    gw, _, corrector = await world(objectives=STRICT)
    status, body = await align(gw, {"X-Align-Mode": "off"})
    assert (status, body["error"]["code"]) == (403, "mode_not_allowed")
    await align(gw, {"X-Align-Objectives": "humour"})
    assert "Harmlessness: " in corrector.last["prompt"]


async def test_in_segments(world: World) -> None:
    gw, _, corrector = await world()
    draft, better = ("\n\n".join([text * 4] * 3) for text in (DRAFT, BETTER))
    status, body = await align(gw, {"X-Align-Mode": "segment"}, draft=draft)
    assert (status, body["text"]) == (200, better)
    assert len(corrector.requests) > 1


@pytest.mark.parametrize(("more", "param"), [({"draft": None}, "draft"), ({"stream": True}, "stream")])
async def test_what_it_cannot_do_is_said(world: World, more: dict[str, Any], param: str) -> None:
    gw, _, _ = await world()
    status, body = await align(gw, **more)
    assert (status, body["error"]["param"]) == (400, param)


async def test_a_draft_is_shown_while_it_is_written(world: World) -> None:
    gw, _, _ = await world()
    events = [json.loads(data) for data in (await gw.stream({"X-Align-Return": "live-draft"}))[:-1]]
    pieces = [event["align"]["draft"] for event in events if event["choices"] == []]
    assert len(pieces) > 3
    assert "".join(pieces) == DRAFT
    said = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
    assert said == BETTER
    ends = [event for event in events if event["choices"] and event["choices"][0]["finish_reason"]]
    assert ends[0]["align"]["draft"] == DRAFT
    assert len({event["id"] for event in events}) == 1


async def test_segments_of_a_draft_that_is_shown(world: World) -> None:
    gw, _, _ = await world(saying(f"{DRAFT}\n\n{DRAFT}"), correcting(lambda text: text.replace("the air", "light")))
    headers = {"X-Align-Return": "live-draft", "X-Align-Mode": "segment"}
    events = [json.loads(data) for data in (await gw.stream(headers))[:-1]]
    assert "".join(event["align"]["draft"] for event in events if event["choices"] == []) == f"{DRAFT}\n\n{DRAFT}"


async def test_a_draft_is_not_shown_to_who_may_not_see_it(world: World) -> None:
    gw, _, _ = await world(objectives=STRICT)
    status, _, body = await gw.chat({"X-Align-Return": "live-draft"}, stream=True)
    assert (status, body["error"]["code"]) == (403, "draft_not_allowed")


async def test_thinking_that_is_dropped_is_not_in_the_draft_that_is_shown(world: World) -> None:
    objectives = OBJECTIVES.replace("allow_off: true", "reasoning: drop")
    gw, _, _ = await world(saying(f"<think>a secret plan</think>{DRAFT}"), objectives=objectives)
    told = await gw.stream({"X-Align-Return": "live-draft"})
    assert not [data for data in told if "secret" in data]
    events = [json.loads(data) for data in told[:-1]]
    assert "".join(event["align"]["draft"] for event in events if event["choices"] == []) == DRAFT


@pytest.mark.parametrize("headers", [{}, {"X-Align-Mode": "off"}])
@pytest.mark.parametrize("says", ["allow_off: true", "allow_off: true, reasoning: drop", "required: [harmlessness]"])
async def test_what_was_thought_is_left_as_in_an_answer(world: World, says: str, headers: dict[str, str]) -> None:
    """Nor is it corrected: the corrector does not see it."""
    thought = f"<think>the air is a secret plan</think>\n{DRAFT}"
    gw, _, corrector = await world(saying(thought), objectives=OBJECTIVES.replace("allow_off: true", says))
    headers = {} if "required" in says else headers
    _, body = await align(gw, headers, draft=thought)
    assert not [asked for _, asked in corrector.requests if "secret" in asked["prompt"]]
    _, _, answer = await gw.chat(headers)
    assert body["text"] == answer["choices"][0]["message"]["content"]
    assert ("secret" in body["text"]) is (says == "allow_off: true")
