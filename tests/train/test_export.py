"""What may be made of an adapter, and beside which base. That engines load it, test_sft.py asks."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from train import export
from train.cli import train


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Of a run on `small`, as far as an export asks before it reads weights."""
    (folder := tmp_path / "run" / "3-better").mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    told: dict[str, Any] = {"base": "small", "start": None, "settings": {}, "data": []}
    (tmp_path / "run" / "run.json").write_text(json.dumps(told))
    return folder


def test_an_adapter_is_exported_beside_the_base_that_it_was_trained_on_only(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "gguf_lora", lambda base, adapter, out: out.touch())
    command = ["export", str(adapter), "--gguf", str(tmp_path / "a.gguf"), "--model"]
    (other := tmp_path / "other").mkdir()
    ran = CliRunner().invoke(train, [*command, str(other)])
    assert ran.exit_code == 2
    assert "was trained on small, not on other: give --model small" in ran.stderr
    assert not (tmp_path / "a.gguf").exists()
    (moved := tmp_path / "elsewhere" / "small").mkdir(parents=True)
    ran = CliRunner().invoke(train, [*command, str(moved)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    (adapter.parent / "run.json").write_text(json.dumps({"base": "SmolLM2-135M-Instruct.Q4_1"}))
    ran = CliRunner().invoke(train, [*command, str(moved)])
    assert "give --model smollm2-135m-instruct" in ran.stderr, "as whoever trained it called it"
    (adapter.parent / "run.json").unlink()
    ran = CliRunner().invoke(train, [*command, str(other)], catch_exceptions=False)
    assert ran.exit_code == 0, "of which nobody knows what it was trained on"


@pytest.mark.parametrize(
    ("trained_on", "base", "same"),
    [
        ("TinyLlama/TinyLlama-1.1B", "TinyLlama/TinyLlama-1.1B", True),
        ("TinyLlama/TinyLlama-1.1B", "/models/TinyLlama-1.1B", True),
        ("TinyLlama/TinyLlama-1.1B", "hub/models--TinyLlama--TinyLlama-1.1B/snapshots/0a1b2c", True),
        ("0a1b2c", "hub/models--TinyLlama--TinyLlama-1.1B/snapshots/0a1b2c", True),
        ("TinyLlama/TinyLlama-1.1B", "meta-llama/Llama-2-7b", False),
        ("TinyLlama/TinyLlama-1.1B", "hub/models--meta-llama--Llama-2-7b/snapshots/0a1b2c", False),
    ],
)
def test_a_base_is_known_wherever_it_lies(trained_on: str, base: str, same: bool) -> None:
    assert export.same_base(trained_on, Path(base)) == same
