"""Base models: a GGUF file, such as the embedded one, as plain weights that PEFT and vLLM can work with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corrector.engines.llamacpp import PACKAGED, model_path


def base(model: str, cache: Path) -> Path:
    """A folder with the model as safetensors. `model` is a packaged name, a GGUF file, or such a folder already."""
    if Path(model).is_dir():
        return Path(model)
    if model not in PACKAGED and not model.endswith(".gguf"):
        return Path(model)  # a name that transformers resolves itself
    gguf = model_path(model)
    folder = cache / gguf.stem
    if not (folder / "model.safetensors").exists():
        _unpack(gguf, folder)
    return folder


def _unpack(gguf: Path, folder: Path) -> None:
    import torch
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    fields = GGUFReader(gguf).fields  # read once: a vocabulary takes seconds
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    if b"smollm" in _pre_tokenizer(fields):
        # transformers forgets that digits stand alone, and then cuts the white space before them in another way.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    # Some versions of transformers read the file's end token wrongly; a model that learns another one never stops.
    tokenizer.eos_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(_number(gguf, fields, "eos_token_id"))
    packed: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    config = packed.config
    config.__dict__.pop("quantization_config", None)
    # transformers keeps GGUF tensors packed and unpacks them at every step: a fresh model has plain ones.
    plain: Any = LlamaForCausalLM(config)
    plain.load_state_dict(packed.state_dict(), strict=False)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _pre_tokenizer(fields: Mapping[str, Any]) -> bytes:
    field = fields.get("tokenizer.ggml.pre")
    return bytes(field.parts[field.data[0]]) if field else b""


def _number(path: Path, fields: Mapping[str, Any], name: str) -> int:
    field = fields.get(f"tokenizer.ggml.{name}")
    if field is None:
        raise ValueError(f"{path} does not say its {name}")
    return int(field.parts[field.data[0]][0])


def load(folder: Path, **options: Any) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, **options), AutoTokenizer.from_pretrained(folder)
