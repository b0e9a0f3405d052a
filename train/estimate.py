"""What a run would take, before anything is loaded: steps, tokens, memory and hours, for the sizes of MetaAligner.

Rules of thumb, each named; a profile of the real thing beats them. Knows rows and settings, no model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corrector.templates import Prompt, load
from train.rows import Row

CHARS_A_TOKEN = 3.6  # of English, with the vocabularies of Llama and SmolLM2
UTILISATION = 0.35  # of a device's peak, as well-kept training runs reach it


@dataclass(frozen=True, slots=True)
class Size:
    """A Llama model. Memory and time hang on little else."""

    name: str
    parameters: float
    layers: int
    hidden: int
    vocabulary: int = 32_000


SIZES = (
    Size("135M", 0.135e9, 30, 576, 49_152),
    Size("1.1B", 1.1e9, 22, 2048),
    Size("7B", 6.7e9, 32, 4096),
    Size("13B", 13e9, 40, 5120),
)


@dataclass(frozen=True, slots=True)
class Work:
    """Of all stages together. `tokens` are those of one epoch."""

    rows: int
    tokens: int
    steps: int


def work(rows: Sequence[Row], templates: Sequence[str], batch: int, epochs: float, max_steps: int = -1) -> Work:
    """`batch` is that of one step, over all devices. Rows in turns over the templates, as they are trained on.

    `max_steps`: of each stage, where it is more than none.
    """
    characters = 0
    for number, row in enumerate(rows):
        prompt = load(templates[number % len(templates)]).render(row.context, row.draft, row.objectives)
        characters += len(_text(prompt)) + len(row.target)
    kinds = {row.kind for row in rows}
    stages = [math.ceil(sum(row.kind == kind for row in rows) * epochs / batch) for kind in kinds]
    steps = sum(min(stage, max_steps) if max_steps > 0 else stage for stage in stages)
    return Work(len(rows), round(characters / CHARS_A_TOKEN), steps)


def memory_gb(size: Size, *, full: bool, batch: int, longest: int, devices: int, checkpointing: bool = True) -> float:
    """Of each device, weights and their optimiser sharded over all of them (ZeRO-3, Rajbhandari et al. 2020).

    Full: 16 bytes a parameter (weight, gradient and Adam's two moments, in fp32). LoRA: the 4 bytes of the weight.
    Activations: with checkpoints, one hidden state a layer and token, and one layer's inside (34 bytes a token and
    hidden unit in half precision, Korthikanti et al. 2022), else the insides of all; and the logits, with their
    gradient, in fp32.
    """
    weights = size.parameters * (16 if full else 4) / devices
    tokens = batch * longest
    activations = tokens * size.hidden * (2 * size.layers + 34 * (1 if checkpointing else size.layers))
    logits = tokens * size.vocabulary * 4 * 2
    return (weights + activations + logits) / 1e9


def hours(size: Size, tokens: float, *, full: bool, devices: int, tflops: float, checkpointing: bool = True) -> float:
    """Wall-clock. A token costs 2 operations a parameter forward, twice that backward (Kaplan et al. 2020; with LoRA
    once), and once more forward where there are checkpoints."""
    operations = tokens * size.parameters * (2 + (4 if full else 2) + (2 if checkpointing else 0))
    return operations / (devices * tflops * 1e12 * UTILISATION) / 3600


def markdown(
    done: Work, *, full: bool, epochs: float, batch: int, accumulate: int, longest: int, devices: int, tflops: float,
    checkpointing: bool = True,
) -> str:  # fmt: skip
    """`batch` is that of one device and one pass; a step has `accumulate` of them."""
    # What --max-steps ends early trains on so much less.
    tokens = min(done.tokens * epochs, done.steps * batch * accumulate * devices * done.tokens / max(1, done.rows))
    lines = [
        f"{done.rows} rows, about {done.tokens:,} tokens an epoch, {epochs:g} epochs, {done.steps} steps, "
        f"{'every weight' if full else 'LoRA'}, on {devices} devices of {tflops:g} TFLOPS",
        "",
        "| model | GB a device | hours | device hours |",
        "| --- | --- | --- | --- |",
    ]
    for size in SIZES:
        wall = hours(size, tokens, full=full, devices=devices, tflops=tflops, checkpointing=checkpointing)
        gb = memory_gb(size, full=full, batch=batch, longest=longest, devices=devices, checkpointing=checkpointing)
        lines.append(f"| {size.name} | {gb:.1f} | {wall:.2f} | {wall * devices:.1f} |")
    return "\n".join(lines) + "\n"


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
