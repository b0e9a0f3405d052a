"""Thinking in an answer whose `<think>` stood in the prompt, as in DeepSeek-R1's and QwQ's templates."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange import ThinkingSplit, split_thinking
from tests.conftest import OBJECTIVES, chat_chunk, correcting, saying
from tests.gateway.conftest import BETTER, DRAFT, World, improve, sending
from tests.gateway.test_required import DROPPING, REQUIRED, texts
from tests.gateway.test_segment_mode import BETTER as LONG_BETTER
from tests.gateway.test_segment_mode import DRAFT as LONG_DRAFT

THOUGHT = "Okay, the user wants a secret.\n</think>\n\n"


@pytest.mark.parametrize("objectives", [DROPPING, REQUIRED, OBJECTIVES])
async def test_it_is_not_corrected_and_dropped_where_thinking_is(world: World, objectives: str) -> None:
    gw, _, corrector = await world(saying(THOUGHT + DRAFT), correcting(improve), objectives)
    wanted = (THOUGHT if objectives is OBJECTIVES else "") + BETTER
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == wanted
    assert texts(await gw.stream()) == wanted
    assert not [asked for _, asked in corrector.requests if "secret" in asked["prompt"].rpartition("Answer: ")[2]]


@pytest.mark.parametrize("mode", ["off", "shadow"])
async def test_it_is_dropped_also_where_nothing_is_corrected(world: World, mode: str) -> None:
    gw, _, _ = await world(saying(THOUGHT + DRAFT), correcting(str), DROPPING)
    _, _, body = await gw.chat({"X-Align-Mode": mode})
    assert body["choices"][0]["message"]["content"] == DRAFT
    events = await gw.stream({"X-Align-Mode": mode})
    assert texts(events) == DRAFT
    assert "secret" not in "".join(events)


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_dropped_before_json_that_passes(world: World, stream: bool) -> None:
    gw, _, _ = await world(saying(THOUGHT + '{"a": 1}'), correcting(str), REQUIRED)
    wish = {"response_format": {"type": "json_object"}}
    said = texts(await gw.stream(**wish)) if stream else (await gw.chat(**wish))[2]["choices"][0]["message"]["content"]
    assert said == '{"a": 1}'


async def test_by_segments_it_is_waited_for_where_a_tenant_drops_it(world: World) -> None:
    gw, _, _ = await world(saying(THOUGHT + LONG_DRAFT), correcting(improve), DROPPING)
    events = await gw.stream({"X-Align-Mode": "segment"})
    assert texts(events) == LONG_BETTER
    assert "secret" not in "".join(events)


async def test_by_segments_what_is_required_holds_for_it_at_least(world: World) -> None:
    gw, _, _ = await world(saying(THOUGHT + LONG_DRAFT), correcting(str.upper), REQUIRED)
    said = texts(await gw.stream({"X-Align-Mode": "segment"}))
    assert "SECRET" in said
    assert "secret" not in said


async def test_a_draft_that_is_shown_has_none_of_it(world: World) -> None:
    gw, _, _ = await world(saying(THOUGHT + DRAFT), objectives=DROPPING)
    events = [json.loads(event) for event in (await gw.stream({"X-Align-Return": "live-draft"}))[:-1]]
    assert "".join(event["align"]["draft"] for event in events if event["choices"] == []) == DRAFT


@pytest.mark.parametrize("mode", ["full", "segment", "shadow"])
async def test_text_that_is_none_comes_all_the_same(world: World, mode: str) -> None:
    """Also where the policy says no more than `[DONE]` of its end."""
    for end in ([chat_chunk({}, "stop")], []):
        policy = sending(
            chat_chunk({"role": "assistant", "content": DRAFT[:9]}), chat_chunk({"content": DRAFT[9:]}), *end
        )
        gw, _, _ = await world(policy, correcting(improve), DROPPING)
        assert texts(await gw.stream({"X-Align-Mode": mode})) == (DRAFT if mode == "shadow" else BETTER)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "`", "\n", " ", "<", "think>", "word", "</thi"]), max_size=12),
    st.integers(1, 9),
    st.booleans(),
)
def test_thinking_is_found_however_a_stream_is_cut(words: list[str], size: int, closed: bool) -> None:
    text = "".join(words)
    split = ThinkingSplit(closed=closed, waits=True)
    said = "".join([split.feed(text[at : at + size]) for at in range(0, len(text), size)] + [split.finish()])
    assert (split.thinking, said) == split_thinking(text, closed=closed)


def test_an_answer_goes_on_once_its_thinking_is_over() -> None:
    """Where it is not over, or where a text may yet turn out to be thinking, nothing does."""
    split = ThinkingSplit(waits=True)
    pieces = ("Okay, the", " user... </th", "ink>\n", "\nYes", ", it", " is.")
    assert [split.feed(piece) for piece in pieces] == ["", "", "", "Yes", ", it", " is."]
    quoting = ThinkingSplit(waits=True)
    assert [quoting.feed(piece) for piece in ("It begins with <think", ">", " and")][1:] == [
        "It begins with <think>",
        " and",
    ]
    heedless = ThinkingSplit()
    assert [heedless.feed(piece) for piece in ("Okay", " so")] == ["Okay", " so"]
