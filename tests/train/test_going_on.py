"""Stage after stage, and a run that goes on on another machine: of a model so small that a stage takes a second."""

import gc
import json
import shutil
import signal
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from train import sft
from train.model import load as model_and_tokenizer
from train.rows import DataError, Row, write
from train.sft import Settings, run

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and trl

ROWS = [
    Row(kind, "own", "MIT", (), f"Well, it is {n}.", f"It is {n}.", ())
    for kind in ("identical", "equal", "better")
    for n in range(16)
]  # fmt: skip
FEW = Settings(batch=4, max_steps=4, rank=4, bf16=False, checkpointing=False, learning_rate=1e-2, save_every=2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of Llama that nobody has trained, which reads bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bytewise = Tokenizer(models.BPE(vocab=letters, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<end>", pad_token="<pad>")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("small")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(path := tmp_path_factory.mktemp("rows") / "rows.jsonl", ROWS)
    return path


class Processes:
    """The first of so many."""

    is_main_process = True

    def __init__(self, count: int) -> None:
        self.num_processes = count

    def wait_for_everyone(self) -> None:
        pass


@pytest.mark.parametrize("rank", [0, 4])
def test_the_model_of_a_stage_is_gone_before_the_next_one_is_loaded(
    rank: int, small: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of 13B at once are more than a device has."""
    models: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def load(folder: Path, **options: Any) -> tuple[Any, Any]:
        alive.append(sum(model() is not None for model in models))
        model, tokenizer = model_and_tokenizer(folder, **options)
        models.append(weakref.ref(model))
        return model, tokenizer

    monkeypatch.setattr(sft, "load", load)
    gc.disable()  # as it is between two rounds of its own
    try:
        run(small, rows, tmp_path, replace(FEW, rank=rank, max_steps=1))
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_a_run_goes_on_with_as_many_rows_a_step_however_they_are_dealt_out(
    small: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four processes with 8 rows each, two of 8 would see other rows, under another learning rate."""
    settings = Settings(batch=8, stages=("better",))
    monkeypatch.setattr(sft, "together", lambda: Processes(4))
    (done := tmp_path / "1-better" / "done").parent.mkdir()
    done.touch()
    assert run(small, rows, tmp_path, settings) == done.parent
    begun = (tmp_path / "run.json").read_text()
    monkeypatch.setattr(sft, "together", lambda: Processes(2))
    with pytest.raises(DataError, match=r"holds a run of 32 rows a step, and this would be 16: .* times 2"):
        run(small, rows, tmp_path, settings)
    assert run(small, rows, tmp_path, replace(settings, accumulate=2)) == done.parent
    assert run(small, rows, tmp_path, replace(settings, batch=16)) == done.parent
    assert (tmp_path / "run.json").read_text() == begun
    with pytest.raises(DataError, match="holds a run of 32 rows a step"):
        run(small, rows, tmp_path, replace(settings, batch=4))


def test_a_record_of_before_there_was_a_number_of_rows_a_step_is_taken_at_its_settings(
    small: Path, rows: Path, tmp_path: Path
) -> None:
    (done := tmp_path / "1-better" / "done").parent.mkdir()
    done.touch()
    settings = Settings(batch=8, stages=("better",))
    run(small, rows, tmp_path, settings)
    record = tmp_path / "run.json"
    told = json.loads(record.read_text())
    del told["rows_a_step"]
    record.write_text(json.dumps(told))
    assert run(small, rows, tmp_path, settings) == done.parent
    with pytest.raises(DataError, match="holds a run of 8 rows a step"):
        run(small, rows, tmp_path, replace(settings, batch=4))


def test_rows_that_are_dealt_out_in_another_way_half_way_teach_the_same(
    small: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    settings = replace(FEW, stages=("better",))
    whole = run(small, rows, tmp_path / "whole", settings)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patched:
        patched.setattr(sft.Log, "write", _stop_at(2))
        with pytest.raises(KeyboardInterrupt):
            run(small, rows, stopped, settings)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "whoever was stopped can be ended as before"
    again = run(small, rows, stopped, replace(settings, batch=2, accumulate=2))
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (again, whole))
    assert all(tensor.allclose(theirs[name], atol=1e-5) for name, tensor in ours.items())
    assert [line["batch"] for line in _lines(again / "log.jsonl") if "batch" in line] == [4, 2]


def test_what_a_stage_leaves_behind_is_what_it_has_trained(
    small: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And of rows that it has left out, it says how many."""
    long = replace(ROWS[-1], draft="It is. " * 99)
    write(more := tmp_path / "rows.jsonl", [*ROWS, long, long])
    done = run(small, more, tmp_path / "run", replace(FEW, stages=("better",)))
    assert (done / "adapter_model.safetensors").exists()
    assert not list(done.glob("checkpoint-*")), "of a model of 13B one takes 150 GB"
    assert "2 of 18 rows of 1-better left out as longer than --longest 640 tokens" in capsys.readouterr().err
    (done / "checkpoint-2").mkdir()
    assert run(small, more, tmp_path / "run", replace(FEW, stages=("better",))) == done
    assert not list(done.glob("checkpoint-*")), "also where it was ended in between"


def test_a_base_that_cannot_be_asked_so_is_told_before_anything_is_written(
    small: Path, rows: Path, tmp_path: Path
) -> None:
    for template in ("", "{{ raise_exception('System role not supported') }}"):
        shutil.copytree(small, base := tmp_path / f"base{len(template)}")
        if template:
            (base / "chat_template.jinja").write_text(template)
        with pytest.raises(DataError, match=r"cannot be asked in --template chat: .*--template ultrafeedback"):
            run(base, rows, tmp_path / "run", replace(FEW, templates=("ultrafeedback", "chat")))
    assert not (tmp_path / "run").exists()


def test_a_run_on_a_base_that_was_unpacked_before_folders_had_a_digest_goes_on(
    small: Path, rows: Path, tmp_path: Path
) -> None:
    settings = replace(FEW, stages=("better",))
    shutil.copytree(small, base := tmp_path / "small-0a1b2c3d")
    (done := tmp_path / "run" / "1-better" / "done").parent.mkdir(parents=True)
    done.touch()
    assert run(base, rows, tmp_path / "run", settings) == done.parent
    record = tmp_path / "run" / "run.json"
    told = json.loads(record.read_text())
    assert told["base"] == "small-0a1b2c3d"
    record.write_text(json.dumps({**told, "base": "small"}))
    assert run(base, rows, tmp_path / "run", settings) == done.parent
    record.write_text(json.dumps({**told, "base": "small-3d2c1b0a"}))
    with pytest.raises(DataError, match="another base"):
        run(base, rows, tmp_path / "run", settings)


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _stop_at(step: int) -> Any:
    write = sft.Log.write

    def stopping(self: sft.Log, told: dict[str, Any]) -> None:
        if told.get("step") == step + 1:
            raise KeyboardInterrupt
        write(self, told)

    return stopping
