"""Which GGUF file is unpacked, that it is so whole, and which is not read as something that it is not."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy
import pytest

from train import model
from train.model import base, folder_of, undigested
from train.rows import DataError


def unpacking(monkeypatch: pytest.MonkeyPatch, stopped: list[bool]) -> None:
    """What is unpacked is the file's own bytes; `stopped` says of each time whether it is stopped half way."""

    def unpack(gguf: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())
        if stopped.pop(0):
            raise KeyboardInterrupt
        (folder / "tokenizer.json").touch()

    monkeypatch.setattr(model, "_unpack", unpack)


def test_two_files_of_one_name_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacking(monkeypatch, [False, False])
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.gguf").write_text(folder)
    for folder in ("ours", "theirs", "ours"):
        made = base(str(tmp_path / folder / "model.gguf"), tmp_path / "work")
        assert (made / "model.safetensors").read_text() == folder
        assert undigested(made.name) == "model"


def test_one_that_was_stopped_half_way_is_unpacked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacking(monkeypatch, [True, False])
    (file := tmp_path / "model.gguf").write_text("x")
    with pytest.raises(KeyboardInterrupt):
        base(str(file), tmp_path / "work")
    made = base(str(file), tmp_path / "work")
    assert made == folder_of(file, tmp_path / "work")
    assert (made / "tokenizer.json").exists()
    assert [folder.name for folder in (tmp_path / "work").iterdir()] == [made.name]
    assert base(str(file), tmp_path / "work") == made, "and not again"


def scaled(writer: gguf.GGUFWriter) -> None:
    writer.add_string("llama.rope.scaling.type", "linear")


def stretched(writer: gguf.GGUFWriter) -> None:
    writer.add_tensor("rope_freqs.weight", numpy.ones(4, numpy.float32))


def of_experts(writer: gguf.GGUFWriter) -> None:
    writer.add_tensor("blk.0.ffn_gate_inp.weight", numpy.ones((4, 4), numpy.float32))


@pytest.mark.parametrize(
    ("architecture", "more", "why"),
    [
        ("qwen2", lambda writer: None, "a qwen2 model, and only Llama's are read from GGUF"),
        ("llama", scaled, "its rotary positions are scaled"),
        ("llama", stretched, "its rotary positions are scaled"),
        ("llama", of_experts, "a mixture of experts"),
    ],
)
def test_what_would_come_out_as_another_model_is_refused(
    tmp_path: Path, architecture: str, more: Callable[[gguf.GGUFWriter], None], why: str
) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", architecture)
    writer.add_tensor("output_norm.weight", numpy.ones(4, numpy.float32))
    more(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(DataError, match=rf"other\.gguf: {why}.*: give --model the folder of its safetensors"):
        base(str(tmp_path / "other.gguf"), tmp_path / "work")
    assert not (tmp_path / "work").exists()
