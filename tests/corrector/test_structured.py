"""Data that only a prompt asked for is left alone where nothing is required, and is not cut in pieces."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from corrector.correction import Task, last
from corrector.segmented import SegmentedDraft
from corrector.structured import PerhapsJson, is_json
from tests.conftest import correcting
from tests.corrector.scripted import ASKED, DRAFT, HELPFUL, corrected

TITLE = '{"title": "How tea is made"}'
LONG = json.dumps({"steps": [f"{DRAFT}\n\n{DRAFT}"] * 6}, indent=2)
FOOTNOTE = f"[1] is where it stands.\n\n{DRAFT}\n\n{DRAFT}\n\n{DRAFT}"


@pytest.mark.parametrize("draft", [TITLE, f"\n{TITLE}\n", '["tea", "water"]', LONG])
async def test_what_is_json_as_a_whole_is_skipped(draft: str, corrector: Callable[..., Any]) -> None:
    made, upstream = await corrector(correcting(str.upper))
    _, told = await corrected(made, draft)
    assert (told.text, told.verdict, told.reason) == (draft, "skipped", "structured_output")
    for size in (1, 7, len(draft)):
        growing = SegmentedDraft(made, Task(ASKED, "", HELPFUL))
        for at in range(0, len(draft), size):
            growing.grow(draft[at : at + size])
        growing.end()
        told = await last(growing.corrected())
        assert (told.text, told.verdict, told.reason) == (draft, "skipped", "structured_output")
    assert not upstream.requests


@pytest.mark.parametrize(
    "draft", [f"{TITLE} That is it.", "{not json at all}", "[See below] Boil the water.", FOOTNOTE]
)
async def test_what_only_begins_so_is_not(draft: str, corrector: Callable[..., Any]) -> None:
    made, _ = await corrector(correcting(str.upper))
    _, told = await corrected(made, draft)
    assert (told.text, told.verdict) == (draft.upper(), "corrected")
    growing = SegmentedDraft(made, Task(ASKED, "", HELPFUL))
    growing.grow(draft)
    growing.end()
    assert (await last(growing.corrected())).text == draft.upper()


async def test_what_is_required_holds_in_it_too(corrector: Callable[..., Any]) -> None:
    made, _ = await corrector(correcting(str.upper))
    _, told = await corrected(made, TITLE, required=HELPFUL)
    assert told.text == TITLE.upper()


def test_prose_is_held_back_no_longer_than_it_may_be_json() -> None:
    for text in ("Tea", "[See", "{tea", f"{FOOTNOTE[:8]}"):
        held = PerhapsJson()
        assert "".join(map(held.feed, text)) == text
    held = PerhapsJson()
    assert "".join(map(held.feed, TITLE)) == ""
    assert held.finish() == TITLE


@pytest.mark.parametrize("text", ["", "  ", "[", "{}]", '{"a": NaN}', "12", '"tea"', "[" * 100_000 + "]" * 100_000])
def test_what_is_no_json(text: str) -> None:
    assert not is_json(text)
