"""correct(): one answer, toward objectives. Protect, render, generate, gate; streamed as it is made.

Knows one engine behind an OpenAI-compatible URL and one prompt family; nothing of tenants.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field

from corrector import gate, protect, segments
from corrector.ahead import Ahead
from corrector.context import fit, shrunk
from corrector.correction import REST_REFUSED, Correction, Task, last
from corrector.gate import GateOptions
from corrector.gating import gate_stream, instructions
from corrector.generation import ContextTooLong, Usage, as_text, generate, request
from corrector.objectives import Objective
from corrector.part import Faulty, Part, Unfit, joined
from corrector.quoting import Quoting
from corrector.strictyaml import Strict
from corrector.structured import is_json
from corrector.templates import Prompt, Turn, load
from wire.endpoint import Endpoint
from wire.errors import Malformed, Rejected, TimedOut, WireError

LONGEST_DRAFT = 1_000_000  # characters; no model writes so much, and to look through more holds up everybody
LARGE_CHARS = 200_000  # to mask so much takes 0.05 to 0.1 s, in which nobody else is answered
ROOM_TO_GROW, ROOM_TO_BEGIN = 1.3, 128  # of a correction by its draft: so many times as long, and tokens besides
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
class PreparedTask:
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
        salts_prefixes: bool = False, request_fields: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._options = options
        self._endpoint = endpoint
        self._model = model
        self._context_tokens = context_tokens
        self._salts_prefixes = salts_prefixes
        self._request_fields = request_fields
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
        if len(task.draft) > LONGEST_DRAFT:
            said = (
                f"{self._endpoint.name} is not shown a draft of {len(task.draft)} characters: at most {LONGEST_DRAFT}"
            )
            too_long = Rejected(said, 413, {}, b"")
            if not task.keep_draft_on_failure:
                raise too_long
            yield task.draft
            yield Correction(task.draft, "failed", failure(too_long), error=said)
            return
        masked = await _aside(len(task.draft), protect.mask, task.draft, self._quoting.pattern)
        hides = task.must_be_able_to_refuse and await _aside(len(task.draft), protect.hides_prose, masked)
        if not hides and (reason := await _aside(len(task.draft), _nothing_to_do, task, masked)) is not None:
            yield task.draft
            yield Correction(task.draft, "skipped", reason)
            return
        self._corrections += 1
        try:
            prepared = await _aside(_length(task), self._prepare, task, masked)
            if (refusal := await self._refusal_asked_alone(task, prepared, hides, usage)) is not None:
                yield refusal.text
                yield refusal
                return
            async with aclosing(self._parts(task, prepared, usage)) as pieces:
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

        async def ask(draft: str) -> AsyncGenerator[str, None]:
            masked = await _aside(len(draft), protect.mask, draft, self._quoting.pattern)
            grown = replace(task, draft=draft)
            prepared = await _aside(_length(grown), self._prepare, grown, masked)
            prompt = self._template.render(prepared.context, prepared.parts[0].strip(), task.objectives)
            async with aclosing(self._generate(task, prompt, 1, Usage())) as pieces:
                async for piece in pieces:
                    yield piece

        return Ahead(ask)

    def _prepare(self, task: Task, masked: protect.Masked) -> PreparedTask:
        """The masked draft cut, and of its context what there is room for, quoted."""
        joiner = self._quoting.joiner(task.draft, *(turn.text for turn in task.context))
        size, context_size = self._sizes(masked.text, task.objectives)
        kept = fit(task.context, context_size)
        shortened = bool(kept) and kept[0].text != task.context[-len(kept)].text
        context = tuple(Turn(turn.role, self._quoting.quote(turn.text, joiner)) for turn in kept)
        return PreparedTask(masked, joiner, context, shortened, segments.split(masked.text, size))

    async def _refusal_asked_alone(
        self, task: Task, prepared: PreparedTask, hides: bool, usage: Usage
    ) -> Correction | None:
        """A refusal by what is required, where correcting the draft would not come to one; None if there is none.

        Crowded: beside other objectives a model may not hear that one, and of several parts each would be refused by
        itself, and the next one go on. Hidden: what code blocks and formulas say is shown to it here only.
        """
        crowded = task.objectives != task.required or len(prepared.parts) > 1
        if not task.must_be_able_to_refuse or not (crowded or hides):
            return None
        shown = prepared.masked
        if hides:
            shown = await _aside(len(task.draft), self._shown, prepared.masked, prepared.joiner)
        return await self._refusal(task, shown, usage)

    def _shown(self, masked: protect.Masked, joiner: str) -> protect.Masked:
        """The draft as it is only read: nothing of what it says is masked, and what imitates the prompt is quoted."""
        return protect.shown(self._quoting.quote(protect.spoken(masked), joiner))

    async def _refusal(self, task: Task, masked: protect.Masked, usage: Usage) -> Correction | None:
        """A refusal of the draft toward what is required alone. Anything else is not made use of."""
        required = replace(task.only_required, live=False)
        prepared = await _aside(_length(task), self._prepare, required, masked)
        kept = prepared.context
        waiting = deque(prepared.parts)
        while waiting:
            core = waiting.popleft().strip()
            if not protect.prose(core):
                continue
            part = self._new_part(required, core, 0)
            try:
                async with aclosing(self._gated(required, part, kept, usage)) as pieces:
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
                part.fail(failure(error), str(error))
                part.sent = task.draft
                return joined([part], usage, dropped_turns=0)
            refusal = part.written.replace(prepared.joiner, "") if prepared.joiner else part.written
            if gate.refuses(core, refusal) and not protect.PLACEHOLDER.search(refusal):
                lead, _, trail = task.draft.partition(task.draft.strip())
                part.sent = f"{lead}{refusal}{trail}"
                part.refused = not gate.only_declines(core)
                return joined([part], usage, dropped_turns=len(task.context) - len(kept))
        return None

    async def _parts(self, task: Task, prepared: PreparedTask, usage: Usage) -> AsyncGenerator[str | Correction, None]:
        """Part by part; one for which there is no room is tried with less context, then in halves."""
        waiting, kept = deque(prepared.parts), prepared.context
        done: list[Part] = []
        span = 0
        while waiting and not (done and done[-1].refused):
            await asyncio.sleep(0)  # a part that fails or passes at once waits for nothing, and there may be thousands
            text = waiting.popleft()
            try:
                async with aclosing(self._part(task, text, span, replace(prepared, context=kept), usage)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Part):
                            done.append(piece)
                        else:
                            yield piece
            except ContextTooLong:
                if (smaller := shrunk(text, kept)) is not None:
                    parts, kept = smaller
                    waiting.extendleft(reversed(parts))
                    continue
                no_room = Malformed(f"{self._endpoint.name} has no room even for a sentence")
                if not task.keep_draft_on_failure:
                    raise no_room from None
                done.append(part := self._new_part(task, text, span))
                part.fail(failure(no_room), str(no_room))
                part.sent = part.draft(prepared.masked.spans)
                yield part.sent
            span = done[-1].last_span
        correction = joined(done, usage, dropped_turns=len(task.context) - len(kept))
        if waiting:
            correction.reason += REST_REFUSED
        if kept:
            whole_one = kept[0] == prepared.context[-len(kept)]
            correction.shortened_turn = not whole_one or (prepared.shortened and len(kept) == len(prepared.context))
        yield correction

    async def _part(
        self, task: Task, text: str, first_span: int, prepared: PreparedTask, usage: Usage
    ) -> AsyncGenerator[str | Part, None]:
        """Pieces to send for one part, then the part; toward what is required alone where toward all it is `Unfit`."""
        part = self._new_part(task, text, first_span)
        try:
            async with aclosing(self._pieces(task, part, prepared, usage)) as pieces:
                async for piece in pieces:
                    yield piece
        except Unfit as unfit:
            required = task.only_required
            part = self._new_part(required, text, first_span)
            part.instead_of = unfit.reason
            async with aclosing(self._pieces(required, part, prepared, usage)) as pieces:
                async for piece in pieces:
                    yield piece
        yield part

    def _new_part(self, task: Task, masked: str, first_span: int) -> Part:
        options = self._options.gate.loosened(aim.min_ratio for aim in task.objectives)
        last_span = first_span + len(protect.PLACEHOLDER.findall(masked))
        part = Part(masked, first_span, last_span, options, may_refuse=task.may_refuse)
        part.other_script = task.may_change_script
        if task.segment:
            part.slack = min(gate.SLACK_CHARS, int(gate.SLACK_OF_A_SEGMENT * len(masked)))
        # Words of who asks are no secret; as a fault, they would be a way to have a refusal refused.
        part.instructions = instructions(task.configured, masked)
        return part

    def _sizes(self, masked: str, objectives: Sequence[Objective]) -> tuple[int, int]:
        """Estimated tokens: the longest part of a draft, and what its context may have beside it."""
        overhead = segments.tokens(as_text(self._template.render((), "", objectives))) + 64
        room = max(64, self._context_tokens - overhead)
        size = max(32, int(min(self._options.max_new_tokens / ROOM_TO_GROW, room * 0.4)))
        part = min(size, segments.tokens(masked))
        return size, max(0, int(room - part * (1 + ROOM_TO_GROW) - ROOM_TO_BEGIN))

    async def _pieces(self, task: Task, part: Part, prepared: PreparedTask, usage: Usage) -> AsyncGenerator[str, None]:
        """Pieces to send for one part, which is then complete; what became of it stands in the part."""
        spans, joiner = prepared.masked.spans, prepared.joiner
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
            async with aclosing(self._gated(task, part, prepared.context, usage)) as pieces:
                async for piece in pieces:
                    ready += restorer.feed(piece.replace(joiner, "") if joiner else piece)
                    part.restored_chars = len(part.written) - restorer.held
                    if task.live and part.written.strip() and ready:
                        part.sent += ready
                        yield ready
                        ready = ""
            refuses = part.may_refuse and gate.refuses(core, part.written)
            if refuses and restorer.restored == part.first_span:
                restorer.expected = part.first_span  # of what is refused nothing is kept, and no span of it either
            ready += restorer.finish() + trail
            part.refused = refuses and task.must_be_able_to_refuse and not gate.only_declines(core)
        except (protect.SpanLost, Faulty) as fault:
            reason = fault.reason if isinstance(fault, Faulty) else "protected_span_lost"
            if not part.sent and task.required and task.required != task.objectives:
                raise Unfit(reason) from None
            part.verdict, part.reason = "kept_original", reason
            ready = part.original(spans, restorer.restored, joiner)
        except WireError as error:
            if not task.keep_draft_on_failure:
                raise
            part.fail(failure(error), str(error))
            ready = part.original(spans, restorer.restored, joiner)
        sent_before, part.sent = part.sent, part.sent + ready
        part.compare(part.draft(spans))
        if part.verdict == "unchanged" and not sent_before and task.required and task.defined:
            raise Unfit("")  # who asks may have defined that nothing be changed
        if ready:
            yield ready

    def _gated(self, task: Task, part: Part, context: tuple[Turn, ...], usage: Usage) -> AsyncGenerator[str, None]:
        """What the engine makes of a part, as far as the gate lets it pass."""
        core = part.masked.strip()
        pieces = self._generate_part(task, core, context, usage)
        return gate_stream(part, core, pieces, usage, self._quoting)

    def _generate_part(
        self, task: Task, core: str, context: tuple[Turn, ...], usage: Usage
    ) -> AsyncGenerator[str, None]:
        prompt = self._template.render(context, core, task.objectives)
        size = segments.tokens(core)
        limit = min(self._options.max_new_tokens, int(size * self._options.gate.max_ratio) + ROOM_TO_BEGIN)
        # More than there is room for a vLLM refuses at once, whatever the answer would have needed.
        left = self._context_tokens - segments.tokens(as_text(prompt))
        return self._generate(task, prompt, min(limit, max(left, int(size * ROOM_TO_GROW) + ROOM_TO_BEGIN)), usage)

    def _generate(self, task: Task, prompt: Prompt, limit: int, usage: Usage) -> AsyncGenerator[str, None]:
        salt = task.salt if self._salts_prefixes else ""
        asked = request(self._model, prompt, limit, salt, self._request_fields)
        return generate(self._endpoint, asked, self._options.timeout_s, usage, task.headers)


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


def _nothing_to_do(task: Task, masked: protect.Masked) -> str | None:
    """Why the draft is to be left alone, if it is. Data that a prompt asked for would come back as prose."""
    if not protect.prose(masked.text):
        return "nothing_to_correct" if task.draft.strip() else "empty_draft"
    return "structured_output" if not task.required and is_json(task.draft) else None


def _length(task: Task) -> int:
    """In characters, of all that the engine could be shown."""
    return len(task.draft) + sum(len(turn.text) for turn in task.context)


async def _aside(chars: int, work: Callable[..., Result], *args: Any) -> Result:
    """The result; of a large text from a thread of its own, so that other requests go on meanwhile."""
    return work(*args) if chars < LARGE_CHARS else await asyncio.to_thread(work, *args)


def failure(error: WireError) -> str:
    """The reason of a verdict `failed`."""
    if isinstance(error, Rejected) and error.status == 413:
        return "draft_too_long"
    return "corrector_timeout" if isinstance(error, TimedOut) else "corrector_unavailable"
