"""A trained adapter as what engines load: merged safetensors (vLLM, transformers), or a LoRA in GGUF (llama.cpp)."""

import json
from pathlib import Path
from typing import Any


def merged(base: Path, adapter: Path, out: Path) -> None:
    """Base and adapter as one model, in safetensors."""
    from peft import PeftModel

    from train.model import load

    model, tokenizer = load(base)
    whole: Any = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    whole.save_pretrained(out)
    tokenizer.save_pretrained(out)


def gguf_lora(base: Path, adapter: Path, out: Path) -> None:
    """The adapter as f16 GGUF, for a base of the Llama family. Raises `ValueError` for any other."""
    import gguf
    import numpy
    from safetensors.numpy import load_file

    config = json.loads((base / "config.json").read_text())
    settings = json.loads((adapter / "adapter_config.json").read_text())
    if config["model_type"] != "llama":
        raise ValueError(f"{base} is a {config['model_type']} model; only Llama's tensors are named here")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    for name, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items()):
        module, _, which = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        target = names.get_name(module)
        if target is None:
            raise ValueError(f"no GGUF name for {module}")
        if which == "B" and module.endswith("q_proj"):
            tensor = permuted(tensor, config["num_attention_heads"])
        elif which == "B" and module.endswith("k_proj"):
            tensor = permuted(tensor, config["num_key_value_heads"])
        writer.add_tensor(f"{target}.weight.lora_{which.lower()}", numpy.ascontiguousarray(tensor, numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(rows: Any, heads: int) -> Any:
    """Rows of a query or key projection in llama.cpp's order: it pairs rotary dimensions 0,1 where Llama has 0,n/2.

    (llama.cpp, `convert_hf_to_gguf.py`, `LlamaModel.permute`.)
    """
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
