"""`make bench-segments`: when the first corrected word comes, and the last: corrected whole, or by segments.

Real answers, each replayed as a policy on a machine of its own would write it, at a steady pace; the shipped corrector
on its engine, asked as the gateway asks it. Both figures are shares of the time that the policy takes: 1.0 is the
moment of its last token. Runs of both modes take turns.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bench import Table, machine
from corrector import segments
from corrector.correction import Correction, Task
from corrector.corrector import Corrector, CorrectorOptions
from corrector.engines.llamacpp import Options
from corrector.gate import GateOptions
from corrector.objectives import read
from corrector.running import CorrectorSpec, corrector_of, served
from corrector.segmented import SegmentedDraft
from train.evaluate import Answered, drafts
from train.readers import Skipped, conversation

AIMS = ("harmlessness", "helpfulness")
CHARS_A_TOKEN = 4.2  # of these answers, by the embedded model's own tokenizer
PIECE = 12  # characters: about three tokens


@dataclass(frozen=True, slots=True)
class Ran:
    """Of one answer: the first corrected word and the last, as shares of the policy's time; and what became of it."""

    first: float
    last: float
    verdict: str


async def once(corrector: Corrector, answer: Answered, rate: float, *, by_segments: bool) -> Ran:
    """`rate`: characters a second at which the draft grows."""
    aims = tuple(read(Path("objectives.yaml")).objectives[key] for key in AIMS)
    task = Task(conversation(answer.query), answer.draft, aims, live=True)
    whole = asyncio.Event()
    growing = SegmentedDraft(corrector, task) if by_segments else None

    async def write() -> None:
        for at in range(0, len(answer.draft), PIECE):
            await asyncio.sleep(max(0.0, started + at / rate - time.perf_counter()))
            if growing is not None:
                growing.grow(answer.draft[at : at + PIECE])
        if growing is not None:
            growing.end()
        whole.set()

    async def pieces() -> AsyncGenerator[str | Correction, None]:
        if growing is None:
            await whole.wait()
        async for piece in growing.corrected() if growing is not None else corrector.correct(task):
            yield piece

    started, first, verdict = time.perf_counter(), 0.0, ""
    writing = asyncio.create_task(write())
    async for piece in pieces():
        if isinstance(piece, Correction):
            verdict = piece.verdict
        elif piece.strip() and not first:
            first = time.perf_counter() - started
    await writing
    policy = len(answer.draft) / rate
    return Ran(first / policy, (time.perf_counter() - started) / policy, verdict)


async def measured(answers: list[Answered], rate: float, threads: int, at_once: Sequence[int]) -> list[list[Ran]]:
    """Of each answer: corrected whole, and by so many segments at once."""
    model = {"model": "smollm2-135m-instruct", "adapter": "smollm2-135m-editor", "weights": "q8_0", "threads": threads}
    engine = Options.model_validate({"kind": "llamacpp", **model})
    gate = GateOptions(min_ratio=0.6, max_ratio=1.5)
    done = []
    async with served("c", engine, lambda event, **told: None) as endpoint:

        def corrector(many: int) -> Corrector:
            options = CorrectorOptions(template="chat", gate=gate, segments_at_once=many)
            return corrector_of("c", CorrectorSpec(engine=engine, options=options), endpoint)

        await once(corrector(1), answers[0], 1e6, by_segments=False)  # the engine's first answer pays for its buffers
        for answer in answers:
            runs = [await once(corrector(1), answer, rate, by_segments=False)]
            runs += [await once(corrector(many), answer, rate, by_segments=True) for many in at_once]
            done.append(runs)
    return done


def bucket(answer: Answered) -> str:
    tokens = len(answer.draft) / CHARS_A_TOKEN
    return "up to 150" if tokens <= 150 else "150 to 400" if tokens <= 400 else "over 400"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--each", default=4, show_default=True, help="Answers of each length.")
@click.option("--pace", default=40.0, show_default=True, help="The policy's tokens a second.")
@click.option("--at-once", multiple=True, type=int, default=(1, 4), show_default=True, help="Segments of one answer.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/bench/segments.json"), show_default=True)
def main(files: tuple[Path, ...], each: int, pace: float, at_once: tuple[int, ...], threads: int, out: Path) -> None:
    chosen: dict[str, list[Answered]] = {"up to 150": [], "150 to 400": [], "over 400": []}
    for answer in drafts(files, 10_000, Skipped()):
        if len(chosen[bucket(answer)]) < each and segments.tokens(answer.draft) < 1200:
            chosen[bucket(answer)].append(answer)
    modes = ["full", *(f"segment, {many} at once" for many in at_once)]
    table = Table("segments")
    table.say(
        f"{machine()}, {threads} threads; a policy of {pace:g} tokens a second. First corrected word and last, as"
    )
    table.say(f"shares of the policy's time; medians of {each} answers.")
    table.say()
    table.say("".join(("| tokens of the answer ", *(f"| {mode} " for mode in modes), "|")))
    table.say("| --- " * (len(modes) + 1) + "|")
    told = {}
    for name, answers in chosen.items():
        runs = asyncio.run(measured(answers, pace * CHARS_A_TOKEN, threads, at_once))
        firsts = [statistics.median(run.first for run in mode) for mode in zip(*runs, strict=True)]
        lasts = [statistics.median(run.last for run in mode) for mode in zip(*runs, strict=True)]
        cells = (f"| {first:.2f} to {last:.2f} " for first, last in zip(firsts, lasts, strict=True))
        table.say("".join((f"| {name} ", *cells, "|")))
        told[name] = {"first": firsts, "last": lasts, "verdicts": [[run.verdict for run in some] for some in runs]}
    out.write_text(json.dumps({"machine": machine(), "pace": pace, "modes": modes, "lengths": told}, indent=1))


if __name__ == "__main__":
    main()
