"""What may be made of an adapter, beside which base, and that engines say the same of it."""

import json
import math
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
from click.testing import CliRunner

from corrector.engines.llamacpp import model_path
from corrector.objectives import Objective
from corrector.templates import Turn
from tests.train.conftest import ask, served
from train import export
from train.cli import train
from train.commands.judging import _template
from train.encode import prompt_ids

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and peft

AIM = Objective(key="length", name="Length", description="The response should be concise")


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
        ("SmolLM2-135M-Instruct.Q4_1", "work/SmolLM2-135M-Instruct.Q4_1-0a1b2c3d", True),
        ("SmolLM2-135M-Instruct.Q4_1-0a1b2c3d", "work/SmolLM2-135M-Instruct.Q4_1-0a1b2c3d", True),
        ("SmolLM2-135M-Instruct.Q4_1-3d2c1b0a", "work/SmolLM2-135M-Instruct.Q4_1-0a1b2c3d", False),
        ("TinyLlama/TinyLlama-1.1B", "meta-llama/Llama-2-7b", False),
        ("TinyLlama/TinyLlama-1.1B", "hub/models--meta-llama--Llama-2-7b/snapshots/0a1b2c", False),
    ],
)
def test_a_base_is_known_wherever_it_lies(trained_on: str, base: str, same: bool) -> None:
    assert export.same_base(trained_on, Path(base)) == same


