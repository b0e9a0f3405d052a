"""The embedded corrector as folders, for engines that read no GGUF: `python -m bench.weights` makes them, once.

Base and adapter apart, as tests want them; or merged into one, as measurements do: adapters slow an engine down.
"""

from pathlib import Path

from corrector.engines.llamacpp import model_path

MODEL, ADAPTER = "smollm2-135m-instruct", "smollm2-135m-editor"
CACHE = Path("build/engines")


def folders() -> tuple[Path, Path]:
    """The model as safetensors, with what Q4_1 left of its weights, and the adapter as PEFT saves one."""
    from train.export import from_gguf
    from train.model import base

    model, adapter = base(MODEL, CACHE), CACHE / ADAPTER
    if not (adapter / "adapter_config.json").exists():
        from_gguf(model, model_path(ADAPTER), adapter)
    return model.resolve(), adapter.resolve()


def merged() -> Path:
    """The same corrector as one model."""
    from train.export import merged as merge

    out = CACHE / f"{ADAPTER}-merged"
    if not (out / "model.safetensors").exists():
        merge(*folders(), out)
    return out.resolve()


if __name__ == "__main__":
    print(*folders())
