"""The embedded corrector as folders, for engines that read no GGUF: `python -m bench.weights` makes them, once each.

Base and adapter apart, as tests want them; or merged into one, as measurements do: adapters slow an engine down.
"""

import hashlib
from pathlib import Path

from corrector.engines.llamacpp import model_path

MODEL, ADAPTER = "smollm2-135m-instruct", "smollm2-135m-editor"
CACHE = Path("build/engines")


def base_folder() -> Path:
    """Where the model is unpacked, or will be."""
    from train.model import folder_of

    return folder_of(model_path(MODEL), CACHE)


def adapter_folder() -> Path:
    """Where the adapter is, or will be: another one has another place."""
    return CACHE / f"{ADAPTER}-{hashlib.sha256(model_path(ADAPTER).read_bytes()).hexdigest()[:8]}"


def folders() -> tuple[Path, Path]:
    """The model as safetensors, with what Q4_1 left of its weights, and the adapter as PEFT saves one."""
    from train.export import from_gguf
    from train.model import base

    model, adapter = base(MODEL, CACHE), adapter_folder()
    if not (adapter / "adapter_config.json").exists():
        from_gguf(model, model_path(ADAPTER), adapter)
    return model.resolve(), adapter.resolve()


def merged() -> Path:
    """The same corrector as one model."""
    from train.export import merged as merge

    model, adapter = folders()
    out = adapter.with_name(f"{adapter.name}-merged")
    if not (out / "model.safetensors").exists():
        merge(model, adapter, out)
    return out.resolve()


if __name__ == "__main__":
    print(*folders())
