"""MetaAligner's three stages (arXiv 2403.17141, 3.2): identical warm-up, equal, better. On TRL.

Each stage continues the weights of the one before, and leaves a `done` behind: a run that was
stopped goes on where it was, in the same order and with the same weights as if it had not been.
Started by `torchrun` or `accelerate launch`, every process runs this, and the first one writes.
"""

import gc
import hashlib
import json
import platform
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from train.encode import encode, encoded
from train.model import load, undigested
from train.rows import DataError, Row, read

STAGES = ("identical", "equal", "better")
CHECKPOINTS = 2  # kept while a stage is trained; a new one is there before the oldest goes
# Settings that may be others when a run goes on. Of a step's rows the number decides, and not how they are dealt out.
GOES_ON_WITH = ("batch", "accumulate", "save_every", "checkpointing", "bf16")


@dataclass(frozen=True)
class Settings:
    """`learning_rate` is that of LoRA; the paper's full fine-tuning has 1e-5. `longest` in tokens."""

    templates: tuple[str, ...] = ("ultrafeedback",)
    stages: tuple[str, ...] = STAGES
    rank: int = 16  # 0: every weight is trained
    first_layer: int = 0  # the layers below it stay as they are: of 30, 12 make a CPU 1.4 times as fast
    learning_rate: float = 3e-4
    batch: int = 8
    accumulate: int = 1
    epochs: float = 1.0
    max_steps: int = -1  # of each stage
    warmup: float = 0.05  # a share of the steps, which transformers takes below 1 for one
    longest: int = 640
    save_every: int = 25
    packing: bool = False
    checkpointing: bool = True  # on a GPU: what a layer computed is computed again, in place of being kept
    bf16: bool | None = None  # None: where it is fast
    seed: int = 1


def run(base: Path, rows_path: Path, out: Path, settings: Settings, start: Path | None = None) -> Path:
    """Train, stage by stage. Returns the folder of the last stage's adapter (or weights).

    `start`: an adapter's folder, or weights, to go on from, instead of from nothing; the rank is the adapter's then.
    Raises `DataError` where `out` holds a run of other rows or settings.
    """
    processes = together()
    rows = [row for row in read(rows_path) if row.kind in settings.stages]
    if not rows:
        raise DataError(f"{rows_path} has no row of the stages {', '.join(settings.stages)}")
    _renders(base, rows[0], settings.templates)
    out.mkdir(parents=True, exist_ok=True)
    if start is not None and settings.rank:
        settings = replace(settings, rank=_rank(start))
    if processes.is_main_process:
        _record(out, base, rows, settings, start, processes.num_processes)
    processes.wait_for_everyone()
    weights = start
    for number, stage in enumerate(settings.stages, 1):
        folder = out / f"{number}-{stage}"
        some = [row for row in rows if row.kind == stage]
        if not some:
            continue
        if not (folder / "done").exists():
            _stage(base, weights, some, folder, settings)
            processes.wait_for_everyone()
            if not (folder / "done").exists():
                raise SystemExit(f"stopped in {folder}; the same command goes on from there")
        if processes.is_main_process:
            _without_checkpoints(folder)
        weights = folder
    assert weights is not None
    return weights


