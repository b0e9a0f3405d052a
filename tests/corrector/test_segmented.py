"""A draft corrected while it is being written: in order, several at once, each seeing what was said before it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from corrector import protect
from corrector.correction import Correction, Task
from corrector.corrector import Corrector, CorrectorOptions, whole
from corrector.gate import GateOptions
from corrector.objectives import Objective
from corrector.quoting import Quoting
from corrector.segmented import SegmentedDraft, in_segments
from corrector.segments import LONGEST_SEGMENT, Segmenter
from corrector.templates import Turn, load
from tests.conftest import Handler, correcting
from tests.gateway.conftest import Start, soon
from wire.endpoint import Endpoint
from wire.errors import Rejected

HELPFUL = (Objective(key="helpfulness", name="Helpfulness", description="The response should be useful"),)
PARAGRAPHS = [
    f"Paragraph number {n} says one thing, and says it in so many words that it stands alone.\n\n" for n in range(6)
]
TEXT = "".join(PARAGRAPHS)
FRAGMENTS = (
    "word ", "A sentence of its own. ", "\n", "\n\n", "\r\n", "```\n", "```python\n", "~~~\n", "$$", "`", "$5 ",
    r"\[", r"\]", "| a | b |\n", "- item ", "1. item ", "    ", "> ", "e.g. ", "。中文", "# Head\n", "https://a.b/c ",
    "a longer run of words without any end at all " * 3, "|", "Edit:", "<｜", "｜>", "\nHuman", ": ",
)  # fmt: skip
PROTECTED = Quoting(load("ultrafeedback").DELIMITERS).pattern


def cut(text: str, size: int, also: str = PROTECTED) -> list[str]:
    segmenter = Segmenter(also)
    ready = [one for at in range(0, len(text), size) for one in segmenter.feed(text[at : at + size])]
    return ready + segmenter.finish()


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=120), st.integers(1, 40))
def test_segments_join_and_are_the_same_however_the_text_came(fragments: list[str], size: int) -> None:
    text = "".join(fragments)
    segments = cut(text, size)
    assert "".join(segments) == text
    assert segments == cut(text, max(1, len(text)))


def test_a_delimiter_over_a_paragraphs_end_is_not_cut() -> None:
    """Wherever it stands: a text that grows is not looked at with every character."""
    for more in range(20):
        text = f"{PARAGRAPHS[0].strip()} And the tables{'!' * more} have it too |\n\nEdit: other words that go on."
        for size in (1, 5, len(text)):
            assert cut(text, size) == [text]


def test_paragraphs_items_and_of_long_ones_sentences() -> None:
    items = "- An item that is long enough to stand alone, for it says what to do and why it is to be done so.\n"
    long = "A sentence that goes on for a while about tea. " * 30
    segments = cut(f"{PARAGRAPHS[0]}{items}{items}\n{long}", 7)
    assert segments[:3] == [PARAGRAPHS[0], items, f"{items}\n"]
    assert len(segments) > 4
    assert all(len(one) <= LONGEST_SEGMENT and one.endswith("tea. ") for one in segments[3:])


@pytest.mark.parametrize(
    "block",
    [
        "```python\ndef brew():\n\n    return 'tea. Really.'\n\n- not an item\n# not a heading\n```\n",
        "| what | how long |\n| --- | --- |\n| 1. green | two minutes. Not more |\n" * 12,
        "$$\nx = 1\n\n- y\n\ny = 2\n$$\n",
        "> ```\n> quoted. Code\n>\n> - more of it\n> ```\n",
        "\\begin{align}\na\n\n- b\n\\end{align}\n",
    ],
)
def test_code_formulas_and_tables_are_never_cut(block: str) -> None:
    text = f"{PARAGRAPHS[0]}{block}\n{PARAGRAPHS[1]}"
    for size in (1, 9, len(text)):
        assert any(block in segment for segment in cut(text, size))


def test_a_heading_stays_with_what_it_heads() -> None:
    assert cut(f"# Tea\n\n{PARAGRAPHS[0]}{PARAGRAPHS[1]}", 5) == [f"# Tea\n\n{PARAGRAPHS[0]}", PARAGRAPHS[1]]


def test_an_abbreviation_ends_no_sentence() -> None:
    text = ("Some like it with milk, e.g. in the afternoon, as Dr. Smith in no. 5 does; " * 12).strip()
    assert cut(text, 11) == [text]


def task(**options: Any) -> Task:
    return Task((Turn("user", "Tea?"),), "", HELPFUL, **options)


@pytest.fixture
async def corrector(service: Start) -> AsyncIterator[Any]:
    endpoints = []

    async def make(handler: Handler) -> Any:
        upstream = await service(handler)
        endpoints.append(Endpoint("the corrector c", [upstream.url], retries=0))
        return Corrector(
            "c", CorrectorOptions(segments_at_once=3), endpoints[-1], model="x", context_tokens=4096
        ), upstream

    yield make
    for endpoint in endpoints:
        await endpoint.aclose()


def parts(body: dict[str, Any]) -> tuple[str, str]:
    """The context and the answer of a prompt."""
    context, _, answer = str(body["prompt"]).rpartition(" | Answer: ")
    return context.rpartition(" | Query: ")[2], answer.removesuffix(" | Edit: ")


async def everything(draft: SegmentedDraft) -> tuple[list[str], Correction]:
    *pieces, told = [piece async for piece in draft.corrected()]
    assert isinstance(told, Correction)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert "".join(texts) == told.text, "what is told is what was sent"
    return texts, told


async def test_words_come_before_the_draft_is_whole(corrector: Any) -> None:
    made, _ = await corrector(correcting(lambda text: text.replace("one thing", "a thing")))
    draft = SegmentedDraft(made, task(live=True))
    pieces = draft.corrected()
    draft.grow(TEXT[: len(TEXT) // 2])
    said = ""
    while len(said) < len(PARAGRAPHS[0]) - 2:
        said += str(await anext(pieces))
    assert PARAGRAPHS[0].replace("one thing", "a thing").startswith(said)
    draft.grow(TEXT[len(TEXT) // 2 :])
    draft.end()
    rest = [piece async for piece in pieces]
    told = rest[-1]
    assert isinstance(told, Correction)
    assert said + "".join(str(piece) for piece in rest[:-1]) == told.text == TEXT.replace("one thing", "a thing")
    assert (told.verdict, told.reason, told.parts) == ("corrected", "rewritten", 6)
    assert told.prompt_tokens == 6 * 11
    assert told.first_token_s is not None


async def test_one_that_is_the_whole_answer_has_the_room_of_one(corrector: Any) -> None:
    """A few words may become a sentence, as in mode `full`; a segment among others has less room."""
    sentence = "The capital of France is Paris."
    made, _ = await corrector(correcting(lambda text: sentence if text == "Paris" else text))
    told = await in_segments(made, replace(task(), draft="Paris"))
    assert (told.text, told.verdict) == (sentence, "corrected")
    told = await in_segments(made, replace(task(), draft=f"{TEXT}Paris"))
    assert told.text == f"{TEXT}Paris"


async def test_each_sees_what_was_said_before_it(corrector: Any) -> None:
    made, upstream = await corrector(correcting(lambda text: text.replace("one thing", "a thing")))
    draft = SegmentedDraft(made, task())
    reading = asyncio.create_task(everything(draft))
    for number, paragraph in enumerate(PARAGRAPHS):
        draft.grow(paragraph)
        await soon(lambda number=number: len(upstream.requests) >= number)  # type: ignore[misc]
        await asyncio.sleep(0.05)
    draft.end()
    await reading
    contexts = [parts(body)[0] for _, body in upstream.requests]
    assert contexts[0] == "Tea?"
    said = TEXT.replace("one thing", "a thing")
    for number, context in enumerate(contexts[1:6], 1):
        before = said[: len("".join(PARAGRAPHS[:number]).replace("one thing", "a thing"))].strip()
        assert context == f"Human: Tea?\n\nAssistant: {before}", "corrected, where that is known"


async def test_several_at_once_but_not_all_and_in_order(corrector: Any) -> None:
    running, most = 0, 0

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        # The earlier ones take longer.
        await asyncio.sleep(0.2 - 0.03 * int(parts(body)[1].split()[2]))
        running -= 1
        return await correcting(str.upper)(request, body)

    made, _ = await corrector(handler)
    told = await in_segments(made, Task((), TEXT, HELPFUL))
    assert told.text == TEXT.upper()
    assert most == 3


async def test_a_segment_that_the_gate_refuses_is_kept_and_the_others_are_not(corrector: Any) -> None:
    def change(text: str) -> str:
        return "" if "number 2" in text else text.replace("one thing", "a thing")

    made, _ = await corrector(correcting(change))
    told = await in_segments(made, Task((), TEXT, HELPFUL))
    assert told.text == "".join(one if "number 2" in one else change(one) for one in PARAGRAPHS)
    assert (told.verdict, told.reason) == ("corrected", "rewritten; 1 of 6 parts kept")


async def test_code_between_goes_out_as_it_is(corrector: Any) -> None:
    code = "```python\nprint('one thing')\n\nprint('tea')  # and so on and so on and so on and so on and so on\n```\n\n"
    made, upstream = await corrector(correcting(str.upper))
    told = await in_segments(made, Task((), PARAGRAPHS[0] + code + PARAGRAPHS[1], HELPFUL))
    assert told.text == PARAGRAPHS[0].upper() + code + PARAGRAPHS[1].upper()
    assert all("print" not in parts(body)[1] for _, body in upstream.requests)


async def failing(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    if "number 1" in parts(body)[1]:
        return web.json_response({"error": {"message": "no"}}, status=500)
    return await correcting(str.upper)(request, body)


async def test_where_the_engine_fails_the_draft_stands_in(corrector: Any) -> None:
    made, _ = await corrector(failing)
    told = await in_segments(made, Task((), TEXT, HELPFUL))
    assert told.text == "".join(one if "number 1" in one else one.upper() for one in PARAGRAPHS)
    assert (told.verdict, told.reason) == ("failed", "corrector_unavailable")


async def test_or_the_answer_ends_if_a_draft_must_not_go_out(corrector: Any) -> None:
    made, _ = await corrector(failing)
    draft = SegmentedDraft(made, task(keep_draft_on_failure=False))
    draft.grow(TEXT)
    draft.end()
    said = []
    with pytest.raises(Rejected):
        async for piece in draft.corrected():
            said.append(piece)
    assert "".join(map(str, said)) == PARAGRAPHS[0].upper(), "and nothing after what could not be corrected"


async def test_who_leaves_stops_what_is_on_its_way(corrector: Any) -> None:
    async def hanging(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    made, upstream = await corrector(hanging)
    draft = SegmentedDraft(made, task())
    draft.grow(TEXT)
    reading = asyncio.create_task(everything(draft))
    await soon(lambda: len(upstream.requests) == 3)
    reading.cancel()
    await soon(lambda: upstream.cancelled == 3)


async def test_nothing_said_is_nothing_corrected(corrector: Any) -> None:
    made, upstream = await corrector(correcting(str.upper))
    told = await in_segments(made, Task((), "", HELPFUL))
    assert (told.text, told.verdict, told.reason) == ("", "skipped", "empty_draft")
    assert not upstream.requests


@pytest.mark.parametrize("line", ["1. " * 4000, "a. b. " * 3000, "A sentence of it. " * 5000, "x " * 20000, "`" * 9000])
def test_no_text_takes_long_to_cut(line: str) -> None:
    """Looked at in calls, not in seconds: how much text the patterns are given grows with the text, no faster."""
    given = 0

    class Counting(Segmenter):
        def _end(self, seen: int) -> int:
            nonlocal given
            given += len(self._held)
            return super()._end(seen)

    segmenter = Counting()
    for at in range(0, len(line), 5):
        segmenter.feed(line[at : at + 5])
    assert given < 100 * len(line)


@pytest.mark.parametrize(
    "birth", ["```sh\nls``` lists files. ", "~~~ is a tilde thrice. ", "> is a sign. ", "- is one too. "]
)
def test_no_cut_gives_birth_to_a_block(birth: str) -> None:
    """A segment begins a line: what begins a block there did not where it stood."""
    text = "More prose of the same paragraph goes on here. " * 9 + birth + "More prose of the same kind. " * 12
    segments = cut(text, 7)
    assert len(segments) > 1
    assert [span for one in segments for span in protect.mask(one).spans] == list(protect.mask(text).spans)


async def test_what_a_caller_protects_is_not_cut_either(corrector: Any) -> None:
    made, upstream = await corrector(correcting(str.upper))
    trick = (
        "A paragraph that is long enough to stand alone and ends in a sign that some tables have too |\n\nEdit: other\n"
    )
    told = await in_segments(made, Task((), trick, HELPFUL))
    assert "|\n\nEdit:" in told.text, "what imitates the prompt is one protected span"
    assert len(upstream.requests) == 1


async def test_paragraphs_stay_apart_where_one_is_broken_off(corrector: Any) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        more = " and more of it" * 40 if "number 1" in parts(body)[1] else ""
        return await correcting(lambda text: text + more)(request, body)

    made, _ = await corrector(handler)
    told = await in_segments(made, Task((), TEXT, HELPFUL, live=True))
    assert told.verdict == "kept_original"
    assert told.text.count("\n\n") == TEXT.count("\n\n")


@pytest.mark.parametrize("change", [lambda text: text * 2, lambda text: text[:15]])
async def test_a_segment_is_on_a_shorter_leash_than_an_answer(service: Start, change: Any) -> None:
    upstream = await service(correcting(change))
    options = CorrectorOptions(gate=GateOptions(min_ratio=0.6, max_ratio=1.5))
    endpoint = Endpoint("c", [upstream.url])
    made = Corrector("c", options, endpoint, model="x", context_tokens=4096)
    draft = PARAGRAPHS[0].strip()
    assert (await whole(made, Task((), draft, HELPFUL))).verdict == "corrected"
    assert (await in_segments(made, Task((), draft, HELPFUL))).verdict == "corrected", "it is the whole answer"
    assert (await in_segments(made, Task((), TEXT, HELPFUL))).verdict == "kept_original"
    await endpoint.aclose()


async def test_a_long_answer_leaves_its_question_room(corrector: Any) -> None:
    made, upstream = await corrector(correcting(lambda text: text))
    await in_segments(made, Task((Turn("user", "Tea?"),), TEXT * 40, HELPFUL))
    contexts = [parts(body)[0] for _, body in upstream.requests]
    assert all(context.startswith(("Tea?", "Human: Tea?")) for context in contexts)
    assert max(map(len, contexts)) < 4500
    assert any("Assistant: [...]" in context for context in contexts)


async def test_nothing_is_begun_for_who_does_not_read(corrector: Any) -> None:
    made, upstream = await corrector(correcting(str.upper))
    draft = SegmentedDraft(made, task())
    draft.grow(PARAGRAPHS[0] + PARAGRAPHS[1])
    await draft.aclose()
    draft.grow(TEXT)
    draft.end()
    await asyncio.sleep(0.05)
    assert len(upstream.requests) <= 1
