"""Weights stored anew: the same numbers up to 8 bits, made once, and whole or not at all."""

import os
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from corrector.engines.llamacpp import model_path
from corrector.requantised import _abandoned, _at_work, requantised

PACKAGED = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        path = requantised(model_path(PACKAGED), folder / "unused")
        assert path.is_relative_to(folder / "metaaligner")
        written = path.stat().st_mtime_ns
        assert requantised(model_path(PACKAGED), folder / "unused") == path
        assert path.stat().st_mtime_ns == written, "made once"
        assert [one.name for one in path.parent.iterdir()] == [path.name], "and nothing is left beside it"
    return path


def test_the_weights_are_the_same_up_to_their_rounding(made: Path) -> None:
    before, after = gguf.GGUFReader(model_path(PACKAGED)), gguf.GGUFReader(made)
    ours = {tensor.name: tensor for tensor in after.tensors}
    assert set(ours) == {tensor.name for tensor in before.tensors}
    for tensor in before.tensors[:40]:
        one = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        other = gguf.quants.dequantize(ours[tensor.name].data, ours[tensor.name].tensor_type)
        assert one.shape == other.shape
        blocks = np.abs(one.reshape(-1, 32)).max(axis=1, keepdims=True)
        assert (np.abs(one - other).reshape(-1, 32) <= blocks / 127).all(), tensor.name
    kinds = {tensor.tensor_type.name for tensor in after.tensors}
    assert kinds == {"F32", "Q8_0"}


def test_what_the_file_says_of_its_model_is_kept(made: Path) -> None:
    before, after = gguf.GGUFReader(model_path(PACKAGED)).fields, gguf.GGUFReader(made).fields
    assert set(before) - set(after) == set()
    changed = {
        "GGUF.version",
        "GGUF.tensor_count",
        "GGUF.kv_count",
        "general.file_type",
        "general.quantization_version",
    }
    assert all(before[name].contents() == after[name].contents() for name in set(before) - changed)


def test_where_the_cache_cannot_be_written_it_is_made_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / made.name).symlink_to(made)  # as if made before: making it takes seconds
    assert requantised(model_path(PACKAGED), tmp_path / "run").parent == tmp_path / "run"
    with pytest.raises(OSError, match="no folder to keep"):
        requantised(model_path(PACKAGED), blocked / "below")


def test_two_files_of_one_name_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one size and one date, as archives make them."""
    monkeypatch.setattr("corrector.requantised._store", lambda source, made: made.write_bytes(source.read_bytes()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = []
    for folder, content in (("a", b"x" * 5_000_000), ("b", b"x" * 4_999_999 + b"y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.gguf").write_bytes(content)
        os.utime(tmp_path / folder / "model.gguf", (1, 1))
        made.append(requantised(tmp_path / folder / "model.gguf", tmp_path))
    assert made[0] != made[1]


def test_what_was_left_half_written_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However young it is; but not what somebody is at work on."""
    monkeypatch.setattr("corrector.requantised._store", lambda source, made: made.write_bytes(b"stored"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "metaaligner"
    folder.mkdir(parents=True)
    (folder / "killed.part").touch()
    (tmp_path / "model.gguf").write_bytes(b"weights")
    with _at_work(folder / "another-at-work.part"):
        made = requantised(tmp_path / "model.gguf", tmp_path)
    assert {one.name for one in folder.iterdir()} == {"another-at-work.part", made.name}


def test_what_is_being_written_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def store(source: Path, made: Path) -> None:
        made.write_bytes(b"half")
        assert not _abandoned(made)

    monkeypatch.setattr("corrector.requantised._store", store)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"weights")
    assert requantised(tmp_path / "model.gguf", tmp_path / "run").is_relative_to(tmp_path / "cache")


def test_where_there_are_no_locks_age_tells_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", without)
    for name, age_s, left in (("old.part", 7200, True), ("young.part", 5, False)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
        assert _abandoned(tmp_path / name) is left


def test_a_full_disk_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, made: Path) -> None:
        made.write_bytes(b"half")
        if "cache" in str(made):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("corrector.requantised._store", full)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"weights")
    assert requantised(tmp_path / "model.gguf", tmp_path / "run").parent == tmp_path / "run"
    assert not list((tmp_path / "cache").rglob("*.part"))
