"""The embedded model trained for a few steps, stopped and gone on with, exported and served: all of it for real."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.processes import free_port
from corrector.objectives import Objective
from corrector.templates import Turn
from tests.gateway.test_cli import METAALIGNER
from tests.train.conftest import ask, served
from train import estimate
from train.cli import train
from train.encode import encode, encoded, prompt_ids
from train.model import load
from train.rows import DataError, Row, write
from train.sft import Settings, _last_checkpoint, run

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and trl

AIM = Objective(key="length", name="Length", description="The response should be concise")
ROWS = [
    Row(
        "better",
        "own",
        "MIT",
        (Turn("user", f"Question {n}?"),),
        f"Well, well, well. It is {n}.",
        f"It is {n}.",
        (AIM,),
    )
    for n in range(12)
] + [Row("identical", "own", "MIT", (), "It is so.", "It is so.", (AIM,)) for _ in range(4)]
FEW: dict[str, Any] = {"batch": 2, "max_steps": 4, "save_every": 50, "rank": 4, "bf16": False, "learning_rate": 1e-3}


def test_a_base_ends_as_its_file_says(unpacked: Path) -> None:
    """One that learns another end never stops when it is served."""
    _, tokenizer = load(unpacked)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert encode(tokenizer, ROWS[0], "chat")["input_ids"][-1] == 2


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write(path, ROWS)
    return path


@pytest.fixture(scope="module")
def trained(unpacked: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(unpacked, rows, tmp_path_factory.mktemp("run"), Settings(**FEW))


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_loss_counts_on_the_target_only(unpacked: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked)
    for template in ("ultrafeedback", "chat"):
        ids = encode(tokenizer, ROWS[3], template)
        target = [token for token, counts in zip(ids["input_ids"], ids["completion_mask"], strict=True) if counts]
        assert tokenizer.decode(target) == f"It is 3.{tokenizer.eos_token}"
        prompt = tokenizer.decode(ids["input_ids"][: -len(target)])
        assert "Well, well, well. It is 3." in prompt
        assert "Length: The response should be concise" in prompt


async def test_prompts_are_the_tokens_that_llama_cpp_sees(unpacked: Path) -> None:
    from transformers import AutoTokenizer

    from corrector.templates import load, names

    tokenizer = AutoTokenizer.from_pretrained(unpacked)
    async with served(None) as endpoint:
        for name in names():
            prompt = load(name).render(ROWS[3].context, "Grün — “so”  it is.\n\n1. Yes", (AIM,))
            body = {"max_tokens": 1, "temperature": 0}
            path = "/completions" if isinstance(prompt, str) else "/chat/completions"
            told = await ask(
                endpoint, path, {**body, **({"prompt": prompt} if isinstance(prompt, str) else {"messages": prompt})}
            )
            assert told["usage"]["prompt_tokens"] == len(prompt_ids(tokenizer, prompt)), name


def test_training_goes_stage_by_stage_and_learns(trained: Path) -> None:
    assert trained.name == "3-better"
    assert (trained.parent / "1-identical" / "done").exists()
    assert not (trained.parent / "2-equal").exists(), "there are no such rows"
    steps = [line for line in log(trained) if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert steps[-1]["loss"] < steps[0]["loss"]


def test_a_finished_run_is_not_done_again(trained: Path, unpacked: Path, rows: Path) -> None:
    before = len(log(trained))
    assert run(unpacked, rows, trained.parent, Settings(**FEW)) == trained
    assert len(log(trained)) == before


def test_a_dry_run_counts_what_a_log_says(trained: Path) -> None:
    first = log(trained)[0]
    said = [log(trained.parent / stage)[0] for stage in ("1-identical", "3-better")]
    steps = [line["step"] for stage in ("1-identical", "3-better") for line in log(trained.parent / stage)[-1:]]
    told = estimate.work(ROWS, ("ultrafeedback",), batch=FEW["batch"], epochs=1, max_steps=FEW["max_steps"])
    assert (told.rows, told.left_out, told.steps) == (16, sum(line["left_out"] for line in said), sum(steps))
    assert told.rows == sum(line["rows"] for line in said)
    assert told.tokens == pytest.approx(sum(line["tokens"] for line in said), rel=0.25)
    assert {name: first[name] for name in ("save_every", "checkpointing", "bf16")} == {
        "save_every": 50, "checkpointing": True, "bf16": False
    }  # fmt: skip


def test_rows_that_are_too_long_are_left_out_by_both(unpacked: Path) -> None:
    from transformers import AutoTokenizer

    long = [replace(row, draft=f"{row.draft} " * 200) for row in ROWS[:3]]
    kept, left_out = encoded(AutoTokenizer.from_pretrained(unpacked), [*long, *ROWS], ("chat",), 640)
    told = estimate.work([*long, *ROWS], ("chat",), batch=1, epochs=1, longest=640)
    assert (told.rows, told.left_out) == (len(kept), left_out) == (16, 3)


def unlike(one: Path, other: Path) -> list[str]:
    """The names of the weights that differ, be it by a bit."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    return [name for name, tensor in ours.items() if not tensor.equal(theirs[name])]


