"""A draft corrected while it is still being written: segment by segment, in order, several at once.

Each segment is a correction of its own, gate and all; what the answer has said before it ends the conversation that
it is corrected in. Knows nothing of where the draft comes from.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from corrector.correction import REST_REFUSED, Correction, Task, first_resumed, last, verdict_of_parts
from corrector.corrector import Corrector
from corrector.structured import PerhapsJson, is_json
from corrector.templates import Turn


@dataclass(slots=True, eq=False)
class _Segment:
    draft: str
    pieces: asyncio.Queue[str | Correction | Exception] = field(default_factory=asyncio.Queue)
    correction: Correction | None = None

    @property
    def text(self) -> str:
        """As it will be sent, or as the policy wrote it as long as that is not known."""
        return self.draft if self.correction is None else self.correction.text


class SegmentedDraft:
    """One draft on its way: `grow` it, `end` it, and read `corrected` meanwhile."""

    def __init__(self, corrector: Corrector, task: Task) -> None:
        self._corrector = corrector
        self._task = task
        self._segmenter = corrector.segmenter()
        self._segments: list[_Segment] = []
        self._ready: asyncio.Queue[_Segment | None] = asyncio.Queue()
        self._places = asyncio.Semaphore(corrector.segments_at_once)
        self._running: list[asyncio.Task[None]] = []
        self._started = 0.0
        self._closed = False
        self._whole = False  # one segment is the whole answer
        self._perhaps_json = PerhapsJson(holds=not task.required)  # that is not cut

    def grow(self, piece: str) -> None:
        """More of the draft. The segments that it completes are begun."""
        self._begin(self._segmenter.feed(self._perhaps_json.feed(piece)))

    def end(self) -> None:
        """The draft is whole."""
        text = self._perhaps_json.finish()
        rest = [text] if is_json(text) else [*self._segmenter.feed(text), *self._segmenter.finish()]
        self._whole = not self._segments and len(rest) == 1
        self._begin(rest)
        self._ready.put_nowait(None)

    async def corrected(self) -> AsyncGenerator[str | Correction, None]:
        """Pieces of the text to send, in order, then the `Correction` of it all, once the draft is whole.

        Raises `WireError` if the engine fails and `task.keep_draft_on_failure` is False.
        """
        sent: list[Correction] = []
        try:
            while (segment := await self._ready.get()) is not None:
                if sent and sent[-1].refused:  # nothing may follow; how the draft ends has still to be known
                    continue
                while isinstance(piece := await segment.pieces.get(), str):
                    yield piece
                if isinstance(piece, Exception):
                    raise piece
                sent.append(piece)
                if piece.refused:
                    await self.aclose()
            yield self._joined(sent)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Nobody reads it any more: what is on its way is given up, and nothing is begun."""
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _begin(self, drafts: list[str]) -> None:
        self._started = self._started or (time.monotonic() if drafts else 0.0)
        for draft in drafts:
            segment = _Segment(draft)
            self._segments.append(segment)
            if not self._closed:
                self._ready.put_nowait(segment)
                self._running.append(asyncio.create_task(self._correct(segment)))

    async def _correct(self, segment: _Segment) -> None:
        async with self._places:
            try:
                task = replace(self._task, segment=not self._whole, context=self._context(segment), draft=segment.draft)
                async with aclosing(self._corrector.correct(task)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Correction):
                            segment.correction = piece
                        segment.pieces.put_nowait(piece)
            except Exception as error:  # whatever it is, who waits for the segment must hear of it
                segment.pieces.put_nowait(error)

    def _context(self, segment: _Segment) -> tuple[Turn, ...]:
        """The conversation, and what the answer has said before this segment.

        Of a long one only its end, cut in strides: an engine that keeps prefixes has the same one for many segments.
        """
        before = "".join(one.text for one in self._segments[: self._segments.index(segment)])
        stride = max(1, self._corrector.context_tokens // 2)  # in characters, of which a token has three and more
        cut = max(0, len(before) // stride - 1) * stride
        said = before[cut:].strip()
        return (
            (*self._task.context, Turn("assistant", f"[...] {said}" if cut else said)) if said else self._task.context
        )

    def _joined(self, sent: list[Correction]) -> Correction:
        """The correction that they make; what went into others behind a refusal is counted too."""
        if not sent:
            return Correction("", "skipped", "empty_draft")
        made = [segment.correction for segment in self._segments if segment.correction is not None]
        verdict, reason = verdict_of_parts([(one.verdict, one.reason) for one in sent])
        if len(sent) < len(self._segments):
            reason = f"{reason}{REST_REFUSED}"
        return Correction(
            text="".join(one.text for one in sent),
            verdict=verdict,
            reason=reason,
            prompt_tokens=sum(one.prompt_tokens for one in made),
            completion_tokens=sum(one.completion_tokens for one in made),
            parts=sum(one.parts for one in sent),
            dropped_turns=max(one.dropped_turns for one in sent),
            shortened_turn=any(one.shortened_turn for one in sent),
            resumed_at=first_resumed((one.text, one.resumed_at) for one in sent),
            queue_s=next((one.queue_s for one in sent if one.queue_s is not None), None),
            first_token_s=next((one.first_token_s for one in sent if one.first_token_s is not None), None),
            total_s=time.monotonic() - self._started,
            started=self._started,
            gate_s=sum(one.gate_s for one in made),
            refused=sent[-1].refused,
            error=next((one.error for one in sent if one.error), ""),
        )


async def in_segments(corrector: Corrector, task: Task) -> Correction:
    """A whole draft corrected as it would have been while it was written."""
    draft = SegmentedDraft(corrector, task)
    draft.grow(task.draft)
    draft.end()
    return await last(draft.corrected())
