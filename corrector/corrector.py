"""correct(): one answer, toward objectives. Protect, render, generate, gate; streamed as it is made.

Knows one engine behind an OpenAI-compatible URL and one prompt family; nothing of tenants.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field

from corrector import gate, protect, segments
from corrector.ahead import Ahead
from corrector.context import fit, shrunk
from corrector.correction import Correction, Task, last
from corrector.gate import GateOptions
from corrector.generation import ContextTooLong, Usage, as_text, generate, request
from corrector.objectives import Objective
from corrector.part import Faulty, Part, Unfit, joined
from corrector.quoting import Quoting
from corrector.strictyaml import Strict
from corrector.templates import Prompt, Turn, load
from wire.endpoint import Endpoint
from wire.errors import Malformed, Rejected, TimedOut, WireError

HOLD_CHARS = 24  # the tail that stays back, so that no half of a delimiter or placeholder slips out
LONGEST_WORD = 64
CHECK_EVERY_CHARS = 64
LARGE_CHARS = 200_000  # to mask so much takes 0.05 to 0.1 s, in which nobody else is answered
ROOM_TO_GROW = 1.3
RESTART_S = 1.0

Result = TypeVar("Result")


class CorrectorOptions(Strict):
    """A corrector in policies.yaml, without its `engine`."""

    template: str = "ultrafeedback"
    max_new_tokens: Annotated[int, Field(ge=16)] = 1024
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    prefill_ahead: Annotated[int, Field(ge=0)] = 0  # while fewer corrections than this are on their way
    segments_at_once: Annotated[int, Field(ge=1, le=64)] = 4  # of one answer, in mode `segment`
    gate: GateOptions = GateOptions()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task as the engine will see it. `context`: the turns that fit, quoted; `shortened`: the first of them is."""

    masked: protect.Masked
    joiner: str
    context: tuple[Turn, ...]
    shortened: bool
    parts: list[str]


