"""A model of transformers and its tokenizer, from a folder or the hub, with its adapter merged into it."""

from typing import Any

import torch


def load(model: str, *, adapter: str | None, dtype: str, device: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """Raises `OSError` or `ValueError` for what cannot be loaded."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch_device = _device(device)
    # What bfloat16 saves on a GPU, it costs on most CPUs.
    torch_dtype = dtype if dtype != "auto" or torch_device.type != "cpu" else "float32"
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch_dtype, trust_remote_code=trust_remote_code)
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter).merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    return loaded.to(torch_device).eval(), tokenizer


def _device(device: str) -> torch.device:
    found = torch.accelerator.current_accelerator(check_available=True)
    return (found or torch.device("cpu")) if device == "auto" else torch.device(device)


def eos_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer."""
    told = model.generation_config.eos_token_id
    several = told if isinstance(told, list) else [told]
    return frozenset(token for token in (*several, tokenizer.eos_token_id) if token is not None)


def context(model: Any, wanted: int) -> int:
    """Tokens that prompt and answer may have together: what is wanted, or the less that it was made for."""
    made_for = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(wanted, made_for) if made_for else wanted
