"""What a run would take, before anything is loaded: steps, tokens, memory and hours, for the sizes of MetaAligner.

Rules of thumb, each named; a profile of the real thing beats them. Knows rows and settings, no model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corrector.templates import Prompt, load
from train.rows import Row

CHARS_A_TOKEN = 4.0  # of English: 4.3 with SmolLM2's vocabulary, as logs of runs have it; less with Llama's smaller one
UTILISATION = 0.35  # of a device's peak, as well-kept training runs reach it
HEAD_TOKENS, HEAD_WORDS = 4096, 32_768  # of the logits TRL's fused head holds no more at once, in half precision


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
    """Of all stages together. `tokens` are those of one epoch, `trained` those of all steps."""

    rows: int
    left_out: int
    tokens: int
    steps: int
    trained: float


def work(
    rows: Sequence[Row], templates: Sequence[str], batch: int, epochs: float, max_steps: int = -1, *,
    longest: int = 640, packing: bool = False,
) -> Work:  # fmt: skip
    """As `sft` counts: a stage's rows in turns over the templates, and without those of more than `longest` tokens.

    `batch` is that of one step, over all devices; with `packing`, of sequences that are `longest` each. `max_steps`: of
    each stage, where it is more than none, however many epochs that takes.
    """
    left_out = steps = 0
    tokens = trained = 0.0
    for kind in dict.fromkeys(row.kind for row in rows):
        some = enumerate(row for row in rows if row.kind == kind)
        lengths = [_tokens(row, templates[number % len(templates)]) for number, row in some]
        kept = [length for length in lengths if length <= longest]
        left_out += len(lengths) - len(kept)
        epoch = math.ceil((sum(kept) / longest if packing else len(kept)) / batch)
        of_stage = max_steps if max_steps > 0 else math.ceil(epoch * epochs)
        if kept:
            tokens += sum(kept)
            steps += of_stage
            trained += sum(kept) * of_stage / epoch
    return Work(len(rows) - left_out, left_out, round(tokens), steps, trained)


def memory_gb(size: Size, *, full: bool, batch: int, longest: int, devices: int, checkpointing: bool = True) -> float:
    """Of each device, weights and their optimiser sharded over all of them (ZeRO-3, Rajbhandari et al. 2020).

    Full: 16 bytes a parameter (weight, gradient and Adam's two moments, in fp32). LoRA: the 4 bytes of the weight.
    Activations: with checkpoints, one hidden state a layer and token, and one layer's inside (34 bytes a token and
    hidden unit in half precision, Korthikanti et al. 2022), else the insides of all. Of the logits a tile, which TRL
    turns into its gradient in place, and makes anew for that; and, where it is trained, the head's gradient, in fp32
    and whole.
    """
    weights = size.parameters * (16 if full else 4) / devices
    tokens = batch * longest
    activations = tokens * size.hidden * (2 * size.layers + 34 * (1 if checkpointing else size.layers))
    head = min(tokens, HEAD_TOKENS) * HEAD_WORDS * 2 + (size.vocabulary * size.hidden * 4 if full else 0)
    return (weights + activations + head) / 1e9


def disk_gb(size: Size, *, stages: int, rank: int, checkpoints: int) -> float:
    """At most, of a run's folder: what each stage has trained, in fp32, and of the one that is at work its checkpoints,
    one more than are kept, with Adam's two moments beside each weight. `rank` 0: every weight.

    A LoRA has so many vectors of each of a layer's seven matrices, as long as its two sides together; Llama's inner
    layer is 2.7 times as wide as the hidden one.
    """
    trained = rank * size.layers * size.hidden * (4 * 2 + 3 * 3.7) if rank else size.parameters
    return trained * (4 * stages + 12 * (checkpoints + 1)) / 1e9


def hours(size: Size, tokens: float, *, full: bool, devices: int, tflops: float, checkpointing: bool = True) -> float:
    """Wall-clock. A token costs 2 operations a parameter forward, twice that backward (Kaplan et al. 2020; with LoRA
    once), and once more forward where there are checkpoints."""
    operations = tokens * size.parameters * (2 + (4 if full else 2) + (2 if checkpointing else 0))
    return operations / (devices * tflops * 1e12 * UTILISATION) / 3600


def markdown(
    done: Work, *, rank: int, epochs: float, batch: int, longest: int, devices: int, tflops: float, stages: int,
    checkpoints: int, checkpointing: bool = True,
) -> str:  # fmt: skip
    """`batch` is that of one device and one pass; `rank` 0: every weight; `checkpoints`: so many are kept."""
    full = rank == 0
    lines = [
        f"{done.rows} rows, and {done.left_out} left out as longer than {longest} tokens, "
        f"about {done.tokens:,} tokens an epoch, {epochs:g} epochs, {done.steps} steps, "
        f"{'every weight' if full else 'LoRA'}, on {devices} devices of {tflops:g} TFLOPS",
        "",
        "| model | GB a device | GB on disk | hours | device hours |",
        "| --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        wall = hours(size, done.trained, full=full, devices=devices, tflops=tflops, checkpointing=checkpointing)
        gb = memory_gb(size, full=full, batch=batch, longest=longest, devices=devices, checkpointing=checkpointing)
        disk = disk_gb(size, stages=stages, rank=rank, checkpoints=checkpoints)
        lines.append(f"| {size.name} | {gb:.1f} | {disk:.1f} | {wall:.2f} | {wall * devices:.1f} |")
    return "\n".join(lines) + "\n"


def _tokens(row: Row, template: str) -> float:
    prompt = load(template).render(row.context, row.draft, row.objectives, equal=row.kind == "equal")
    return (len(_text(prompt)) + len(row.target)) / CHARS_A_TOKEN


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
