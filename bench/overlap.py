"""`make bench-overlap`: from the policy's last token to the corrector's first, with its prompt computed ahead or not.

The shipped corrector on its engine; the policy is a text that grows at a steady pace, as one on a machine of its own
writes. Every run has a conversation that no run before had, so that no prefix is there already. Read the ratio: a
prompt that takes longer to read than its answer takes to write cannot be there when that ends, whoever computes it.
"""

import asyncio
import os
import random
import statistics
import time
from pathlib import Path

import click

from bench import Table, machine
from corrector.correction import Task
from corrector.corrector import Corrector, CorrectorOptions
from corrector.engines.llamacpp import Options
from corrector.objectives import Objective, read
from corrector.running import CorrectorSpec, running
from corrector.templates import Turn

CHARS = 4  # of a word below, with the space after it
WORDS = ("tea", "cup", "day", "sun", "red", "old", "map", "ten", "box", "sea", "dog")  # of a token each, like prose


def text(rng: random.Random, tokens: int) -> str:
    """Sentences of so many words that the embedded model has about one token for."""
    return " ".join(f"{' '.join(rng.choices(WORDS, k=9)).capitalize()}." for _ in range(tokens // 10))


async def once(
    corrector: Corrector, context: tuple[Turn, ...], draft: str, aims: tuple[Objective, ...], rate: float
) -> float:
    """Seconds. `rate`: characters a second at which the draft grows."""
    ahead = corrector.ahead(Task(context, "", aims)) if corrector.goes_ahead else None
    for end in range(0, len(draft), 20):
        await asyncio.sleep(20 / rate)
        if ahead is not None and ahead.due:
            ahead.grow(draft[:end])
    started = time.perf_counter()
    if ahead is not None:
        await ahead.finish()
    pieces = corrector.correct(Task(context, draft, aims, live=True))
    async for piece in pieces:
        if isinstance(piece, str) and piece.strip():
            break
    await pieces.aclose()
    return time.perf_counter() - started


async def measured(
    below: int, size: int, pace: int, *, rounds: int, threads: int, draft_tokens: int, seed: str
) -> float:
    """The median of some rounds. `pace`: tokens a second of the policy."""
    rng = random.Random(seed)
    aims = tuple(read(Path("objectives.yaml")).objectives[key] for key in ("harmlessness", "helpfulness"))
    model = {"model": "smollm2-135m-instruct", "adapter": "smollm2-135m-editor", "weights": "q8_0", "threads": threads}
    spec = CorrectorSpec(
        engine=Options.model_validate({"kind": "llamacpp", **model}),
        options=CorrectorOptions(template="chat", prefill_ahead=below),
    )
    async with running("c", spec, lambda event, **told: None) as corrector:
        times = []
        for _ in range(rounds):
            context = (Turn("user", text(rng, size)),)
            times.append(await once(corrector, context, text(rng, draft_tokens), aims, rate=pace * CHARS))
        return statistics.median(times)


@click.command()
@click.option("--tokens", "sizes", multiple=True, type=int, default=(1000, 4000), show_default=True)
@click.option("--pace", "paces", multiple=True, type=int, default=(30, 10), show_default=True, help="Of the policy.")
@click.option("--draft", "draft_tokens", default=300, show_default=True, help="Tokens of the policy's answer.")
@click.option("--rounds", default=2, show_default=True)
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
def main(sizes: tuple[int, ...], paces: tuple[int, ...], draft_tokens: int, rounds: int, threads: int) -> None:
    table = Table("overlap")
    table.say(f"{machine()}, {threads} threads; an answer of {draft_tokens} tokens, the median of {rounds}")
    table.say()
    table.say(
        "| tokens of context | policy, tokens/s | last token to first, s | with the prompt computed ahead, s | ratio |"
    )
    table.say("|" + " --- |" * 5)
    sizing = {"rounds": rounds, "threads": threads, "draft_tokens": draft_tokens}
    for size in sizes:
        for pace in paces:
            plain = asyncio.run(measured(0, size, pace, seed=f"plain {size} {pace}", **sizing))
            early = asyncio.run(measured(4, size, pace, seed=f"early {size} {pace}", **sizing))
            table.say(f"| {size} | {pace} | {plain:.2f} | {early:.2f} | {early / plain:.2f} |")


if __name__ == "__main__":
    main()
