"""`make bench-reading`: how fast the embedded model reads a prompt and writes, by how its weights are stored.

The ratio of the two bounds what drafting can gain: verifying proposed tokens is reading them.
"""

import asyncio
import os
import random

import click

from bench import Table, machine
from bench.overlap import text
from corrector.engines.llamacpp import Options
from corrector.running import served
from wire.codec import dumps, loads

WEIGHTS = ("stored", "q8_0")


async def once(weights: str, threads: int, tokens: int, seed: int) -> tuple[float, float]:
    """Tokens a second: read, written."""
    model = {"model": "smollm2-135m-instruct", "adapter": "smollm2-135m-editor", "weights": weights}
    engine = Options.model_validate({"kind": "llamacpp", "threads": threads, **model})
    async with served("the engine", engine, lambda event, **told: None) as endpoint:
        asked = {"prompt": text(random.Random(seed), tokens), "max_tokens": 96, "temperature": 0, "ignore_eos": True}
        opened = await endpoint.post("/completions", dumps(asked))
        told = loads(await opened.read())["timings"]
        opened.close()
    return told["prompt_per_second"], told["predicted_per_second"]


@click.command()
@click.option("--tokens", default=400, show_default=True, help="Of the prompt.")
@click.option("--rounds", default=3, show_default=True)
def main(tokens: int, rounds: int) -> None:
    table = Table("reading")
    table.say(f"{machine()}; a prompt of {tokens} tokens, the best of {rounds} rounds in turns.")
    table.say()
    table.say("| threads | weights | read, tokens/s | to stored | written, tokens/s | to stored | read to written |")
    table.say("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in range(1, len(os.sched_getaffinity(0)) + 1):
        runs = [[asyncio.run(once(weights, threads, tokens, seed)) for weights in WEIGHTS] for seed in range(rounds)]
        best = [tuple(map(max, zip(*some, strict=True))) for some in zip(*runs, strict=True)]
        for weights, (read, written) in zip(WEIGHTS, best, strict=True):
            row = (threads, weights, f"{read:.0f}", f"{read / best[0][0]:.2f}", f"{written:.0f}")
            table.say(
                "| " + " | ".join(map(str, (*row, f"{written / best[0][1]:.2f}", f"{read / written:.1f}"))) + " |"
            )


if __name__ == "__main__":
    main()
