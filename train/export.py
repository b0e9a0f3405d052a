"""A trained adapter as what engines load: merged safetensors (vLLM, transformers), or a LoRA in GGUF (llama.cpp).

And back from GGUF, so that an adapter that is served can be trained further.
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from train.model import undigested

_TEMPLATES = "metaaligner.templates"  # in a GGUF adapter; llama.cpp passes over what it does not know


def merged(base: Path, adapter: Path, out: Path) -> None:
    """Base and adapter as one model, in safetensors, in the base's own precision.

    What is no adapter has all of a model's weights already, in fp32, as they were trained: they are served in bf16, in
    half the room.
    """
    import torch
    from peft import PeftModel

    from train.model import load

    whole: Any
    if is_adapter(adapter):
        model, tokenizer = load(base)
        whole = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    else:
        whole, tokenizer = load(adapter, dtype=torch.bfloat16)
    whole.save_pretrained(out)
    tokenizer.save_pretrained(out)


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def same_base(trained_on: str, base: Path) -> bool:
    """Is it the one that a run has on record, wherever it lies, and whoever's folder it is in?

    In Hugging Face's cache the folder's name is a commit's: `models--ORGANISATION--NAME/snapshots/COMMIT`. Records that
    were written before an unpacked GGUF's folder had a digest do not have it either.
    """
    cached = base.parent.parent.name.rpartition("--")[2] if base.parent.name == "snapshots" else base.name
    return Path(trained_on).name in (base.name, cached, undigested(base.name))


def blended(before: Path, after: Path, share: float, out: Path) -> None:
    """An adapter's folder between two others: `share` of `after`, which went on from `before`, weight by weight.

    What was learnt last is taken in part, so that less of what was known is lost (WiSE-FT, Wortsman et al. 2022,
    arXiv 2109.01903; there for whole models). Raises `ValueError` for adapters of different forms.
    """
    from safetensors.numpy import load_file, save_file

    old, new = (load_file(folder / "adapter_model.safetensors") for folder in (before, after))
    if {name: old[name].shape for name in old} != {name: new[name].shape for name in new}:
        raise ValueError(f"{before} and {after} do not adapt the same layers at the same rank")
    out.mkdir(parents=True, exist_ok=True)
    weights = {name: ((1 - share) * old[name] + share * new[name]).astype(new[name].dtype) for name in new}
    save_file(weights, out / "adapter_model.safetensors")
    shutil.copy(after / "adapter_config.json", out)
    (out / "blend.json").write_text(json.dumps({"before": before.name, "after": after.name, "share": share}))


def gguf_lora(base: Path, adapter: Path, out: Path) -> None:
    """The adapter as f16 GGUF, with the prompts it was trained with where they are on record.

    For a base of the Llama family. Raises `ValueError` for any other.
    """
    import gguf
    import numpy
    from safetensors.numpy import load_file

    config = _llama(base)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    if templates := _trained_with(adapter):
        writer.add_string(_TEMPLATES, ",".join(templates))
    for name, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items()):
        module, _, which = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        target = names.get_name(module)
        if target is None:
            raise ValueError(f"no GGUF name for {module}")
        if which == "B" and (heads := _heads(config, module)):
            tensor = permuted(tensor, heads)
        writer.add_tensor(f"{target}.weight.lora_{which.lower()}", numpy.ascontiguousarray(tensor, numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _trained_with(adapter: Path) -> list[str]:
    """The prompts of the run in whose folder it is, the one that most rows had first; none if there is no record."""
    record = adapter.parent / "run.json"
    if not record.is_file():
        return []
    settings = json.loads(record.read_text(encoding="utf-8")).get("settings", {})
    return [name for name, _ in Counter(settings.get("templates", ())).most_common()]


def templates_of(adapter: Path) -> tuple[str, ...]:
    """The prompts that a GGUF adapter was trained with; none where it does not say so. Raises `ValueError`."""
    from gguf import GGUFReader

    field = GGUFReader(adapter).fields.get(_TEMPLATES)
    return tuple(bytes(field.parts[field.data[0]]).decode().split(",")) if field else ()


def from_gguf(base: Path, adapter: Path, out: Path) -> None:
    """A GGUF adapter as the folder that PEFT loads: what `gguf_lora` wrote, read back.

    Raises `ValueError` for one that `gguf_lora` would not have written.
    """
    import gguf
    import numpy
    from peft import LoraConfig
    from safetensors.numpy import save_file

    config = _llama(base)
    reader = gguf.GGUFReader(adapter)
    given = {tensor.name: tensor.data for tensor in reader.tensors}
    weights = {}
    for module in (f"model.layers.{n}.{part}" for n in range(config["num_hidden_layers"]) for part in _LINEAR):
        target = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"]).get_name(module)
        for which in "AB":
            if (found := given.pop(f"{target}.weight.lora_{which.lower()}", None)) is None:
                raise ValueError(f"{adapter} does not adapt {target}: every linear layer of {base} should be adapted")
            tensor = found.astype(numpy.float32)
            if which == "B" and (heads := _heads(config, module)):
                tensor = _unpermuted(tensor, heads)
            weights[f"base_model.model.{module}.lora_{which}.weight"] = numpy.ascontiguousarray(tensor)
    if given:
        raise ValueError(f"{adapter} adapts what only llama.cpp knows: {', '.join(sorted(given))}")
    alpha = reader.fields["adapter.lora.alpha"]
    rank = next(iter(weights.values())).shape[0]
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "adapter_model.safetensors")
    LoraConfig(
        r=rank, lora_alpha=int(alpha.parts[alpha.data[0]][0]), target_modules="all-linear", task_type="CAUSAL_LM"
    ).save_pretrained(str(out))


_LINEAR = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


def _llama(base: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    config: dict[str, Any] = AutoConfig.from_pretrained(base).to_dict()  # also of a name that is no folder
    if config["model_type"] not in ("llama", "mistral"):  # one and the same to llama.cpp's converter, order of rows too
        raise ValueError(
            f"{base} is a {config['model_type']} model, and only adapters of Llama's and Mistral's are written: serve "
            "the adapter's folder, or --merged, with vllm or transformers"
        )
    return config


def _heads(config: dict[str, Any], module: str) -> int | None:
    """Of a projection whose rows llama.cpp has in another order."""
    if module.endswith("q_proj"):
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if module.endswith("k_proj") else None


def permuted(rows: Any, heads: int) -> Any:
    """Rows of a query or key projection in llama.cpp's order: it pairs rotary dimensions 0,1 where Llama has 0,n/2.

    (llama.cpp, `convert_hf_to_gguf.py`, `LlamaModel.permute`.)
    """
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _unpermuted(rows: Any, heads: int) -> Any:
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
