"""What an engine writes on its way through the gate: held back until it may leave, stopped at the first fault."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from corrector import gate
from corrector.generation import Usage
from corrector.objectives import Objective
from corrector.part import Faulty, Part
from corrector.quoting import Quoting

HOLD_CHARS = 24  # the tail that stays back, so that no half of a delimiter or placeholder slips out
LONGEST_WORD = 64
CHECK_EVERY_CHARS = 64
LONGEST_INSTRUCTION = 80


def instructions(objectives: tuple[Objective, ...], draft: str) -> tuple[str, ...]:
    """What of the objectives in a prompt is no answer's: all that one says, or its name and how it begins.

    Not its beginning alone: that may be the words that it wants said.
    """
    texts = [aim.description[:LONGEST_INSTRUCTION] for aim in objectives]
    texts += [f"{aim.name}: {aim.description[:HOLD_CHARS]}" for aim in objectives]
    return tuple(text for text in texts if len(text) >= HOLD_CHARS and text not in draft)


async def gate_stream(
    part: Part, draft: str, pieces: AsyncGenerator[str, None], usage: Usage, quoting: Quoting
) -> AsyncGenerator[str, None]:
    """The generated text without white space around it. Raises `Faulty` at the first fault; `part.written` grows.

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
                    _raise(gate.growing(draft, text, part.options, part.slack, may_refuse=part.may_refuse))
                _no_delimiter(part, draft, held, quoting)
                cut = min(cut, _no_instruction(part, held))
            word = held.rfind(" ", 0, max(cut, 0)) + 1
            cut = word if word or cut < LONGEST_WORD else cut  # whole words, where there are words
            if cut > 0:
                part.written += held[:cut]
                yield held[:cut]
                held = held[cut:]
    held = held.rstrip()
    with timed:
        _no_delimiter(part, draft, held, quoting)
        _no_instruction(part, held)
        fault = gate.whole(
            draft, part.written + held, usage.finish_reason, part.options, part.slack,
            may_refuse=part.may_refuse, other_script=part.other_script,
        )  # fmt: skip
        _raise(fault)
    part.written += held
    yield held


def _no_delimiter(part: Part, draft: str, held: str, quoting: Quoting) -> None:
    """None of the prompt's, from where one could reach into what is new."""
    leaked = quoting.imitates(part.written + held, max(0, len(part.written) - HOLD_CHARS))
    if leaked is not None and leaked not in draft:
        raise Faulty("template_leak")


def _no_instruction(part: Part, held: str) -> int:
    """How much of what is held back cannot become one. Where one may have begun, all of it stays back."""
    safe = len(held)
    for text in part.instructions:
        if text in held:
            raise Faulty("template_leak")
        begun = held.rfind(text[:HOLD_CHARS])
        if begun >= 0 and text.startswith(held[begun:].rstrip()):
            safe = min(safe, begun)
    return safe


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
