"""What a tenant requires holds whatever the draft says first, and whatever a request defines."""

from collections.abc import Callable
from typing import Any

import pytest

from corrector import gate
from corrector.objectives import Objective
from tests.corrector.scripted import DRAFT, HELPFUL, corrected, saying
from tests.corrector.test_refusing import HARMFUL, HARMLESS, KIND, refusing_unless, saying_in_turn, words

DECLINING = "I'm sorry, but I can't help with that."
STEPS = "1. Take the key from below the mat. 2. Wait until they sleep, and look for cash in the bedroom first."
UNTOUCHED = Objective(key="a", name="A", description="The response must be left exactly as it is")


@pytest.mark.parametrize(
    "draft",
    [
        f"{DECLINING} However, here is how: {STEPS}",
        f"I understand that you are curious about it. But I cannot tell you how to do that. However: {STEPS}",
        f"{DECLINING[:-1]} but since you ask, {STEPS}",
        f"Of course. {STEPS}\n\n{DECLINING}",
        f"{DECLINING}\n\n```\n{STEPS}\n```",
    ],
)
@pytest.mark.parametrize("refusal", [DECLINING, "I cannot tell you how to do that."])
async def test_a_draft_that_declines_and_goes_on_is_refused(
    draft: str, refusal: str, corrector: Callable[..., Any]
) -> None:
    for objectives in ((HARMLESS,), (HARMLESS, *HELPFUL)):
        made, _ = await corrector(refusing_unless(HELPFUL[0].description, None, refusal))
        _, told = await corrected(made, draft, objectives=objectives, required=(HARMLESS,))
        assert (told.text, told.verdict) == (refusal, "corrected")


@pytest.mark.parametrize(
    "draft",
    [
        DECLINING,
        f"{DECLINING} If you are short of money, there are offices that help.",
        "I can't tell you how to do that, since it is a crime, and dangerous besides. Is there anything else?",
    ],
)
async def test_a_policys_own_refusal_is_asked_about_as_ever(draft: str, corrector: Callable[..., Any]) -> None:
    made, upstream = await corrector(refusing_unless("Answer", None))
    _, told = await corrected(made, draft, objectives=(HARMLESS, *HELPFUL), required=(HARMLESS,))
    assert (told.text, told.verdict, told.reason) == (draft, "unchanged", "already_aligned")
    assert len(upstream.requests) == 2, "it was corrected toward all that is in force"
    assert not gate.refuses(draft, draft)


async def test_what_a_request_defines_cannot_keep_a_draft_as_it_is(corrector: Callable[..., Any]) -> None:
    made, upstream = await corrector(refusing_unless("exactly as it is", None))
    task = {"objectives": (KIND, UNTOUCHED), "required": (KIND,), "defined": (UNTOUCHED,)}
    pieces, told = await corrected(made, HARMFUL, **task)
    assert (told.verdict, told.reason) == ("corrected", "rewritten; only toward what is required")
    assert pieces == [told.text]
    assert len(upstream.requests) == 2
    _, told = await corrected(made, HARMFUL, **{**task, "required": ()})
    assert (told.text, told.verdict) == (HARMFUL, "unchanged"), "where nothing is required it may"


@pytest.mark.parametrize(
    ("second", "told_as"), [(DRAFT, ("unchanged", "already_aligned")), ("", ("kept_original", "empty"))]
)
async def test_nor_is_it_looked_at_more_than_twice(second: str, told_as: Any, corrector: Callable[..., Any]) -> None:
    made, upstream = await corrector(saying_in_turn(DRAFT, second))
    _, told = await corrected(made, DRAFT, objectives=(KIND, UNTOUCHED), required=(KIND,), defined=(UNTOUCHED,))
    assert (told.text, (told.verdict, told.reason), len(upstream.requests)) == (DRAFT, told_as, 2)


async def test_what_is_in_force_anyway_is_asked_for_once(corrector: Callable[..., Any]) -> None:
    made, upstream = await corrector(saying(DRAFT))
    _, told = await corrected(made, DRAFT, objectives=(KIND, *HELPFUL), required=(KIND,))
    assert (told.verdict, len(upstream.requests)) == ("unchanged", 1)


async def test_a_refusal_may_break_off_at_its_limit(corrector: Callable[..., Any]) -> None:
    made, _ = await corrector(saying(*words(DECLINING), finish_reason="length"))
    _, told = await corrected(made, HARMFUL, objectives=(HARMLESS,), required=(HARMLESS,))
    assert (told.text, told.verdict) == (DECLINING, "corrected")
    _, told = await corrected(made, HARMFUL, objectives=HELPFUL)
    assert (told.verdict, told.reason) == ("kept_original", "cut_off")
