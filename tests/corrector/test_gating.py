"""What an engine writes on its way through the gate: what it costs, what may leave, and how it may end."""

from collections.abc import Callable
from typing import Any

import pytest

from corrector.correction import Task
from corrector.objectives import Objective
from tests.corrector.scripted import ASKED, DRAFT, HELPFUL, corrected, saying
from wire.errors import Dropped, Rejected

SPAN = f"Call `one` first. {DRAFT}"


@pytest.mark.parametrize("live", [True, False])
async def test_what_a_lost_span_has_cost_is_told(live: bool, corrector: Callable[..., Any]) -> None:
    made, _ = await corrector(saying("Call [[7]] first of all, and then go on with it. ", DRAFT, pause_s=0.01))
    _, told = await corrected(made, SPAN, live=live)
    assert (told.verdict, told.reason) == ("kept_original", "protected_span_lost")
    assert told.prompt_tokens > 0
    assert told.completion_tokens > 0


@pytest.mark.parametrize("reason", ["abort", "content_filter", "error"])
async def test_an_engine_that_gives_up_fails(reason: str, corrector: Callable[..., Any]) -> None:
    """It is no fault of what it wrote, for which a draft would be sent where something is required."""
    made, _ = await corrector(saying(DRAFT[:90], finish_reason=reason))
    _, told = await corrected(made, DRAFT)
    assert (told.text, told.verdict, told.reason) == (DRAFT, "failed", "corrector_unavailable")
    assert told.error == f"the corrector c gave its answer up: finish_reason '{reason}'"
    with pytest.raises(Dropped):
        await corrected(made, DRAFT, keep_draft_on_failure=False)


DISCLAIMER = Objective(
    key="disclaimer", name="Disclaimer", description="This is no legal advice: a response begins with these words"
)


@pytest.mark.parametrize("live", [True, False])
async def test_an_objective_may_begin_with_what_it_wants_said(live: bool, corrector: Callable[..., Any]) -> None:
    said = f"This is no legal advice: {DRAFT}"
    made, _ = await corrector(saying(*[word + " " for word in said.split()]))
    _, told = await corrected(made, DRAFT, objectives=(DISCLAIMER,), live=live)
    assert (told.text, told.verdict) == (said, "corrected")


@pytest.mark.parametrize("leak", [DISCLAIMER.description, f"Disclaimer: {DISCLAIMER.description[:30]}"])
async def test_nothing_of_an_objective_has_left_where_it_leaks(leak: str, corrector: Callable[..., Any]) -> None:
    """Also live, and however the pieces come."""
    for size in (1, 5, 100):
        said = f"{DRAFT} {leak}."
        made, _ = await corrector(saying(*[said[at : at + size] for at in range(0, len(said), size)]))
        _, told = await corrected(made, DRAFT, objectives=(DISCLAIMER, *HELPFUL), live=True)
        assert (told.text.strip(), told.reason) == (DRAFT, "template_leak")


async def test_a_script_may_be_asked_for(corrector: Callable[..., Any]) -> None:
    russian = "Вскипятите воду в чайнике, согрейте его и положите ложку листьев на каждую чашку. Подождите."
    translated = Objective(key="russian", name="Russian", description="In Russian", other_script=True)
    made, _ = await corrector(saying(russian))
    _, told = await corrected(made, DRAFT, objectives=(*HELPFUL, translated))
    assert (told.text, told.verdict) == (russian, "corrected")
    _, told = await corrected(made, DRAFT)
    assert told.reason == "other_script"


async def test_a_draft_that_is_too_long_for_anybody_fails(corrector: Callable[..., Any]) -> None:
    """It does not get round what is required."""
    made, upstream = await corrector(saying("no"))
    draft = "a" * 1_000_001
    _, told = await corrected(made, draft)
    assert (told.text, told.verdict, told.reason) == (draft, "failed", "draft_too_long")
    assert told.error == "the corrector c is not shown a draft of 1000001 characters: at most 1000000"
    pieces = made.correct(Task(ASKED, draft, HELPFUL, keep_draft_on_failure=False))
    with pytest.raises(Rejected):
        await anext(pieces)
    assert not upstream.requests