def stopped(base: Path, rows: Path, out: Path, settings: dict[str, Any], after: int) -> None:
    """A run of its own process, told to stop when it has done so many steps of its last stage."""
    command = (
        "from pathlib import Path\nfrom train.sft import *\n"
        f"run(Path({str(base)!r}), Path({str(rows)!r}), Path({str(out)!r}), Settings(**{settings!r}))"
    )
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", command], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not any(
            f'"step": {after},' in told.read_text() for told in out.glob("*-better/log.jsonl")
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert b"goes on from there" in said
    assert not list(out.glob("*-better/done"))


def test_a_stopped_run_goes_on_to_the_same_weights(trained: Path, unpacked: Path, rows: Path, tmp_path: Path) -> None:
    stopped(unpacked, rows, tmp_path, FEW, after=2)
    again = run(unpacked, rows, tmp_path, Settings(**FEW))
    steps = [line["step"] for line in log(again) if "loss" in line]
    assert steps == [1, 2, 3, 4], "no step is lost, and none is done twice"
    assert not unlike(again, trained)


def test_also_where_it_was_stopped_in_a_later_epoch(unpacked: Path, tmp_path: Path) -> None:
    """Whose rows come in another order than those of the first."""
    twelve = tmp_path / "rows.jsonl"
    write(twelve, [row for row in ROWS if row.kind == "better"])
    settings = {**FEW, "max_steps": -1, "epochs": 2.0, "stages": ("better",), "batch": 4}
    whole = run(unpacked, twelve, tmp_path / "whole", Settings(**settings))
    told = estimate.work([row for row in ROWS if row.kind == "better"], ("ultrafeedback",), batch=4, epochs=2)
    assert told.steps == max(line["step"] for line in log(whole) if "loss" in line)
    stopped(unpacked, twelve, tmp_path / "stopped", settings, after=4)
    assert not unlike(run(unpacked, twelve, tmp_path / "stopped", Settings(**settings)), whole)


