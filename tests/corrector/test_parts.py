"""A correction in parts, and with less than all of its conversation, where there is no room for the whole."""

import itertools
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from corrector import protect
from corrector.correction import Task
from corrector.segments import tokens
from corrector.templates import Turn
from tests.conftest import correcting
from tests.corrector.scripted import ASKED, DRAFT, HELPFUL, corrected, saying
from wire.errors import WireError


async def test_a_long_answer_is_corrected_in_parts(corrector: Callable[..., Any]) -> None:
    draft = "\n\n".join(f"Paragraph {n} says `code{n}` and some more words about tea and water." for n in range(12))
    made, upstream = await corrector(correcting(lambda text: text.replace("more", "few")), max_new_tokens=64)
    _, told = await corrected(made, draft, live=True)
    assert told.text == draft.replace("more", "few")
    assert told.parts == len(upstream.requests) > 3
    assert told.verdict == "corrected"


async def test_one_bad_part_is_kept_and_told(corrector: Callable[..., Any]) -> None:
    numbers = itertools.count()

    def change(text: str) -> str:
        return "" if next(numbers) == 1 else text.replace("more", "few")

    draft = "\n\n".join(f"Paragraph {n} says something and some more words about tea and water." for n in range(4))
    made, _ = await corrector(correcting(change), max_new_tokens=32)
    _, told = await corrected(made, draft)
    assert (told.verdict, told.parts) == ("corrected", 4)
    assert told.reason == "rewritten; 1 of 4 parts kept"
    assert told.text == draft.replace("more", "few").replace(
        "1 says something and some few", "1 says something and some more"
    )


async def test_the_oldest_turns_are_dropped_first(corrector: Callable[..., Any]) -> None:
    context = tuple(Turn("user" if n % 2 == 0 else "assistant", f"Turn {n} " + "word " * 100) for n in range(9))
    made, upstream = await corrector(correcting(lambda text: text), context=1200)
    _, told = await corrected(made, DRAFT, context=context)
    kept = [int(n) for n in re.findall(r"Turn (\d+)", upstream.last["prompt"])]
    assert kept == list(range(9 - len(kept), 9))
    assert told.dropped_turns == 9 - len(kept) > 0
    assert not told.shortened_turn


async def test_a_turn_that_is_too_long_by_itself_loses_its_middle_and_that_is_told(
    corrector: Callable[..., Any],
) -> None:
    made, upstream = await corrector(correcting(lambda text: text), context=1200)
    _, told = await corrected(made, DRAFT, context=(Turn("user", "Begin " + "word " * 5000 + "End"),))
    assert (told.dropped_turns, told.shortened_turn) == (0, True)
    assert "Begin" in upstream.last["prompt"]
    assert "End" in upstream.last["prompt"]


async def test_an_engine_with_less_room_than_it_says_is_asked_with_less(corrector: Callable[..., Any]) -> None:
    """llama.cpp and vLLM both answer 400 when prompt and answer do not fit."""

    async def small(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if len(body["prompt"]) > 700:
            message = "the request exceeds the available context size"
            return web.json_response({"error": {"message": message}}, status=400)
        return await correcting(lambda text: text.replace("tea", "coffee"))(request, body)

    draft = "\n\n".join(f"Paragraph {n} says something about tea and water and cups." for n in range(20))
    made, _ = await corrector(small)
    _, told = await corrected(made, draft, context=(Turn("user", "word " * 200), *ASKED))
    assert told.text == draft.replace("tea", "coffee")
    assert told.parts > 1


async def test_no_room_even_for_a_sentence_is_a_failure_not_a_loop(corrector: Callable[..., Any]) -> None:
    async def none(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": "maximum context length is 4 tokens"}}, status=400)

    made, _ = await corrector(none)
    with pytest.raises(WireError):
        await corrected(made, DRAFT, keep_draft_on_failure=False)
    _, told = await corrected(made, DRAFT)
    assert (told.text, told.verdict, told.reason) == (DRAFT, "failed", "corrector_unavailable")


async def test_what_may_yet_become_a_placeholder_is_not_skipped_where_the_draft_goes_on(
    corrector: Callable[..., Any],
) -> None:
    """Without spaces a piece may end anywhere, as here with the `[` of a link."""
    draft = f"{'茶' * 63}[说明]里写着怎么泡茶，请先看它，然后再把水烧开，温一温茶壶，放入茶叶，等四分钟。"
    made, _ = await corrector(saying(draft[:88], finish_reason="length"))
    pieces, told = await corrected(made, draft, live=True)
    assert pieces[0] == draft[:63]
    assert (told.text, told.reason) == (draft, "cut_off")


async def test_a_short_answer_beside_a_long_conversation_fits_with_what_it_may_grow_to(
    corrector: Callable[..., Any],
) -> None:
    """A vLLM refuses a prompt beside which the tokens that are asked for would not fit."""

    async def strict(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if tokens(body["prompt"]) + body["max_tokens"] > 1200:
            return web.json_response({"error": {"message": "maximum context length is 1200 tokens"}}, status=400)
        return await correcting(lambda text: text)(request, body)

    context = tuple(Turn("user" if n % 2 == 0 else "assistant", f"Turn {n} " + "word " * 20) for n in range(60))
    for draft in ("Yes.", DRAFT, DRAFT * 3, DRAFT * 8):
        made, upstream = await corrector(strict, context=1200)
        _, told = await corrected(made, draft, context=context)
        assert (told.text, told.verdict, told.parts) == (draft, "unchanged", len(upstream.requests))
        assert upstream.last["max_tokens"] >= 128


async def test_what_is_computed_ahead_of_a_large_draft_is_prepared_aside(
    corrector: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for the correction itself: nobody else is answered meanwhile."""
    threads: list[str] = []
    mask = protect.mask

    def seen(text: str, also: str) -> protect.Masked:
        if text:
            threads.append(threading.current_thread().name)
        return mask(text, also)

    monkeypatch.setattr(protect, "mask", seen)
    made, upstream = await corrector(correcting(lambda text: text))
    ahead = made.ahead(Task(ASKED, "", HELPFUL))
    await ahead.finish()
    ahead.grow("A sentence with some words in it. " * 10_000)
    await ahead.finish()
    assert len(threads) == 1
    assert threads[0] != threading.main_thread().name
    assert len(upstream.requests) == 2
