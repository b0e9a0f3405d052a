"""A model of transformers in a child process: a GPU without vLLM, research checkpoints, adapters as PEFT saves them.

Run as `python -m corrector.engines.transformers OPTIONS_JSON SOCKET`, it serves `corrector/serving` on a Unix socket.
`transformers serve` itself has no socket, outlives its starter, and passes over what it cannot do. Torch and
transformers are imported there only.
"""

import asyncio
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from corrector.engines import EngineOptions, Launch
from corrector.engines.llamacpp import half_of_the_cores

if TYPE_CHECKING:
    from corrector.serving.generator import Generator

ONE_BY_ONE = "; they go one after the other"  # what is said of a model whose answers cannot share steps


class Options(EngineOptions):
    """`model` and `adapter` (of PEFT) are folders, or names on the hub."""

    kind: Literal["transformers"]
    model: str
    adapter: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    parallel: Annotated[int, Field(ge=1, le=256)] = 16
    threads: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 1024  # of an answer whose request names no limit: small models may loop
    drafting: Literal["none", "prompt_lookup"] = "none"
    draft_lookup: Annotated[int, Field(ge=1, le=32)] = 3
    draft_length: Annotated[int, Field(ge=1, le=64)] = 16
    draft_in_flight: Annotated[int, Field(ge=1)] = 1
    trust_remote_code: bool = False
    start_timeout_s: Annotated[float, Field(gt=0)] = 600.0

    def correcting(self) -> Self:
        """With prompt lookup, which is off by itself where it would lose (docs/performance.md)."""
        return self if "drafting" in self.model_fields_set else self.model_copy(update={"drafting": "prompt_lookup"})

    @field_validator("model", "adapter")
    @classmethod
    def _is_a_folder_or_a_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None or not (name.startswith(("/", ".", "~")) or Path(name).is_dir()):
            return name
        wanted = "config.json" if info.field_name == "model" else "adapter_config.json"
        if not (Path(name).expanduser() / wanted).is_file():
            raise ValueError(f"no {info.field_name} in the folder {name!r}: there is no {wanted} in it")
        return str(Path(name).expanduser())

    @model_validator(mode="after")
    def _installed(self) -> Self:
        wanted = ("torch", "transformers", *(("peft",) if self.adapter else ()))
        missing = [package for package in wanted if importlib.util.find_spec(package) is None]
        if missing:
            needed = " and ".join(missing)
            how = ".venv/bin/pip install -c constraints.txt -e '.[transformers]'"
            raise ValueError(f"this engine needs {needed}: {how}")
        return self


def launch(options: Options, socket: Path) -> Launch | None:
    argv = (sys.executable, "-P", "-m", "corrector.engines.transformers", options.model_dump_json(), str(socket))
    return Launch(argv, start_timeout_s=options.start_timeout_s, progress=progress)


def base_urls(options: Options, socket: Path) -> tuple[str, ...]:
    return (f"unix:{socket}",)


def api_key(options: Options) -> str | None:
    return None


def progress(line: str) -> str | None:
    return line if line.endswith(ONE_BY_ONE) else None


def generator(options: Options) -> "Generator":
    """The model, loaded, and a thread that decodes with it."""
    from corrector.serving import checkpoint
    from corrector.serving.continuous_batching import ContinuousBatching
    from corrector.serving.generator import Generator, Limits
    from corrector.serving.sequential import SequentialDecoding
    from corrector.serving.worker import Decoder, Worker

    model, tokenizer = checkpoint.load(
        options.model, adapter=options.adapter, dtype=options.dtype, device=options.device,
        trust_remote_code=options.trust_remote_code,
    )  # fmt: skip
    drafts = options.drafting == "prompt_lookup"
    decoder: Decoder
    try:
        decoder = ContinuousBatching(model, options.draft_length if drafts else 0, options.draft_in_flight)
    except ValueError as error:
        print(f"{error}{ONE_BY_ONE}", file=sys.stderr)
        decoder = SequentialDecoding(model)
    limits = Limits(checkpoint.context(model, options.context), options.max_tokens, options.draft_lookup * drafts)
    eos_token_ids = checkpoint.eos_token_ids(model, tokenizer)
    return Generator(options.model, tokenizer, eos_token_ids, limits, Worker(decoder, options.parallel))


def _end_with_the_gateway() -> None:
    """It holds the other end of stdin: when it dies, however it dies, so do we."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    options, socket = Options.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's: it drains first
    threading.Thread(target=_end_with_the_gateway, daemon=True).start()
    import torch

    from corrector.serving.http import serve

    torch.set_num_threads(options.threads or half_of_the_cores())  # of the whole process: not for `generator` to say
    asyncio.run(serve(generator(options), socket))


if __name__ == "__main__":
    main()
