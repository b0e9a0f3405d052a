"""What a run would take, in numbers that can be checked by hand."""

from dataclasses import replace
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
    assert estimate.work(ROWS, ("ultrafeedback",), batch=4, epochs=2).steps == 6 + 6, "an epoch's last one is not full"
    told = estimate.work(ROWS, ("ultrafeedback", "chat"), batch=4, epochs=1)
    assert told.rows == 20
    assert 20 * 200 / estimate.CHARS_A_TOKEN < told.tokens < 20 * 600 / estimate.CHARS_A_TOKEN


@pytest.mark.parametrize("most", [2, 9])
def test_so_many_steps_are_taken_whatever_an_epoch_has(most: int) -> None:
    told = estimate.work(ROWS, ("ultrafeedback",), batch=4, epochs=1, max_steps=most)
    assert told.steps == 2 * most
    assert told.trained == pytest.approx(told.tokens * most / 3)


def test_rows_that_are_left_out_take_nothing() -> None:
    long = [replace(row, draft="a" * 9000) for row in ROWS[:5]]
    without, told = (estimate.work(rows, ("chat",), batch=4, epochs=1) for rows in (ROWS, [*ROWS, *long]))
    assert told == replace(without, left_out=5)
    assert estimate.work(long, ("chat",), batch=4, epochs=1) == estimate.Work(0, 5, 0, 0, 0)


def test_packed_rows_are_so_many_sequences_as_trl_makes_of_them() -> None:
    datasets = pytest.importorskip("datasets", reason="the extra `train` is not installed")
    from trl.data_utils import pack_dataset

    rows = [replace(ROWS[-1], draft="a" * (7 * number)) for number in range(200)]
    told = estimate.work(rows, ("chat",), batch=1, epochs=1, longest=640, packing=True)
    lengths = [round(estimate.work([row], ("chat",), batch=1, epochs=1).tokens) for row in rows]
    ids = {"input_ids": [[1] * length for length in lengths]}
    packed = pack_dataset(datasets.Dataset.from_dict(ids), 640, "bfd")
    assert told.rows == 200
    assert told.steps == pytest.approx(len(packed), rel=0.05)
    assert told.steps < 150


def test_of_the_logits_a_tile_is_held_as_large_as_trls() -> None:
    chunked = pytest.importorskip("trl.kernels.chunked_logprob", reason="the extra `train` is not installed")
    from trl.trainer import utils

    assert estimate.HEAD_TOKENS == chunked.TOKEN_CHUNK_SIZE
    assert estimate.HEAD_WORDS == utils._CHUNKED_LOGPROB_CHUNK_SIZE
    many, more = (
        estimate.memory_gb(SEVEN, full=False, batch=batch, longest=4096, devices=1) for batch in (1, 2)
    )  # fmt: skip
    assert more - many == pytest.approx(4096 * 4096 * (2 * 32 + 34) / 1e9), "no logits more than of the first 4096"


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
    # Korthikanti et al. 2022: 34 bytes a token and hidden unit of each of 32 layers; a tile of logits in bf16.
    told = estimate.memory_gb(SEVEN, full=False, batch=1, longest=1000, devices=1, checkpointing=False)
    assert told == pytest.approx(6.7 * 4 + 1000 * (4096 * 36 * 32 + 32_768 * 2) / 1e9)


def test_a_disk_holds_each_stages_weights_and_checkpoints_of_one() -> None:
    assert estimate.disk_gb(SEVEN, stages=2, rank=0, checkpoints=2) == pytest.approx(6.7 * (2 * 4 + 3 * 12))
    # SmolLM2-135M's LoRA of rank 16 has 4.9 million weights.
    smallest = estimate.disk_gb(estimate.SIZES[0], stages=1, rank=16, checkpoints=0)
    assert smallest == pytest.approx(4.9e6 * 16 / 1e9, rel=0.1)


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
    assert "| GB on disk |" in ran.output
    assert "20 rows, and 0 left out as longer than 640 tokens" in ran.output
    packed = CliRunner().invoke(train, [*command, "--longest", "100", "--packing"], catch_exceptions=False)
    assert "0 rows, and 20 left out as longer than 100 tokens" in packed.output
    assert not (tmp_path / "run").exists()
