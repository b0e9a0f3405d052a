"""The texts of an answer on their way through a corrector: what it is asked, and a stream's choices as they are said.

Knows nothing of tenants but what the plan says, and nothing of how an answer is framed but a stream's chunks.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from corrector.correction import Correction, Task
from corrector.corrector import Corrector, whole
from corrector.segmented import SegmentedDraft, in_segments
from gateway import exchange
from gateway.citations import moved
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest, Json, ThinkingSplit
from gateway.plan import Plan
from gateway.streams import HeldStream, StreamedChoice
from wire.errors import WireError
from wire.streams import Merging, all_of, merged

Taken = AsyncGenerator[Json | None, None]  # of each of a policy's chunks what may pass at once


@dataclass(frozen=True, slots=True)
class Spoken:
    """A choice whose text is all out."""

    choice: StreamedChoice
    draft: str
    correction: Correction


def task(request: ChatRequest, todo: Plan, draft: str, *, live: bool = False, keep: bool = True) -> Task:
    context = exchange.conversation(request.body["messages"])
    return Task(
        context, draft, todo.objectives, live=live, keep_draft_on_failure=keep, salt=todo.salt,
        headers=request.corrector_headers, required=todo.required, defined=todo.defined,
    )  # fmt: skip


def draft_of(text: str, todo: Plan) -> tuple[str, str]:
    """What was thought before the answer, and the text to correct.

    A `<think>` that never ends is text to correct where something is required: it would get round that.
    """
    return exchange.split_thinking(text, closed=bool(todo.tenant.required))


def name_skip(correction: Correction, called_tools: bool) -> None:
    if correction.reason == "empty_draft" and called_tools:
        correction.reason = "tool_calls"


def end_of(spoken: Spoken, todo: Plan) -> Json:
    """The last chunk of a choice, and in it what was said of places in its text."""
    end, said = dict(spoken.choice.finish or {}), spoken.choice.text
    if spoken.choice.annotations:
        thinking = "" if todo.drops_thinking else said[: len(said) - len(spoken.draft)]
        shown = thinking + spoken.correction.text
        places = moved(spoken.choice.annotations, said, shown) if shown != said else spoken.choice.annotations
        end["delta"] = {"annotations": places} if places else {}
    return end


def unavailable(error: WireError) -> GatewayError:
    return GatewayError(502, "corrector_unavailable", f"the answer could not be corrected: {error}")


async def of_drafts(drafts: Iterable[str], todo: Plan, corrector: Corrector, request: ChatRequest) -> list[Correction]:
    """What becomes of drafts that are there whole. Raises `GatewayError` if one cannot be corrected."""
    correct = in_segments if todo.mode == "segment" else whole
    tasks = [task(request, todo, draft, keep=todo.keeps_draft) for draft in drafts]
    try:
        return await all_of([correct(corrector, one) for one in tasks])
    except WireError as error:
        raise unavailable(error) from error


async def as_a_whole(
    taken: Taken, held: HeldStream, todo: Plan, corrector: Corrector, request: ChatRequest
) -> AsyncGenerator[Json | Spoken, None]:
    """The policy's chunks to its end, then the texts of its choices, each corrected as a whole."""
    async for passing in taken:
        if passing is not None:
            yield passing
    choices = []
    for choice in held.choices.values():
        split = _split(todo, waits=True)
        draft = split.feed(choice.text) + split.finish()
        choices.append(_said(held, choice, split, corrector.correct(_streamed_task(request, todo, draft)), todo))
    async with aclosing(merged(choices)) as chunks:
        async for chunk in chunks:
            yield chunk


async def by_segments(
    taken: Taken, held: HeldStream, todo: Plan, corrector: Corrector, request: ChatRequest
) -> AsyncGenerator[Json | Spoken, None]:
    """The policy's chunks, and between them the segments of its choices' texts that are corrected already."""
    merging = Merging()
    growing: dict[int, tuple[ThinkingSplit, SegmentedDraft]] = {}

    async def policy() -> AsyncGenerator[Json, None]:
        async for passing in taken:
            if passing is not None:
                yield passing
            for choice in held.choices.values():
                if choice.index not in growing:
                    split, draft = _growing_split(todo), SegmentedDraft(corrector, _streamed_task(request, todo, ""))
                    growing[choice.index] = split, draft
                    merging.add(_said(held, choice, split, draft.corrected(), todo))
                split, draft = growing[choice.index]
                draft.grow(split.feed(choice.news()))
        for split, draft in growing.values():
            draft.grow(split.finish())
            draft.end()

    merging.add(policy())
    try:
        async with aclosing(merging.items()) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        for _, draft in growing.values():
            await draft.aclose()


async def _said(
    held: HeldStream, choice: StreamedChoice, split: ThinkingSplit,
    pieces: AsyncGenerator[str | Correction, None], todo: Plan,
) -> AsyncGenerator[Json | Spoken, None]:  # fmt: skip
    """Chunks of a choice's corrected text, then what became of it. Raises `GatewayError` if it cannot be corrected."""
    passes = not todo.drops_thinking
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if passes and split.thinking:
                    yield held.text_chunk(choice, split.thinking)
                passes = False
                if isinstance(piece, Correction):
                    name_skip(piece, choice.called_tools)
                    yield Spoken(choice, choice.text[len(split.thinking) :], piece)
                elif piece:
                    yield held.text_chunk(choice, piece)
    except WireError as error:
        raise unavailable(error) from error


class LiveDraft:
    """A stream's draft for who watches it grow: beside the answer, in chunks without a choice."""

    def __init__(self, held: HeldStream, todo: Plan) -> None:
        self._held = held
        self._todo = todo
        self._splits: dict[int, ThinkingSplit] = {}

    def chunks(self, event: Json) -> Iterator[Json]:
        """What the event says; without thinking, where that is dropped from the answer too."""
        for choice in event.get("choices") or ():
            index, piece = choice.get("index", 0), exchange.message_text(choice.get("delta") or {})
            if self._todo.drops_thinking:
                split = self._splits.setdefault(index, _growing_split(self._todo))
                piece = split.feed(piece) + (split.finish() if choice.get("finish_reason") else "")
            if piece:
                yield {**self._held.envelope, "choices": [], "align": {"draft": piece, "index": index}}


def _streamed_task(request: ChatRequest, todo: Plan, draft: str) -> Task:
    # Where a request's own words spoil a correction, what is required is tried again: nothing may be out by then.
    live = todo.tenant.release == "live" and not (todo.required and todo.defined)
    return task(request, todo, draft, live=live, keep=todo.keeps_draft)


def _split(todo: Plan, *, waits: bool) -> ThinkingSplit:
    """`draft_of`, streamed."""
    return ThinkingSplit(closed=bool(todo.tenant.required), waits=waits)


def _growing_split(todo: Plan) -> ThinkingSplit:
    """Of a text that is worked on while it grows, which it could not be if any of it might yet turn out to be thinking.

    So it waits only where a tenant says that thinking is to be dropped. Else what has no `<think>` is corrected as text
    is, and nothing that is required is got round.
    """
    return _split(todo, waits=todo.tenant.reasoning == "drop")
