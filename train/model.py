"""Base models: a GGUF file, such as the embedded one, as plain weights that PEFT and vLLM can work with."""

import hashlib
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from corrector.engines.llamacpp import PACKAGED, model_path
from train.rows import DataError


def base(model: str, cache: Path) -> Path:
    """A folder with the model as safetensors. `model` is a packaged name, a GGUF file, or such a folder already.

    Raises `DataError` for a GGUF file that would come out as another model than it is.
    """
    if Path(model).is_dir():
        return Path(model)
    if model not in PACKAGED and not model.endswith(".gguf"):
        return Path(model)  # a name that transformers resolves itself
    gguf = model_path(model)
    folder = folder_of(gguf, cache)
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        _unpack(gguf, part)
        part.rename(folder)
    return folder


def folder_of(gguf: Path, cache: Path) -> Path:
    """Where a file is unpacked to, or will be: another one may have its name."""
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return cache / f"{gguf.stem}-{digest[:8]}"


def undigested(folder: str) -> str:
    """The name of a file that was unpacked, as records have it that were written before folders had a digest."""
    return re.sub(r"-[0-9a-f]{8}\Z", "", folder)


def _unpack(gguf: Path, folder: Path) -> None:
    import torch
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    reader = GGUFReader(gguf)
    fields = reader.fields  # read once: a vocabulary takes seconds
    if why := _no_plain_llama(fields, {tensor.name for tensor in reader.tensors}):
        raise DataError(f"{gguf}: {why}: give --model the folder of its safetensors, or its name on the hub")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    if _text(fields, "tokenizer.ggml.pre").startswith("smollm"):
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


def _no_plain_llama(fields: Mapping[str, Any], tensors: Collection[str]) -> str:
    """Why it would not be the same model any more; empty where it is a plain Llama."""
    architecture = _text(fields, "general.architecture")
    if architecture != "llama":
        return f"a {architecture or 'nameless'} model, and only Llama's are read from GGUF"
    # transformers forgets what stretches the rotary positions: Llama 3.1 has it as a tensor, others as numbers.
    if "rope_freqs.weight" in tensors or any(".rope.scaling." in name for name in fields):
        return "its rotary positions are scaled, which is not read from GGUF"
    if any(name.endswith(".ffn_gate_inp.weight") for name in tensors):
        return "a mixture of experts, and only plain Llamas are read from GGUF"
    return ""


def _text(fields: Mapping[str, Any], name: str) -> str:
    field = fields.get(name)
    return bytes(field.parts[field.data[0]]).decode() if field else ""


def _number(path: Path, fields: Mapping[str, Any], name: str) -> int:
    field = fields.get(f"tokenizer.ggml.{name}")
    if field is None:
        raise ValueError(f"{path} does not say its {name}")
    return int(field.parts[field.data[0]][0])


def load(folder: Path, **options: Any) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder, **options), AutoTokenizer.from_pretrained(folder)