def tiny(tmp_path: Path, kind: str, adapter: Path) -> Path:
    """A base of one layer, as far as an export reads it, and a LoRA of its query's projection."""
    from safetensors.numpy import save_file

    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 8}
    (folder := tmp_path / "small").mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **sizes}))
    (adapter / "adapter_config.json").write_text(json.dumps({"lora_alpha": 4}))
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    weights: dict[str, Any] = {
        f"{module}.lora_A.weight": numpy.ones((2, 8), numpy.float32),
        f"{module}.lora_B.weight": numpy.arange(16, dtype=numpy.float32).reshape(8, 2),
    }
    save_file(weights, adapter / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_an_adapter_says_the_prompts_that_it_was_trained_with(kind: str, adapter: Path, tmp_path: Path) -> None:
    base, out = tiny(tmp_path, kind, adapter), tmp_path / "a.gguf"
    record = adapter.parent / "run.json"
    settings = {"templates": ["ultrafeedback", "chat", "chat"]}
    record.write_text(json.dumps({**json.loads(record.read_text()), "settings": settings}))
    command = ["export", str(adapter), "--model", str(base), "--gguf", str(out)]
    ran = CliRunner().invoke(train, command, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert export.templates_of(out) == ("chat", "ultrafeedback")
    [b] = [tensor.data for tensor in gguf.GGUFReader(out).tensors if tensor.name == "blk.0.attn_q.weight.lora_b"]
    assert b[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14], "in llama.cpp's order"
    record.unlink()
    export.gguf_lora(base, adapter, out)
    assert export.templates_of(out) == ()


def test_a_corrector_is_asked_in_a_prompt_that_its_adapter_knows(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = tiny(tmp_path, "llama", adapter), tmp_path / "a.gguf"
    (adapter.parent / "run.json").write_text(json.dumps({"base": "small", "settings": {"templates": ["hh_rlhf"]}}))
    export.gguf_lora(base, adapter, out)
    assert _template(None, str(out)) == "hh_rlhf"
    assert _template(None, None) == _template(None, "smollm2-135m-editor") == "chat", "of which no record is in it"
    assert capsys.readouterr().err == ""
    assert _template("chat", str(out)) == "chat"
    assert "was trained with the prompt hh_rlhf, and is asked in chat" in capsys.readouterr().err


def test_of_a_base_that_llama_cpp_has_otherwise_a_merged_model_is_made_all_the_same(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny(tmp_path, "qwen2", adapter)
    monkeypatch.setattr(export, "merged", lambda base, adapter, out: out.mkdir())
    command = ["export", str(adapter), "--model", str(base), "--gguf", str(tmp_path / "a.gguf")]
    ran = CliRunner().invoke(train, [*command, "--merged", str(tmp_path / "merged")])
    assert ran.exit_code == 2
    told = " ".join(ran.stderr.replace("│", " ").split())
    assert "is a qwen2 model" in told
    assert "or --merged, with vllm or transformers" in told
    assert (tmp_path / "merged" / "README.md").is_file()
    assert not (tmp_path / "a.gguf").exists()


async def test_llama_cpp_and_transformers_agree_on_the_exported_adapter(unpacked: Path, tmp_path: Path) -> None:
    """With an adapter that changes much, so that a tensor in the wrong place would show."""
    import torch
    from peft import LoraConfig, get_peft_model

    from train.export import gguf_lora, merged
    from train.model import load

    torch.manual_seed(1)
    model, tokenizer = load(unpacked)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    gguf_lora(unpacked, tmp_path / "adapter", tmp_path / "adapter.gguf")
    merged(unpacked, tmp_path / "adapter", tmp_path / "merged")
    whole, _ = load(tmp_path / "merged")
    plain, _ = load(unpacked)
    texts = ["The capital of France is", "To make tea, first", "def add(a, b):", "Once upon a time", "1, 2, 3, 4,"]
    apart, moved = [], []
    async with served(tmp_path / "adapter.gguf") as endpoint:
        for text in texts:
            body = {"prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 5}
            told = await ask(endpoint, "/completions", body)
            tops = told["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
            ids = torch.tensor([prompt_ids(tokenizer, text)])
            with torch.no_grad():
                ours = whole(ids).logits[0, -1].log_softmax(-1)
                before = plain(ids).logits[0, -1].log_softmax(-1)
            for top in tops:
                apart.append(abs(top["logprob"] - float(ours[top["id"]])))
                moved.append(abs(top["logprob"] - float(before[top["id"]])))
    assert math.fsum(apart) / len(apart) < 0.15, "but for the rounding of llama.cpp's 8-bit activations, the same"
    assert math.fsum(moved) / len(moved) > 3 * math.fsum(apart) / len(apart), "and not because nothing changed"


async def test_greedy_tokens_are_the_same_on_twenty_prompts(unpacked: Path, tmp_path: Path) -> None:
    """The shipped adapter in llama.cpp, and merged in transformers. Where they part, it was all but a tie: llama.cpp
    rounds activations to 8 bits, and the base's weights are in 4."""
    import torch

    from corrector.templates import load as template
    from train.export import from_gguf, merged
    from train.model import load

    shipped = model_path("smollm2-135m-editor")
    from_gguf(unpacked, shipped, tmp_path / "adapter")
    merged(unpacked, tmp_path / "adapter", tmp_path / "merged")
    model, tokenizer = load(tmp_path / "merged")
    drafts = [f"There is {n} of them, there is {n} of them, and that is a lot of thing." for n in range(2, 22)]
    gaps: list[float] = []
    async with served(shipped) as endpoint:
        for number, draft in enumerate(drafts):
            prompt = template("ultrafeedback").render((Turn("user", f"How many are {number}?"),), draft, (AIM,))
            body = {"prompt": prompt, "max_tokens": 16, "temperature": 0, "logprobs": 1}
            told = await ask(endpoint, "/completions", body)
            tokens = [token["id"] for token in told["choices"][0]["logprobs"]["content"]]
            ids = prompt_ids(tokenizer, prompt)
            with torch.no_grad():
                logits = model(torch.tensor([ids + tokens])).logits[0, len(ids) - 1 : -1]
            gaps += (logits.max(-1).values - logits[range(len(tokens)), tokens]).tolist()
    assert len(gaps) > 100
    assert sum(gap == 0 for gap in gaps) / len(gaps) > 0.95
    assert max(gaps) < 0.7


def test_an_adapter_comes_back_from_gguf_as_it_was(unpacked: Path, tmp_path: Path) -> None:
    from train.export import from_gguf, gguf_lora

    shipped = model_path("smollm2-135m-editor")
    from_gguf(unpacked, shipped, tmp_path / "adapter")
    gguf_lora(unpacked, tmp_path / "adapter", tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == shipped.read_bytes()
