"""The whole pipelines in `train/runs`, as far as a machine without a GPU goes."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.gateway.test_cli import METAALIGNER
from tests.train.test_smoke import GOOD

RUNS = ROOT / "train/runs"
LAYOUTS = sorted((RUNS / "accelerate").glob("*.yaml"))


def pairs(path: Path, count: int, source: str, what: str = "tea") -> Path:
    rows = [
        {"source": source, "licence": "MIT", "query": f"How do I make {what} number {n}?",
         "weak": f"No idea, {n} maybe.", "strong": GOOD.format(n), "better": ["helpfulness"]}
        for n in range(count)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def ran(script: str, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "METAALIGNER": METAALIGNER, **given}
    return subprocess.run(
        [str(RUNS / script), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_accelerate_understands_the_layouts(path: Path) -> None:
    config = pytest.importorskip("accelerate.commands.config.config_args", reason="the extra `train` is not installed")
    told = config.load_config_from_file(str(path))
    assert told.num_processes in (4, 16)
    if (file := (told.deepspeed_config or {}).get("deepspeed_config_file")) is not None:
        assert json.loads((ROOT / file).read_text())["zero_optimization"]["stage"] == 3
    else:
        assert told.fsdp_config["fsdp_version"] == 2


def test_the_papers_recipe_says_what_it_would_take(tmp_path: Path) -> None:
    given = pairs(tmp_path / "pairs.jsonl.gz", 40, "own")
    told = ran("paper.sh", f"pairs={given}", "no/model", str(tmp_path / "out"), DRY_RUN="1", IDENTICAL="5")
    assert told.returncode == 0, told.stderr[-2000:]
    assert "2 epochs" in told.stdout
    assert "every weight, on 4 devices" in told.stdout
    for size in ("1.1B", "7B", "13B"):
        assert f"| {size} |" in told.stdout
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"identical", "equal", "better"}, "measures score what the data does not"


def test_more_rows_at_once_than_a_step_has_are_told() -> None:
    told = ran("paper.sh", "pairs=x", "no/model", DRY_RUN="1", GPUS="32", BATCH="32")
    assert (told.returncode, "512 rows" in told.stderr) == (1, True)


@pytest.mark.parametrize("kind", ["hh_rlhf", "imhi", "ultrafeedback", "pairs"])
def test_each_data_set_has_the_releases_prompt(kind: str, tmp_path: Path) -> None:
    """What it would train with is said before it is known that there is nothing to train on."""
    echo = tmp_path / "metaaligner"
    echo.write_text('#!/bin/sh\necho "$@"\n')
    echo.chmod(0o755)
    told = ran("paper.sh", f"{kind}=x", "m", str(tmp_path / "out"), DRY_RUN="1", METAALIGNER=str(echo))
    template = "ultrafeedback" if kind == "pairs" else kind
    assert f" --template {template} " in told.stdout


def test_the_layouts_module_is_the_command() -> None:
    """`accelerate launch --module gateway.cli`: that nothing is run would look like success."""
    told = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "train", "sft", "--nonsense"], cwd=ROOT, capture_output=True
    )
    assert told.returncode != 0
    assert b"--nonsense" in told.stderr


def test_ablations_end_in_a_table(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    for split, what in (("train", "tea"), ("eval", "coffee")):
        pairs(tmp_path / "data/pairs" / f"{split}.jsonl.gz", 12, "oasst_qlora", what)
    told = ran(
        "ablations.sh",
        str(tmp_path / "data"),
        str(tmp_path / "out"),
        STEPS="1",
        ACCUMULATE="1",
        CASES="1",
        VARIANTS="no-warm-up",
        BASE=str(work),
    )
    assert told.returncode == 0, told.stderr[-2000:]
    table = (tmp_path / "out/ablations.md").read_text()
    for what in ("fine", "all damage"):
        assert f"| no-warm-up | {what} |" in table
    assert not (tmp_path / "out/no-warm-up/1-identical").exists()