def together() -> Any:
    """The processes of this run, one where nobody launched more: `accelerate.PartialState`."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def _rank(adapter: Path) -> int:
    config = adapter / "adapter_config.json"
    if not config.is_file():
        raise DataError(f"{adapter} is no adapter: it has no adapter_config.json; weights go on with --rank 0")
    return int(json.loads(config.read_text(encoding="utf-8"))["r"])


def _record(out: Path, base: Path, rows: Sequence[Row], settings: Settings, start: Path | None, processes: int) -> None:
    """`run.json`: what a model card has to say of a run, and by what the same run is known when it goes on.

    It says what the run was begun with, whatever that goes on with: what is done is not done with anything else.
    """
    seen = Counter((row.source, row.licence, row.kind) for row in rows)
    told = {
        "base": base.name if base.is_dir() else str(base),
        **_begun_with(start),
        "settings": asdict(settings),
        "rows_a_step": settings.batch * settings.accumulate * processes,
        "rows": hashlib.sha256(repr(rows).encode()).hexdigest()[:16],
        "data": [
            {"source": source, "licence": licence, "kind": kind, "rows": count}
            for (source, licence, kind), count in sorted(seen.items())
        ],
    }
    record = out / "run.json"
    told = json.loads(json.dumps(told))
    if record.is_file():
        before = json.loads(record.read_text(encoding="utf-8"))
        if before["base"] == undigested(told["base"]):
            before["base"] = told["base"]
        _same_steps(out, told, before, processes)
        differ = [
            name for name in told if told[name] != before.get(name) and name not in ("settings", "data", "rows_a_step")
        ]
        ours, theirs = told["settings"], before["settings"]
        differ += [name for name in ours if ours[name] != theirs.get(name) and name not in GOES_ON_WITH]
        if differ:
            raise DataError(f"{out} holds a run with another {', '.join(differ)}; remove it, or give another --out")
        return
    record.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _same_steps(out: Path, told: dict[str, Any], before: dict[str, Any], processes: int) -> None:
    """A run's order of rows and its learning rate go by the step: with another number of rows a step, a run that goes
    on would see some rows twice and others never. Of a record that is older than this one, nobody knows how many
    processes there were: it is taken for as many.
    """
    of_settings = int(before["settings"]["batch"]) * int(before["settings"]["accumulate"])
    then, now = before.get("rows_a_step", of_settings * processes), told["rows_a_step"]
    if then != now:
        raise DataError(
            f"{out} holds a run of {then} rows a step, and this would be {now}: choose --batch and --accumulate that "
            f"make {then}, times {processes} for as many processes, or give another --out"
        )


def _begun_with(start: Path | None) -> dict[str, Any]:
    """What is gone on with, by its weights; and the record of the run that it comes from, where there is one."""
    if start is None:
        return {"start": None}
    weights = hashlib.sha256()
    for file in sorted(start.glob("*.safetensors")):
        weights.update(file.read_bytes())
    record = start.parent / "run.json"
    known = start.parent.joinpath(start.name, "done").exists() and record.is_file()
    before = json.loads(record.read_text(encoding="utf-8")) if known else None
    return {"start": f"{start.name} ({weights.hexdigest()[:8]})", "before": before}


def _renders(base: Path, row: Row, templates: Sequence[str]) -> None:
    """Before anything is written of a run. Raises `DataError` where a base has no chat format, or another one."""
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    for template in dict.fromkeys(templates):
        try:
            encode(tokenizer, row, template)
        except (TemplateError, ValueError) as error:
            raise DataError(
                f"{base} cannot be asked in --template {template}: {error}; --template ultrafeedback is plain text, "
                "which any base can"
            ) from None


def _stage(base: Path, before: Path | None, rows: list[Row], folder: Path, settings: Settings) -> None:
    import torch
    from datasets import Dataset
    from trl.trainer.sft_trainer import SFTTrainer

    from train.order import ByLength

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    # The trainer of the stage before is in cycles with its model: two of 13B at once would not fit on a device.
    gc.collect()
    torch.cuda.empty_cache()
    model, tokenizer = _model(base, before, settings)
    data, left_out = encoded(tokenizer, rows, settings.templates, settings.longest)
    if not data:
        raise DataError(f"all {left_out} rows of {folder.name} are longer than --longest {settings.longest} tokens")
    lengths = [len(row["input_ids"]) for row in data]
    processes = together()
    log = Log(folder / "log.jsonl") if processes.is_main_process else None
    if log is not None:
        if left_out:
            of = f"{left_out} of {len(rows)} rows of {folder.name}"
            click.echo(f"{of} left out as longer than --longest {settings.longest} tokens", err=True)
        device = f"{processes.num_processes} x {_device()}"
        gone_on_with = {name: getattr(settings, name) for name in GOES_ON_WITH}
        log.write({"rows": len(data), "left_out": left_out, "tokens": sum(lengths), "device": device, **gone_on_with})
    order = ByLength(lengths, settings.batch * settings.accumulate * processes.num_processes, settings.seed)

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            # Packed rows are others than ours, and of one length.
            return super()._get_train_sampler(train_dataset) if settings.packing else order

    trainer: Any = InOrder(
        model=model, args=_config(folder, settings), train_dataset=Dataset.from_list(data),
        processing_class=tokenizer, callbacks=[_callback(log, processes, order)],
    )  # fmt: skip
    ends_it = signal.getsignal(signal.SIGTERM)
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    finally:
        signal.signal(signal.SIGTERM, ends_it)
    if trainer.state.global_step >= trainer.state.max_steps:
        trainer.save_model(str(folder))
        if processes.is_main_process:
            tokenizer.save_pretrained(folder)
            (folder / "done").touch()


def _model(base: Path, before: Path | None, settings: Settings) -> tuple[Any, Any]:
    """What a stage trains, with its tokenizer: a LoRA, new or of the stage before, or every weight."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    model, tokenizer = load(base if settings.rank or before is None else before, dtype=torch.float32)
    if settings.rank and before is not None:
        model = PeftModel.from_pretrained(model, str(before), is_trainable=True)
    elif settings.rank:
        adapter = LoraConfig(
            r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, adapter)
    _freeze(model, settings.first_layer)
    return model, tokenizer


