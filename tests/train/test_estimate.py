"""What a run would take, in numbers that can be checked by hand."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from corrector.objectives import Objective
from train import estimate
from train.cli import train
from train.rows import Row, write

AIM = Objective(key="length", name="Length", description="Be short")
ROWS = [
    Row(kind, "own", "MIT", (), "a" * 100, "b" * 100, (AIM,)) for kind in ("identical", "better") for _ in range(10)
]  # fmt: skip
SEVEN = next(size for size in estimate.SIZES if size.name == "7B")


def test_steps_are_those_of_each_stage() -> None:
    assert estimate.work(ROWS, ("ultrafeedback",), batch=4, epochs=1).steps == 3 + 3
    assert estimate.work(ROWS, ("ultrafeedback",), batch=4, epochs=2).steps == 5 + 5
    assert estimate.work(ROWS, ("ultrafeedback",), batch=4, epochs=2, max_steps=2).steps == 2 + 2
    told = estimate.work(ROWS, ("ultrafeedback", "chat"), batch=4, epochs=1)
    assert told.rows == 20
    assert 20 * 200 / 3.6 < told.tokens < 20 * 600 / 3.6


def test_memory_is_shared_and_lora_needs_little() -> None:
    def gb(**changed: int | bool) -> float:
        return estimate.memory_gb(SEVEN, **{"full": True, "batch": 1, "longest": 2048, "devices": 4, **changed})  # type: ignore[arg-type]

    assert gb() == pytest.approx(6.7 * 16 / 4, rel=0.2)
    assert gb(devices=8) < gb() < gb(batch=4)
    assert gb(full=False) < gb() / 3


def test_what_checkpoints_cost_and_save() -> None:
    def hours(*, checkpointing: bool) -> float:
        return estimate.hours(SEVEN, 1e9, full=True, devices=1, tflops=312, checkpointing=checkpointing)

    assert hours(checkpointing=True) == pytest.approx(hours(checkpointing=False) * 8 / 6)
    # Korthikanti et al. 2022: 34 bytes a token and hidden unit of each of 32 layers; its logits twice in fp32.
    told = estimate.memory_gb(SEVEN, full=False, batch=1, longest=1000, devices=1, checkpointing=False)
    assert told == pytest.approx(6.7 * 4 + 1000 * (4096 * 36 * 32 + 32_000 * 8) / 1e9, rel=0.01)


def test_hours_of_the_papers_7b() -> None:
    """Two epochs of UltraFeedback's pairs took them 243 hours of an A100: the estimate is of that order."""
    told = estimate.hours(SEVEN, 2 * 300_000 * 900, full=True, devices=4, tflops=312) * 4
    assert 20 < told < 243


def test_a_dry_run_says_it_and_trains_nothing(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ROWS)
    command = ["sft", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "run"), "--dry-run", "--devices", "4"]
    ran = CliRunner().invoke(train, [*command, "--rank", "0"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert [line.split("|")[1].strip() for line in ran.output.splitlines()[4:8]] == ["135M", "1.1B", "7B", "13B"]
    assert "every weight, on 4 devices" in ran.output
    assert not (tmp_path / "run").exists()