def test_a_run_of_every_weight_is_exported_whole(unpacked: Path, rows: Path, tmp_path: Path) -> None:
    settings = Settings(**{**FEW, "rank": 0, "max_steps": 1, "stages": ("better",), "learning_rate": 1e-5})
    trained = run(unpacked, rows, tmp_path / "run", settings)
    command = ["export", str(trained), "--model", str(unpacked), "--work", str(tmp_path)]
    ran = CliRunner().invoke(train, [*command, "--merged", str(tmp_path / "whole")], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    whole, tokenizer = load(tmp_path / "whole")
    (ours, theirs) = (dict(model.named_parameters()) for model in (whole, load(trained)[0]))
    assert all(weight.equal(theirs[name].bfloat16()) for name, weight in ours.items()), "in half the room"
    assert tokenizer.eos_token == "<|im_end|>"
    assert "| rank | 0 |" in (tmp_path / "whole" / "README.md").read_text()
    ran = CliRunner().invoke(train, [*command, "--gguf", str(tmp_path / "a.gguf")])
    assert "is a whole model, and no adapter" in ran.output
    ran = CliRunner().invoke(train, ["export", str(tmp_path), *command[2:], "--merged", str(tmp_path / "no")])
    assert "holds neither an adapter nor a model" in ran.output


def test_whoever_has_trained_can_be_ended_as_before(trained: Path) -> None:
    assert trained.exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_goes_on_with_nothing_else(trained: Path, unpacked: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds a run with another learning_rate; remove it"):
        run(unpacked, rows, trained.parent, Settings(**{**FEW, "learning_rate": 1.0}))
    write(other := tmp_path / "other.jsonl", ROWS[1:])
    with pytest.raises(DataError, match="holds a run with another rows; remove it"):
        run(unpacked, other, trained.parent, Settings(**FEW))
    with pytest.raises(DataError, match="holds a run with another max_steps; remove it"):
        run(unpacked, rows, trained.parent, Settings(**{**FEW, "max_steps": -1}))


def test_a_record_says_what_a_run_was_done_with_and_not_what_it_was_called_with_later(
    trained: Path, unpacked: Path, rows: Path
) -> None:
    before = (trained.parent / "run.json").read_text()
    assert run(unpacked, rows, trained.parent, Settings(**{**FEW, "save_every": 7})) == trained
    assert (trained.parent / "run.json").read_text() == before


def test_a_checkpoint_that_a_kill_has_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert _last_checkpoint(tmp_path) is None
    for step, state in (
        (9, "{}"),
        (25, '{"global_step": 25}'),
        (50, '{"global_step": 50, "log'),
        (75, ""),
        (100, None),
    ):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(state)
    assert _last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-25")


def test_an_adapter_is_trained_further(trained: Path, unpacked: Path, rows: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    further = run(unpacked, rows, tmp_path, Settings(**{**FEW, "stages": ("better",), "learning_rate": 0.0}), trained)
    ours, before = (load_file(folder / "adapter_model.safetensors") for folder in (further, trained))
    assert all(tensor.equal(before[name]) for name, tensor in ours.items()), "it began where the other had ended"
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["start"].startswith("3-better (")
    assert told["before"] == json.loads((trained.parent / "run.json").read_text()), "what that saw, this has seen"


def test_the_layers_below_stay_as_they_are(trained: Path, unpacked: Path, rows: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    settings = Settings(**{**FEW, "stages": ("better",), "first_layer": 20})
    further = run(unpacked, rows, tmp_path, settings, trained)
    ours, before = (load_file(folder / "adapter_model.safetensors") for folder in (further, trained))
    moved = {int(name.split(".layers.")[1].split(".")[0]) for name in ours if not ours[name].equal(before[name])}
    assert moved == set(range(20, 30))


def test_two_adapters_are_blended_weight_by_weight(trained: Path, unpacked: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from train.export import blended

    weights = load_file(trained / "adapter_model.safetensors")
    zero = tmp_path / "zero"
    zero.mkdir()
    save_file({name: tensor * 0 for name, tensor in weights.items()}, zero / "adapter_model.safetensors")
    blended(zero, trained, 0.25, tmp_path / "quarter")
    told = load_file(tmp_path / "quarter/adapter_model.safetensors")
    assert all((told[name] == 0.25 * tensor).all() for name, tensor in weights.items())
    save_file({"a": weights[next(iter(weights))]}, zero / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="same layers at the same rank"):
        blended(zero, trained, 0.25, tmp_path / "none")

    command = [METAALIGNER, "train", "export", str(trained), "--model", str(unpacked), "--work", str(tmp_path / "work")]
    out = tmp_path / "a.gguf"
    ran = subprocess.run(
        [*command, "--gguf", str(out), "--blend", str(tmp_path / "quarter"), "--share", "0.6"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "0.6 are of the run's" in out.with_suffix(".md").read_text()
    ran = subprocess.run([*command, "--gguf", str(out), "--share", "0.6"], capture_output=True, text=True, check=False)
    assert "--share goes with --blend" in ran.stderr


def test_several_processes_train_together(unpacked: Path, rows: Path, tmp_path: Path) -> None:
    """Launched by torchrun, on two CPUs: every step is logged once, and one adapter comes out."""
    command = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc_per_node", "2",
        "--master_addr", "127.0.0.1", "--master_port", str(free_port()),
        METAALIGNER, "train", "sft", str(rows), "--out", str(tmp_path), "--model", str(unpacked), "--rank", "4",
        "--batch", "1", "--max-steps", "2", "--stage", "better",
    ]  # fmt: skip
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    folder = tmp_path / "1-better"
    assert [line["step"] for line in log(folder) if "loss" in line] == [1, 2]
    assert log(folder)[0]["device"].startswith("2 x ")
    assert (folder / "done").exists()
    assert (folder / "adapter_model.safetensors").exists()


async def test_a_trained_adapter_is_served(unpacked: Path, trained: Path, tmp_path: Path) -> None:
    from train.export import gguf_lora

    gguf_lora(unpacked, trained, tmp_path / "adapter.gguf")
    assert (tmp_path / "adapter.gguf").stat().st_size < 20_000_000
    async with served(tmp_path / "adapter.gguf") as endpoint:
        told = await ask(endpoint, "/completions", {"prompt": "Hello", "max_tokens": 4})
        assert told["choices"][0]["text"]
