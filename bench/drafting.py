"""`make bench-drafting`: tokens a second of real corrections, with each kind of drafting from the prompt, and without.

The shipped corrector over real answers, as the gateway asks it, gate and all. Every setting runs in an engine of its
own, one after the other, twice, and the faster of the two counts: read the ratio to `none`. Drafts never change what
a greedy engine says but by its rounding: the last column counts the corrections that came out otherwise.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench import machine
from corrector.corrector import CorrectorOptions, Task, whole
from corrector.engines.llamacpp import Options
from corrector.gate import GateOptions
from corrector.objectives import read
from corrector.running import CorrectorSpec, running
from train.evaluate import Answered, drafts
from train.readers import Skipped, conversation

AIMS = ("harmlessness", "helpfulness")


@dataclass(frozen=True, slots=True)
class Ran:
    """One setting at one number in flight."""

    tokens: int
    seconds: float
    texts: tuple[str, ...]


def options(setting: str, adapter: str, threads: int) -> Options:
    """`none`, or KIND:LOOKUP:LENGTH, such as `ngram_map_k:4:16`."""
    kind, _, sizes = setting.partition(":")
    lookup, _, length = sizes.partition(":")
    given: dict[str, Any] = {"draft_lookup": lookup, "draft_length": length} if sizes else {}
    model = {
        "kind": "llamacpp",
        "model": "smollm2-135m-instruct",
        "adapter": adapter,
        "threads": threads,
        "parallel": 8,
    }
    return Options.model_validate({**model, "drafting": kind, **given})


async def run(answers: list[Answered], engine: Options, in_flight: int) -> Ran:
    aims = tuple(read(Path("objectives.yaml")).objectives[key] for key in AIMS)
    spec = CorrectorSpec(
        engine=engine, options=CorrectorOptions(template="chat", gate=GateOptions(min_ratio=0.6, max_ratio=1.5))
    )
    places = asyncio.Semaphore(in_flight)

    async with running("c", spec, lambda event, **told: None) as corrector:

        async def one(answer: Answered) -> tuple[int, str]:
            async with places:
                told = await whole(corrector, Task(conversation(answer.query), answer.draft, aims), tries=1)
            return told.completion_tokens, told.text

        await one(answers[0])  # the engine's first answer pays for its buffers
        started = time.perf_counter()
        done = await asyncio.gather(*map(one, answers))
        return Ran(sum(tokens for tokens, _ in done), time.perf_counter() - started, tuple(text for _, text in done))


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--each", default=3, show_default=True, help="Answers of each policy and data set.")
@click.option("--adapter", default="smollm2-135m-editor", show_default=True)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--in-flight", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option(
    "--setting", "settings", multiple=True, default=("ngram_simple:4:16", "ngram_map_k:4:16", "ngram_cache"),
    show_default=True,
)  # fmt: skip
def main(
    files: tuple[Path, ...], each: int, adapter: str, threads: int, in_flight: tuple[int, ...], rounds: int,
    settings: tuple[str, ...],
) -> None:  # fmt: skip
    answers = drafts(files, each, Skipped())
    words = sum(len(one.draft.split()) for one in answers)
    print(f"{machine()}, {threads} threads; {len(answers)} answers, {words} words\n")
    print("| drafting | in flight | tokens/s | to none | corrections that came out otherwise |")
    print("| --- | --- | --- | --- | --- |")
    for many in in_flight:
        plain: Ran | None = None
        for setting in ("none", *settings):
            engine = options(setting, adapter, threads)
            best = min((asyncio.run(run(answers, engine, many)) for _ in range(rounds)), key=lambda ran: ran.seconds)
            plain = plain or best
            ratio = (best.tokens / best.seconds) / (plain.tokens / plain.seconds)
            other = sum(ours != theirs for ours, theirs in zip(best.texts, plain.texts, strict=True))
            print(f"| {setting} | {many} | {best.tokens / best.seconds:.0f} | {ratio:.2f} | {other} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
