"""`metaaligner serve | check | align | audit | train`. What goes wrong is one clear line, never a traceback."""

import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corrector.objectives import MAX_DESCRIPTION, Objective, description_fault
from corrector.strictyaml import ConfigError
from wire.errors import WireError

if TYPE_CHECKING:
    from corrector.running import CorrectorSpec

LATER = {"audit": "gateway.audit.commands", "train": "train.cli"}
# What comes with the extra `train`, by the names that it is imported by.
TRAINING = (
    "accelerate", "datasets", "matplotlib", "numpy", "peft", "profanity_check", "safetensors", "scipy", "sklearn",
    "textstat", "torch", "transformers", "trl",
)  # fmt: skip
_POLICIES = click.option(
    "--policies", type=click.Path(path_type=Path), default=Path("policies.yaml"), show_default=True,
    help="The models: policies and correctors.",
)  # fmt: skip
_OBJECTIVES_FILE = click.option(
    "--objectives", type=click.Path(path_type=Path), default=Path("objectives.yaml"), show_default=True,
    help="Objectives, sets and tenants.",
)  # fmt: skip


def main() -> None:
    """The entry point."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:  # as before `head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still writes as it ends
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        cure = ": .venv/bin/pip install -c constraints.txt -e '.[train]'" if package in TRAINING else ""
        click.echo(f"error: {package} is not installed{cure}", err=True)
        raise SystemExit(2) from None
    except (ConfigError, WireError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


class _Commands(click.Group):
    """`train` and `audit` are looked up when they are asked for: the others never need what these import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *LATER])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in LATER:
            command: click.Command = getattr(importlib.import_module(LATER[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands)
@click.version_option(package_name="metaaligner-gateway")
def cli() -> None:
    """An OpenAI-compatible gateway that aligns what your models answer."""


@cli.command()
@_POLICIES
@_OBJECTIVES_FILE
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--allow-anonymous", is_flag=True, help="Serve tenants without keys beyond loopback too.")
def serve(policies: Path, objectives: Path, host: str, port: int, workers: int, allow_anonymous: bool) -> None:
    """Start the gateway, and the engines that it runs itself."""
    from gateway.serve import serve as run

    run(policies, objectives, host, port, workers, allow_anonymous=allow_anonymous)


@cli.command()
@_POLICIES
@_OBJECTIVES_FILE
def check(policies: Path, objectives: Path) -> None:
    """Validate both files and print what each tenant gets."""
    from gateway import plan
    from gateway.config import read

    config = read(policies, objectives, keys=False)
    click.echo(f"{policies} and {objectives} are valid.")
    known = config.objectives
    for name, tenant in known.tenants.items():
        keys = "none needed" if tenant.keys == "none" else str(len(tenant.keys))
        required = known.expand(tenant.required)
        aims = dict.fromkeys([*required, *known.expand(tenant.objectives)])
        told = ", ".join(f"{aim} (required)" if aim in required else aim for aim in aims)
        click.echo(f"\ntenant {name}")
        click.echo(f"  keys        {keys}")
        click.echo(f"  policies    {', '.join(plan.usable(config, tenant)) or 'none'}")
        click.echo(f"  objectives  {told or 'none'}")
        click.echo(f"  may choose  {tenant.allow if tenant.allow == 'any' else ', '.join(tenant.allow)}")
        click.echo(f"  may define  {'yes' if tenant.define else 'no'}")
        click.echo(f"  may turn off  {'yes' if tenant.allow_off and not tenant.required else 'no'}")
        on_failure = "original" if tenant.keeps_draft else "error"
        click.echo(
            f"  mode {tenant.mode}, release {tenant.release}, on failure {on_failure}, "
            f"structured {tenant.structured}, reasoning {tenant.reasoning}"
        )
        if tenant.roll_out < 100:
            click.echo(f"  rolled out to {tenant.roll_out:g}%, the rest in shadow")
        told = f"{tenant.audit}, for {tenant.retention_days} days" if tenant.audit != "off" else "off"
        click.echo(f"  audit       {told}{', may become training data' if tenant.training else ''}")
    for told in config.unset():
        click.echo(f"\nwarning: {told}", err=True)


@cli.command()
@click.argument("question", required=False)
@click.argument("answer", required=False)
@click.option("--objectives", "names", help="Objectives or sets, with commas; default: the set `default`.")
@click.option("--define", multiple=True, metavar="NAME=DESCRIPTION", help="An objective on the spot.")
@click.option("--corrector", "corrector_name", help="Default: the first one in the file.")
@click.option("--input", "source", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="JSONL or CSV.")
@click.option("--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="JSONL or CSV.")
@click.option("--in-flight", type=click.IntRange(1, 4096), help="Rows at once; default: what fills the engine.")
@click.option("--shard", metavar="I/N", help="Of the rows only the I-th of N parts, for one of N machines.")
@_POLICIES
@click.option("--objectives-file", type=click.Path(path_type=Path), default=Path("objectives.yaml"), show_default=True)
def align(
    question: str | None,
    answer: str | None,
    names: str | None,
    define: tuple[str, ...],
    corrector_name: str | None,
    source: Path | None,
    target: Path | None,
    in_flight: int | None,
    shard: str | None,
    policies: Path,
    objectives_file: Path,
) -> None:
    """Correct one ANSWER to a QUESTION, or a whole file of them (--input, --output)."""
    single = question is not None and answer is not None
    if single == (source is not None) or (source is None) != (target is None):
        raise click.UsageError("give QUESTION and ANSWER, or --input and --output")
    from gateway.config import read

    config = read(policies, objectives_file, keys=False)
    chosen, aims = choose(config, corrector_name), aims_of(config, names, define)
    if source is not None and target is not None:
        asyncio.run(_align_file(chosen, config.correctors[chosen], aims, (source, target), in_flight, _shard(shard)))
    elif question is not None and answer is not None:
        asyncio.run(_align_one(config, chosen, aims, question, answer))


def choose(config: Any, name: str | None) -> str:
    """The name of a corrector of the configuration: this one, or the first. Raises `UsageError`."""
    if not config.correctors:
        raise click.UsageError("there are no correctors in the policies file")
    chosen = name or next(iter(config.correctors))
    if chosen not in config.correctors:
        raise click.UsageError(f"no corrector {chosen!r}; there are: {', '.join(config.correctors)}")
    return chosen


def aims_of(config: Any, names: str | None, define: tuple[str, ...]) -> tuple[Objective, ...]:
    """Toward what: objectives and sets by name, with commas, and `NAME=DESCRIPTION`s. Raises `UsageError`."""
    known = config.objectives
    wanted = [name.strip() for name in (names or ("" if define else "default")).split(",") if name.strip()]
    try:
        aims: tuple[Objective, ...] = known.ordered(known.expand(wanted))
    except KeyError as error:
        listed = ", ".join([*known.objectives, *known.sets])
        raise click.UsageError(f"unknown objective {error.args[0]!r}; there are: {listed}") from None
    for text in define:
        name, equals, description = text.partition("=")
        if not equals or not name.strip() or not description.strip():
            raise click.UsageError(f"--define takes NAME=DESCRIPTION, not {text!r}")
        name, description = name.strip(), description.strip()
        if (wrong := description_fault(description, MAX_DESCRIPTION)) is not None:
            raise click.UsageError(f"--define: the description of {name!r} {wrong}")
        aims += (Objective(key=name, name=name.capitalize(), description=description),)
    return aims


def _shard(text: str | None) -> tuple[int, int]:
    """`2/4` as numbers."""
    number, slash, parts = (text or "1/1").partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise click.UsageError(f"--shard takes I/N, such as 2/4, not {text!r}")
    return int(number), int(parts)


def _say(event: str, **told: object) -> None:
    click.echo(f"{event}: " + ", ".join(f"{key} {value}" for key, value in told.items()), err=True)


async def _align_one(config: Any, name: str, aims: tuple[Objective, ...], question: str, answer: str) -> None:
    from rich.console import Console

    from corrector.correction import Task
    from corrector.corrector import whole
    from corrector.running import running
    from corrector.templates import Turn

    console = Console(highlight=False, soft_wrap=True)
    async with running(name, config.correctors[name], _say) as corrector:
        task = Task((Turn("user", question),), answer, aims, keep_draft_on_failure=False)
        correction = await whole(corrector, task)
    console.print(_diff(answer, correction.text, coloured=console.is_terminal))
    told = f"{correction.verdict}: {correction.reason}  [{', '.join(aim.key for aim in aims)}]"
    console.print(f"\n{told}", style="dim", markup=False)


def _diff(before: str, after: str, *, coloured: bool) -> Any:
    """What was taken out in red and struck, what was put in in green, by words; in a file `[-out-]{+in+}`."""
    from rich.text import Text

    from gateway import worddiff

    shown = Text()
    for kind, words in worddiff.diff(before, after):
        if kind == "=":
            shown.append(words)
        elif coloured:
            shown.append(words, style="red strike" if kind == "-" else "green")
        else:
            shown.append(f"[-{words}-]" if kind == "-" else f"{{+{words}+}}")
    return shown


async def _align_file(
    name: str,
    spec: "CorrectorSpec",
    aims: tuple[Objective, ...],
    files: tuple[Path, Path],
    in_flight: int | None,
    shard: tuple[int, int],
) -> None:
    from collections import Counter

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from corrector.correction import Correction
    from corrector.running import running
    from gateway import batch

    source, target = files
    verdicts: Counter[str] = Counter()
    try:
        numbers = batch.part(sum(1 for _ in batch.read_rows(source)), *shard)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns) as bar:
            shown = bar.add_task("aligning", total=len(numbers))

            def progress(told: Correction | None) -> None:
                verdicts[told.verdict if told else "done before"] += 1
                bar.advance(shown)

            spec = batch.alone(spec)
            async with running(name, spec, _say) as corrector:
                await batch.run(
                    source, target, corrector, aims, in_flight or batch.places(spec.engine), progress, numbers
                )
    except batch.BatchError as error:
        raise click.ClickException(str(error)) from None
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()) or "no rows")


if __name__ == "__main__":  # as `accelerate launch --module` starts it
    main()