class Corrector:
    """A corrector model behind an endpoint. Safe for many corrections at once."""

    def __init__(
        self, name: str, options: CorrectorOptions, endpoint: Endpoint, *, model: str, context_tokens: int,
        salts_prefixes: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self._options = options
        self._endpoint = endpoint
        self._model = model
        self._context_tokens = context_tokens
        self._salts_prefixes = salts_prefixes
        self._template = load(options.template)
        self._quoting = Quoting(self._template.DELIMITERS)
        self._corrections = 0  # on their way

    async def reachable(self) -> bool:
        return await self._endpoint.reachable()

    async def correct(self, task: Task) -> AsyncGenerator[str | Correction, None]:
        """Pieces of the text to send, then the `Correction`.

        Raises `WireError` if the engine fails and `task.keep_draft_on_failure` is False.
        """
        usage = Usage()
        masked = await _aside(len(task.draft), protect.mask, task.draft, self._quoting.pattern)
        hides = task.must_be_able_to_refuse and await _aside(len(task.draft), protect.hides_prose, masked)
        if not hides and not protect.prose(masked.text):
            reason = "nothing_to_correct" if task.draft.strip() else "empty_draft"
            yield task.draft
            yield Correction(task.draft, "skipped", reason)
            return
        self._corrections += 1
        try:
            asked = await _aside(_length(task), self._asked, task, masked)
            # Of several parts each would be refused by itself, and the next one go on.
            crowded = task.objectives != task.required or len(asked.parts) > 1
            if hides or (crowded and task.must_be_able_to_refuse):
                shown = await _aside(len(task.draft), self._shown, masked, asked.joiner) if hides else masked
                if (refusal := await self._refusal(task, shown, usage)) is not None:
                    yield refusal.text
                    yield refusal
                    return
            async with aclosing(self._parts(task, asked, usage)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._corrections -= 1

    @property
    def segments_at_once(self) -> int:
        return self._options.segments_at_once

    @property
    def context_tokens(self) -> int:
        """That prompt and answer may have together."""
        return self._context_tokens

    def segmenter(self) -> segments.Segmenter:
        """For a draft of which a segment at a time is to be corrected: none is cut within what is protected."""
        return segments.Segmenter(self._quoting.pattern)

    @property
    def goes_ahead(self) -> bool:
        """Is there room now to compute a prompt while its draft is being written?"""
        return self._corrections < self._options.prefill_ahead

    def ahead(self, task: Task) -> Ahead:
        """A correction's prompt, computed while its draft, of which the task has none yet, is being written."""

        def ask(draft: str) -> AsyncGenerator[str, None]:
            asked = self._asked(replace(task, draft=draft), protect.mask(draft, self._quoting.pattern))
            prompt = self._template.render(asked.context, asked.parts[0].strip(), task.objectives)
            return self._generate(task, prompt, 1, Usage())

        return Ahead(ask)

    def _asked(self, task: Task, masked: protect.Masked) -> _Asked:
        """The masked draft cut, and of its context what there is room for, quoted."""
        joiner = self._quoting.joiner(task.draft, *(turn.text for turn in task.context))
        size, context_size = self._sizes(masked.text, task.objectives)
        kept = fit(task.context, context_size)
        shortened = bool(kept) and kept[0].text != task.context[-len(kept)].text
        context = tuple(Turn(turn.role, self._quoting.quote(turn.text, joiner)) for turn in kept)
        return _Asked(masked, joiner, context, shortened, segments.split(masked.text, size))

    def _shown(self, masked: protect.Masked, joiner: str) -> protect.Masked:
        """The draft as it is only read: nothing of what it says is masked, and what imitates the prompt is quoted."""
        return protect.shown(self._quoting.quote(protect.spoken(masked), joiner))

    async def _refusal(self, task: Task, masked: protect.Masked, usage: Usage) -> Correction | None:
        """A refusal of the draft, if what is required makes one by itself. Anything else is not made use of.

        Beside other objectives a model may not hear that one; and sentences in code blocks and formulas it sees here
        only.
        """
        required = replace(task.only_required, live=False)
        asked = await _aside(_length(task), self._asked, required, masked)
        kept = asked.context
        waiting = deque(asked.parts)
        while waiting:
            core = waiting.popleft().strip()
            if not protect.prose(core):
                continue
            part = self._begun(required, core, 0)
            pieces = self._checked(part, core, self._written(required, core, kept, usage), usage)
            try:
                async with aclosing(pieces):
                    async for _ in pieces:
                        if not gate.may_yet_refuse(core, part.written):
                            break
            except Faulty:
                continue
            except ContextTooLong:
                if (smaller := shrunk(core, kept)) is not None:
                    parts, kept = smaller
                    waiting.extendleft(reversed(parts))
                continue
            except WireError as error:
                if not task.keep_draft_on_failure:
                    raise
                part.verdict, part.reason, part.sent = "failed", failure(error), task.draft
                return joined([part], usage, dropped_turns=0)
            said = part.written.replace(asked.joiner, "") if asked.joiner else part.written
            if gate.refuses(core, said) and not protect.PLACEHOLDER.search(said):
                lead, _, trail = task.draft.partition(task.draft.strip())
                part.sent = f"{lead}{said}{trail}"
                return joined([part], usage, dropped_turns=len(task.context) - len(kept))
        return None

    async def _parts(self, task: Task, asked: _Asked, usage: Usage) -> AsyncGenerator[str | Correction, None]:
        """Part by part; one for which there is no room is tried with less context, then in halves."""
        masked, joiner, kept = asked.masked, asked.joiner, asked.context
        waiting = deque(asked.parts)
        required = task.only_required
        done: list[Part] = []
        span = 0
        while waiting:
            await asyncio.sleep(0)  # a part that fails or passes at once waits for nothing, and there may be thousands
            text = waiting.popleft()
            part = self._begun(task, text, span)
            try:
                try:
                    async for piece in self._part(task, part, masked.spans, kept, joiner, usage):
                        yield piece
                except Unfit as unfit:
                    part = self._begun(required, text, span)
                    part.instead_of = unfit.reason
                    async for piece in self._part(required, part, masked.spans, kept, joiner, usage):
                        yield piece
            except ContextTooLong:
                if (smaller := shrunk(text, kept)) is not None:
                    parts, kept = smaller
                    waiting.extendleft(reversed(parts))
                    continue
                if not task.keep_draft_on_failure:
                    raise Malformed(f"{self._endpoint.name} has no room even for a sentence") from None
                part.verdict, part.reason = "failed", "corrector_unavailable"
                part.sent = part.draft(masked.spans)
                yield part.sent
            done.append(part)
            span = part.last_span
        told = joined(done, usage, dropped_turns=len(task.context) - len(kept))
        if kept:
            whole_one = kept[0] == asked.context[-len(kept)]
            told.shortened_turn = not whole_one or (asked.shortened and len(kept) == len(asked.context))
        yield told

    def _begun(self, task: Task, masked: str, first_span: int) -> Part:
        options = self._options.gate.loosened(aim.min_ratio for aim in task.objectives)
        last_span = first_span + len(protect.PLACEHOLDER.findall(masked))
        part = Part(masked, first_span, last_span, options, may_refuse=task.may_refuse)
        if task.segment:
            part.slack = min(gate.SLACK_CHARS, int(gate.SLACK_OF_A_SEGMENT * len(masked)))
        # Words of who asks are no secret; as a fault, they would be a way to have a refusal refused.
        begun = (aim.description[:HOLD_CHARS] for aim in task.configured if len(aim.description) >= HOLD_CHARS)
        part.instructions = tuple(words for words in begun if words not in masked)
        return part

    def _sizes(self, masked: str, objectives: Sequence[Objective]) -> tuple[int, int]:
        """Estimated tokens: the longest part of a draft, and what its context may have beside it."""
        overhead = segments.tokens(as_text(self._template.render((), "", objectives))) + 64
        room = max(64, self._context_tokens - overhead)
        size = max(32, int(min(self._options.max_new_tokens / ROOM_TO_GROW, room * 0.4)))
        part = min(size, segments.tokens(masked))
        return size, max(0, int(room - part * (1 + ROOM_TO_GROW)))

    async def _part(
        self,
        task: Task,
        part: Part,
        spans: tuple[str, ...],
        context: tuple[Turn, ...],
        joiner: str,
        usage: Usage,
    ) -> AsyncIterator[str]:
        """Pieces to send for one part, which is then complete; what became of it stands in the part."""
        core = part.masked.strip()
        lead = part.masked[: len(part.masked) - len(part.masked.lstrip())]
        trail = part.masked[len(part.masked.rstrip()) :] if core else ""
        if not protect.prose(core):
            part.verdict, part.reason = "unchanged", "nothing_to_correct"
            part.sent = part.draft(spans)
            yield part.sent
            return
        restorer = protect.Restorer(spans, part.first_span, part.last_span)
        ready = lead  # restored, and not sent yet
        try:
            async for piece in self._checked(part, core, self._written(task, core, context, usage), usage):
                ready += restorer.feed(piece.replace(joiner, "") if joiner else piece)
                part.restored = len(part.written) - restorer.held
                if task.live and part.written.strip() and ready:
                    part.sent += ready
                    yield ready
                    ready = ""
            if part.may_refuse and restorer.restored == part.first_span < part.last_span:
                # Of what is refused nothing is kept, and no span of it either.
                restorer.expected = part.first_span if gate.refuses(core, part.written) else part.last_span
            ready += restorer.finish() + trail
        except (protect.SpanLost, Faulty) as fault:
            reason = fault.reason if isinstance(fault, Faulty) else "protected_span_lost"
            if not part.sent and task.required and task.required != task.objectives:
                raise Unfit(reason) from None
            part.verdict, part.reason = "kept_original", reason
            ready = part.original(spans, restorer.restored, joiner)
        except WireError as error:
            if not task.keep_draft_on_failure:
                raise
            part.verdict, part.reason = "failed", failure(error)
            ready = part.original(spans, restorer.restored, joiner)
        part.sent += ready
        part.compare(part.draft(spans))
        if ready:
            yield ready

    async def _checked(
        self, part: Part, core: str, pieces: AsyncGenerator[str, None], usage: Usage
    ) -> AsyncGenerator[str, None]:
        """The generated text without white space around it, stopped at the first fault.

        Its tail is held back, until the gate has passed the whole.
        """
        held, checked, timed = "", 0, _Timed(usage)
        async with aclosing(pieces):  # at a fault the engine stops at once, and not when the fault is forgotten
            async for piece in pieces:
                held = (held + piece) if part.written or held else piece.lstrip()
                cut = min(len(held) - HOLD_CHARS, len(held.rstrip()))
                with timed:
                    if len(part.written) + len(held) >= checked + CHECK_EVERY_CHARS:
                        checked = len(part.written) + len(held)
                        text = part.written + held
                        _raise(gate.growing(core, text, part.options, part.slack, may_refuse=part.may_refuse))
                    self._no_leak(part, core, held)
                word = held.rfind(" ", 0, max(cut, 0)) + 1
                cut = word if word or cut < LONGEST_WORD else cut  # whole words, where there are words
                if cut > 0:
                    part.written += held[:cut]
                    yield held[:cut]
                    held = held[cut:]
        held = held.rstrip()
        with timed:
            self._no_leak(part, core, held)
            text, ended = part.written + held, usage.finish_reason
            _raise(gate.whole(core, text, ended, part.options, part.slack, may_refuse=part.may_refuse))
        part.written += held
        yield held

    def _written(self, task: Task, core: str, context: tuple[Turn, ...], usage: Usage) -> AsyncGenerator[str, None]:
        """What the engine makes of a part's core."""
        limit = min(self._options.max_new_tokens, int(segments.tokens(core) * self._options.gate.max_ratio) + 128)
        return self._generate(task, self._template.render(context, core, task.objectives), limit, usage)

    def _generate(self, task: Task, prompt: Prompt, limit: int, usage: Usage) -> AsyncGenerator[str, None]:
        asked = request(self._model, prompt, limit, task.salt if self._salts_prefixes else "")
        return generate(self._endpoint, asked, self._options.timeout_s, usage, task.headers)

    def _no_leak(self, part: Part, core: str, held: str) -> None:
        """No delimiter and no instruction of the prompt, from where one could reach into what is new."""
        text, start = part.written + held, max(0, len(part.written) - HOLD_CHARS)
        leaked = self._quoting.imitates(text, start)
        if leaked is not None and leaked not in core:
            raise Faulty("template_leak")
        if any(text.find(words, start) >= 0 for words in part.instructions):
            raise Faulty("template_leak")


async def whole(corrector: Corrector, task: Task, *, tries: int = 1) -> Correction:
    """The correction in one piece, for who does not stream.

    With `tries`, one that fails is made anew, after a while: an engine that died is back within seconds. Not one that
    the engine will not take.
    """
    for attempt in range(1, tries + 1):
        try:
            return await last(corrector.correct(task))
        except WireError as error:
            if attempt == tries or (isinstance(error, Rejected) and error.of_the_request):
                raise
            await asyncio.sleep(attempt * RESTART_S)
    raise AssertionError("the last try returns or raises")


def _length(task: Task) -> int:
    """In characters, of all that the engine could be shown."""
    return len(task.draft) + sum(len(turn.text) for turn in task.context)


async def _aside(chars: int, work: Callable[..., Result], *args: Any) -> Result:
    """The result; of a large text from a thread of its own, so that other requests go on meanwhile."""
    return work(*args) if chars < LARGE_CHARS else await asyncio.to_thread(work, *args)


class _Timed:
    """Adds what the gate takes to the usage, whatever it finds."""

    __slots__ = ("_started", "_usage")

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._usage.gate_s += time.perf_counter() - self._started


def _raise(fault: gate.Fault | None) -> None:
    if fault is not None:
        raise Faulty(fault)


def failure(error: WireError) -> str:
    """The reason of a verdict `failed`."""
    return "corrector_timeout" if isinstance(error, TimedOut) else "corrector_unavailable"
