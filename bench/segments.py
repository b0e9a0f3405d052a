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
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import click

from bench import machine
from corrector import segments
from corrector.correction import Correction, Task
from corrector.corrector import Corrector, CorrectorOptions
from corrector.engines.llamacpp import Options
from corrector.gate import GateOptions
from corrector.objectives import read
from corrector.running import CorrectorSpec, running
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


async def measured(answers: list[Answered], rate: float, threads: int, at_once: int) -> list[tuple[Ran, Ran]]:
    model = {"model": "smollm2-135m-instruct", "adapter": "smollm2-135m-editor", "threads": threads}
    spec = CorrectorSpec(
        engine=Options.model_validate({"kind": "llamacpp", **model}),
        options=CorrectorOptions(
            template="chat", gate=GateOptions(min_ratio=0.6, max_ratio=1.5), segments_at_once=at_once
        ),
    )
    done = []
    async with running("c", spec, lambda event, **told: None) as corrector:
        await once(corrector, answers[0], 1e6, by_segments=False)  # the engine's first answer pays for its buffers
        for answer in answers:
            one = await once(corrector, answer, rate, by_segments=False)
            done.append((one, await once(corrector, answer, rate, by_segments=True)))
    return done


def bucket(answer: Answered) -> str:
    tokens = len(answer.draft) / CHARS_A_TOKEN
    return "up to 150" if tokens <= 150 else "150 to 400" if tokens <= 400 else "over 400"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--each", default=4, show_default=True, help="Answers of each length.")
@click.option("--pace", default=40.0, show_default=True, help="The policy's tokens a second.")
@click.option("--at-once", default=4, show_default=True, help="Segments of one answer corrected at the same time.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/bench/segments.json"), show_default=True)
def main(files: tuple[Path, ...], each: int, pace: float, at_once: int, threads: int, out: Path) -> None:
    chosen: dict[str, list[Answered]] = {"up to 150": [], "150 to 400": [], "over 400": []}
    for answer in drafts(files, 10_000, Skipped()):
        if len(chosen[bucket(answer)]) < each and segments.tokens(answer.draft) < 1200:
            chosen[bucket(answer)].append(answer)
    print(
        f"{machine()}, {threads} threads; a policy of {pace:g} tokens a second; {at_once} segments at once; {each} answers each\n"
    )
    print("| tokens of the answer | first word, full | first word, segment | last word, full | last word, segment |")
    print("| --- | --- | --- | --- | --- |")
    told = {}
    for name, answers in chosen.items():
        runs = asyncio.run(measured(answers, pace * CHARS_A_TOKEN, threads, at_once))
        firsts = [statistics.median(run.first for run in mode) for mode in zip(*runs, strict=True)]
        lasts = [statistics.median(run.last for run in mode) for mode in zip(*runs, strict=True)]
        print(f"| {name} | {firsts[0]:.2f} | {firsts[1]:.2f} | {lasts[0]:.2f} | {lasts[1]:.2f} |", flush=True)
        told[name] = {"first": firsts, "last": lasts, "verdicts": [[run.verdict for run in pair] for pair in runs]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        json.dumps({"machine": machine(), "pace": pace, "modes": ["full", "segment"], "lengths": told}, indent=1)
    )


if __name__ == "__main__":
    main()
