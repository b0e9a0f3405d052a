"""The commands of `metaaligner train`, by what they are about; what several of them take and say."""

import hashlib
import os
from pathlib import Path
from typing import Any

import click

from corrector.templates import names

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
JUDGE = click.Choice(["llm", "measure", "reward"])
TEMPLATE = click.Choice(names())
MODEL = click.option(
    "--model", default="smollm2-135m-instruct", show_default=True, help="A packaged name, GGUF or folder."
)
LLM_MAX_TOKENS = click.option(
    "--llm-max-tokens", type=click.IntRange(0),
    help="llm: tokens of an answer, with what a model thinks before it; 0 names no limit.  [8]",
)  # fmt: skip
WORK = click.option("--work", type=PATH, default=Path("build/train"), show_default=True, help="For unpacked models.")


# Of `judge_options`: of which kind, and what it is there.
JUDGES_OPTIONS = {
    "reward": ("reward", "path"),
    "llm_url": ("llm", "base_url"),
    "llm_model": ("llm", "model"),
    "llm_key_env": ("llm", "api_key_env"),
    "llm_max_tokens": ("llm", "max_tokens"),
}


def judge_options(command: Any) -> Any:
    """What the kinds of judges that a command may name need."""
    for option in (
        LLM_MAX_TOKENS,
        click.option("--llm-key-env", help="llm: the environment variable that holds its key."),
        click.option("--llm-model", help="llm: its name there."),
        click.option("--llm-url", help="llm: of an OpenAI-compatible service."),
        click.option("--reward", type=FILE, help="reward: one that `train judge reward --save` has fitted."),
    ):
        command = option(command)
    return command


def judge_of(kind: str, **given: Any) -> Any:
    """A judge. What it is not given, its kind has a default for, or says that it is missing."""
    from train.judges import load

    try:
        options = {name: value for name, value in given.items() if value is not None}
        return load(kind).build(load(kind).Options.model_validate({"kind": kind, **options}))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def judges_of(kinds: tuple[str, ...], option: str, **given: Any) -> list[Any]:
    """Judges of the kinds that `option` names, with what `judge_options` are given."""
    for name, value in given.items():
        kind, _ = JUDGES_OPTIONS[name]
        if value is not None and kind not in kinds:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with {option} {kind}")
    return [
        judge_of(kind, **{field: given[name] for name, (whose, field) in JUDGES_OPTIONS.items() if whose == kind})
        for kind in kinds
    ]


def known_aims(objectives: Path) -> dict[str, Any]:
    """Objectives by key: those of the file, and of the wordings what it lacks."""
    from corrector.objectives import read
    from train.wordings import Wordings

    wordings = Wordings()
    return {**{key: wordings.first(key) for key in wordings}, **read(objectives).objectives}


def engine_of(
    model: str, adapter: str | None, base_url: str | None, in_flight: int, key_env: str | None = None,
    context: int | None = None,
) -> Any:  # fmt: skip
    """An engine of ours, or one that is served already. Ours runs alone: it may have every core, and waits for none.

    `context`: tokens of prompt and answer together; by default as many as the gateway takes such an engine to have.
    """
    from corrector.engines import load
    from corrector.engines.llamacpp import PACKAGED

    weights = "q8_0" if model in PACKAGED else "stored"  # as the gateway has it
    ours: dict[str, Any] = {"kind": "llamacpp", "model": model, "adapter": adapter, "weights": weights}
    ours |= {"threads": len(os.sched_getaffinity(0)), "parallel": in_flight}
    theirs = {"kind": "endpoint", "model": model, "base_url": base_url, "api_key_env": key_env}
    given: dict[str, Any] = theirs if base_url else ours
    if context is not None:
        given["context"] = context
    if adapter and base_url:
        raise click.UsageError("--adapter is for an engine of ours: what --base-url serves has its own, or none")
    if key_env and not (base_url and os.environ.get(key_env)):
        raise click.UsageError(f"--api-key-env {key_env}: no such variable is set, or --base-url is missing")
    try:
        return load(str(given["kind"])).Options.model_validate(given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def weights_of(model: str, base_url: str | None) -> str:
    """What tells one model from another: a file of ours by what is in it, everything else by its name."""
    return digest_of(Path(model)) or model if base_url is None and Path(model).is_file() else model


def digest_of(file: Path | None) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else None


def say(event: str, **told: object) -> None:
    click.echo(f"{event}: " + ", ".join(f"{key} {value}" for key, value in told.items()), err=True)
