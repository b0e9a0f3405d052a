"""MetaAligner's three stages (arXiv 2403.17141, 3.2): identical warm-up, equal, better. On TRL.

Each stage continues the weights of the one before, and leaves a `done` behind: a run that was
stopped goes on where it was, in the same order and with the same weights as if it had not been.
"""

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.encode import encoded
from train.model import load
from train.rows import Row, read

STAGES = ("identical", "equal", "better")


@dataclass(frozen=True)
class Settings:
    """`learning_rate` is that of LoRA; the paper's full fine-tuning has 1e-5. `longest` in tokens."""

    templates: tuple[str, ...] = ("ultrafeedback",)
    stages: tuple[str, ...] = STAGES
    rank: int = 16  # 0: every weight is trained
    learning_rate: float = 3e-4
    batch: int = 8
    accumulate: int = 1
    epochs: float = 1.0
    max_steps: int = -1  # of each stage
    warmup: float = 0.05
    longest: int = 640
    save_every: int = 25
    packing: bool = False
    bf16: bool = True
    seed: int = 1


def run(base: Path, rows_path: Path, out: Path, settings: Settings) -> Path:
    """Train, stage by stage. Returns the folder of the last stage's adapter (or weights)."""
    out.mkdir(parents=True, exist_ok=True)
    rows = list(read(rows_path))
    weights: Path | None = None
    for number, stage in enumerate(settings.stages, 1):
        folder = out / f"{number}-{stage}"
        some = [row for row in rows if row.kind == stage]
        if not some:
            continue
        if not (folder / "done").exists():
            _stage(base, weights, some, folder, settings)
            if not (folder / "done").exists():
                raise SystemExit(f"stopped in {folder}; the same command goes on from there")
        weights = folder
    if weights is None:
        raise ValueError(f"{rows_path} has no row of the stages {', '.join(settings.stages)}")
    return weights


def _stage(base: Path, before: Path | None, rows: list[Row], folder: Path, settings: Settings) -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers.trainer_utils import get_last_checkpoint
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    model, tokenizer = load(base if settings.rank or before is None else before, dtype=torch.float32)
    if settings.rank and before is not None:
        model = PeftModel.from_pretrained(model, str(before), is_trainable=True)
    elif settings.rank:
        adapter = LoraConfig(
            r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, adapter)
    data, left_out = encoded(tokenizer, rows, settings.templates, settings.longest)
    tokens = sum(len(row["input_ids"]) for row in data)
    log = Log(folder / "log.jsonl")
    log.write({"rows": len(data), "left_out": left_out, "tokens": tokens})
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
        bf16=settings.bf16,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        logging_steps=1,
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
    )
    trainer: Any = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
        callbacks=[_callback(log)],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    if trainer.state.global_step >= trainer.state.max_steps:
        trainer.save_model(str(folder))
        tokenizer.save_pretrained(folder)
        (folder / "done").touch()


class Log:
    """One JSON line a step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()

    def write(self, told: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({**told, "seconds": round(time.monotonic() - self._started, 1)}) + "\n")


def _callback(log: Log) -> Any:
    """Writes the log, and saves before it stops when it is told to stop."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self._stop = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop", True))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self._stop:
                control.should_save = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            log.write(
                {"step": state.global_step, **{name: value for name, value in (logs or {}).items() if name != "epoch"}}
            )

    return Callback()