def _config(folder: Path, settings: Settings) -> Any:
    """Settings as TRL has them."""
    import torch
    from trl.trainer.sft_config import SFTConfig

    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        completion_only_loss=True,
        packing=settings.packing,
        max_length=settings.longest,
        bf16=_fast_bf16() if settings.bf16 is None else settings.bf16,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=settings.checkpointing and torch.cuda.is_available(),
        logging_steps=1,
        save_steps=settings.save_every,
        save_total_limit=CHECKPOINTS,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
    )
    # On one device, not on all that it sees: torch's DataParallel would make a step so many times as large.
    config._n_gpu = min(1, config.n_gpu)
    return config


def _without_checkpoints(folder: Path) -> None:
    """Of a stage that is done they are of no more use, and three times its weights where all of these are trained."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _last_checkpoint(folder: Path) -> str | None:
    """The newest one that is whole: where a kill has cut it short, its state, written last, is not there or no JSON."""
    states = list(folder.glob("checkpoint-*/trainer_state.json"))
    states.sort(key=lambda state: int(state.parent.name.rpartition("-")[2]), reverse=True)
    return next((str(state.parent) for state in states if _is_json(state)), None)


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except ValueError:
        return False
    return True


def _freeze(model: Any, first_layer: int) -> None:
    """The layers below keep their weights: a step's backward pass ends where there is nothing left to train."""
    for name, weight in model.named_parameters():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if layer is not None and int(layer[1]) < first_layer:
            weight.requires_grad = False


def _fast_bf16() -> bool:
    """On a CPU whose matrix kernels know no bf16, torch multiplies number by number: a hundred times slower."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{torch.get_num_threads()}-thread {platform.processor() or platform.machine()} CPU"


class Log:
    """One JSON line a step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()

    def write(self, told: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({**told, "seconds": round(time.monotonic() - self._started, 1)}) + "\n")


def _callback(log: Log | None, processes: Any, order: Any) -> Any:
    """Writes the log, tells the order its epoch, and saves before it stops when it is told to stop."""
    import torch
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self._told = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_told", True))

        def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
            steps = -(-len(train_dataloader) // args.gradient_accumulation_steps)
            order.epoch = state.global_step // max(steps, 1)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self._stop():
                control.should_save = control.should_training_stop = True

        def _stop(self) -> bool:
            """Has any process been told to? They save together, so they must stop after the same step."""
            if processes.num_processes == 1:
                return self._told
            told = torch.tensor(int(self._told), device=processes.device)
            torch.distributed.all_reduce(told)
            return bool(told)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if log is not None:
                told = {name: value for name, value in (logs or {}).items() if name != "epoch"}
                log.write({"step": state.global_step, **told})

    return Callback()
