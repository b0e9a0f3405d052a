"""`sft` and `export`: rows to an adapter, and to what engines load."""

import hashlib
import json
from pathlib import Path
from typing import Any

import click

from train.commands import FILE, MODEL, PATH, TEMPLATE, WORK


@click.command()
@click.argument("rows", type=FILE)
@click.option("--out", type=PATH, required=True)
@MODEL
@WORK
@click.option("--template", "templates", multiple=True, type=TEMPLATE, default=("ultrafeedback",), show_default=True)
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(["identical", "equal", "better"]),
    default=("identical", "equal", "better"), show_default=True,
)  # fmt: skip
@click.option("--from", "start", type=click.Path(path_type=Path), help="An adapter to train further: GGUF or a folder.")
@click.option("--rank", default=16, show_default=True, help="Of a new LoRA; 0 trains every weight.")
@click.option("--first-layer", default=0, show_default=True, help="Train from this layer up: a CPU is faster for it.")
@click.option("--learning-rate", default=3e-4, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--accumulate", default=1, show_default=True)
@click.option("--epochs", default=1.0, show_default=True)
@click.option("--max-steps", default=-1, help="Of each stage.")
@click.option("--longest", default=640, show_default=True, help="Tokens of a row.")
@click.option("--save-every", default=25, show_default=True, help="Steps.")
@click.option("--packing", is_flag=True, help="Several rows in one sequence: needs a GPU with flash attention.")
@click.option(
    "--checkpointing/--no-checkpointing", default=True, show_default=True, help="Less of a GPU's memory, more time."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what it would take, for models of several sizes.")
@click.option("--devices", default=1, show_default=True, help="For --dry-run.")
@click.option("--tflops", default=312.0, show_default=True, help="For --dry-run: a device's peak; an A100's, in bf16.")
def sft(rows: Path, out: Path, model: str, work: Path, start: Path | None, **options: Any) -> None:
    """Train on ROWS, stage by stage; started again, it goes on where it was stopped."""
    dry, devices, tflops = options.pop("dry_run"), options.pop("devices"), options.pop("tflops")
    if dry:
        click.echo(_estimate(rows, options, devices, tflops))
        return
    from train.model import base
    from train.sft import Settings, run, together

    with together().main_process_first():
        folder = base(model, work)
        if start is not None:
            start = _unpacked(folder, start, out, "--from")
    click.echo(f"trained: {run(folder, rows, out, Settings(**options), start)}")


def _unpacked(base: Path, adapter: Path, out: Path, option: str) -> Path:
    """The folder of an adapter that is one already, or GGUF."""
    from train.export import from_gguf

    if not adapter.is_file():
        return adapter
    digest = hashlib.sha256(adapter.read_bytes()).hexdigest()[:8]  # another one may have its name
    unpacked = out / f"{adapter.stem}-{digest}"
    if not unpacked.exists():
        part = unpacked.with_name(f"{unpacked.name}.part")
        try:
            from_gguf(base, adapter, part)
        except ValueError as error:
            raise click.UsageError(f"{option} {adapter}: {error}") from None
        part.rename(unpacked)
    return unpacked


def _on_its_base(adapter: Path, base: Path) -> None:
    """Weights that were learnt beside others are noise: llama.cpp, which sees but their shapes, would serve them."""
    from corrector.engines.llamacpp import PACKAGED
    from train.export import same_base
    from train.model import undigested

    record = adapter.parent / "run.json"
    trained_on = json.loads(record.read_text(encoding="utf-8"))["base"] if record.is_file() else str(base)
    if not same_base(trained_on, base):
        packaged = (name for name, (_, file) in PACKAGED.items() if Path(file).stem == undigested(trained_on))
        model = next(packaged, trained_on)
        raise click.UsageError(f"{adapter} was trained on {trained_on}, not on {base.name}: give --model {model}")


def _estimate(rows: Path, options: dict[str, Any], devices: int, tflops: float) -> str:
    from train import estimate
    from train.rows import read
    from train.sft import CHECKPOINTS

    some = [row for row in read(rows) if row.kind in options["stages"]]
    batch, epochs, longest = options["batch"], options["epochs"], options["longest"]
    done = estimate.work(
        some, options["templates"], batch * options["accumulate"] * devices, epochs, options["max_steps"],
        longest=longest, packing=options["packing"],
    )  # fmt: skip
    return estimate.markdown(
        done, rank=options["rank"], epochs=epochs, batch=batch, longest=longest, devices=devices, tflops=tflops,
        stages=len({row.kind for row in some}), checkpoints=CHECKPOINTS, checkpointing=options["checkpointing"],
    )  # fmt: skip


@click.command()
@click.argument("adapter", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--gguf", type=PATH, help="The adapter as GGUF, for llama.cpp.")
@click.option("--merged", type=PATH, help="Base and adapter as one model, for vLLM and transformers.")
@click.option(
    "--blend", type=click.Path(path_type=Path, exists=True), help="The adapter it went on from: to lose less of that."
)
@click.option("--share", type=click.FloatRange(0, 1), help="With --blend: how much of ADAPTER, from 0 to 1.  [0.5]")
@click.option("--report", "reports", multiple=True, type=FILE, help="Of `train evaluate`: results for the card.")
@MODEL
@WORK
def export(
    adapter: Path,
    gguf: Path | None,
    merged: Path | None,
    blend: Path | None,
    share: float | None,
    reports: tuple[Path, ...],
    model: str,
    work: Path,
) -> None:
    """A trained ADAPTER as what engines load, with a model card beside it."""
    from train import export as exports
    from train.card import card
    from train.model import base

    if gguf is None and merged is None:
        raise click.UsageError("say where to: --gguf FILE, --merged FOLDER, or both")
    if share is not None and blend is None:
        raise click.UsageError("--share goes with --blend")
    whole = not exports.is_adapter(adapter)
    if whole and not (adapter / "config.json").is_file():
        raise click.UsageError(f"{adapter} holds neither an adapter nor a model; a run's are in its 3-better")
    if whole and (gguf is not None or blend is not None):
        raise click.UsageError(f"{adapter} is a whole model, and no adapter: there is --merged for it")
    folder = base(model, work)
    if not whole:
        _on_its_base(adapter, folder)
    if blend is not None:
        share = 0.5 if share is None else share
        between = adapter.parent / f"{adapter.name}-{share:g}"
        try:
            exports.blended(_unpacked(folder, blend, adapter.parent, "--blend"), adapter, share, between)
        except ValueError as error:
            raise click.UsageError(f"--blend {blend}: {error}") from None
        adapter = between
    if merged is not None:  # first: of any base it can be made
        exports.merged(folder, adapter, merged)
        (merged / "README.md").write_text(card(merged.name, adapter, reports), encoding="utf-8")
        click.echo(f"{merged}, its card: README.md")
    if gguf is not None:
        gguf.parent.mkdir(parents=True, exist_ok=True)
        try:
            exports.gguf_lora(folder, adapter, gguf)
        except ValueError as error:
            raise click.UsageError(f"--gguf: {error}") from None
        gguf.with_suffix(".md").write_text(card(gguf.stem, adapter, reports), encoding="utf-8")
        click.echo(f"{gguf}: {gguf.stat().st_size / 1e6:.1f} MB, its card: {gguf.with_suffix('.md')}")
