"""`metaaligner train prepare | sft | export | evaluate | judge`. Needs the extra `train`."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import click

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_MODEL = click.option(
    "--model", default="smollm2-135m-instruct", show_default=True, help="A packaged name, GGUF or folder."
)
_WORK = click.option("--work", type=_PATH, default=Path("build/train"), show_default=True, help="For unpacked models.")


@click.group()
def train() -> None:
    """Train a corrector of your own."""


@train.command()
@click.argument("sources", nargs=-1, required=True, metavar="FORMAT=FILE...")
@click.option("--out", type=_PATH, required=True, help="Rows, as JSON Lines; a report beside them.")
@click.option(
    "--take", multiple=True, metavar="SOURCE=ROWS", help="At most so many pairs of a source; `*` for the rest."
)
@click.option("--made", default=0, show_default=True, help="Good answers damaged by rule, to be mended.")
@click.option(
    "--made-from", multiple=True, metavar="SOURCE", help="Sources whose better answers are good; default: all."
)
@click.option("--identical", default=0, show_default=True, help="Good answers to be left alone, for the warm-up.")
@click.option("--refused", default=0, show_default=True, help="Answers that go along with a harmful request, refused.")
@click.option("--answered", default=0, show_default=True, help="Needless refusals, answered.")
@click.option("--longest", default=900, show_default=True, help="Characters of an answer.")
@click.option("--longest-context", default=2000, show_default=True, help="Characters of what led to it.")
@click.option("--seed", default=1, show_default=True)
def prepare(
    sources: tuple[str, ...],
    out: Path,
    take: tuple[str, ...],
    made: int,
    made_from: tuple[str, ...],
    identical: int,
    refused: int,
    answered: int,
    longest: int,
    longest_context: int,
    seed: int,
) -> None:
    """Preference data to training rows. FORMAT is pairs, hh_rlhf, ultrafeedback, imhi or answers."""
    from train.prepare import Mix, Wordings, compose
    from train.readers import READERS, Skipped
    from train.rows import Pair, write

    skipped = Skipped()
    pairs: list[Pair] = []
    for source in sources:
        kind, _, path = source.partition("=")
        if kind not in READERS or not Path(path).is_file():
            raise click.UsageError(f"{source!r}: FORMAT=FILE, where FORMAT is one of {', '.join(READERS)}")
        pairs += READERS[kind](Path(path), skipped)
    per_source = {}
    for text in take or ("*=1000000000",):
        name, _, count = text.rpartition("=")
        if not name or not count.isdigit():
            raise click.UsageError(f"--take wants SOURCE=ROWS, not {text!r}")
        per_source[name] = int(count)
    mix = Mix(per_source, made, identical, made_from, refused, answered, longest, longest_context)
    rows, report = compose(pairs, mix, Wordings(), seed, skipped)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, rows)
    out.with_suffix(".md").write_text(report.markdown())
    click.echo(f"{len(rows)} rows in {out}; {sum(skipped.values())} not used, see {out.with_suffix('.md')}")


@train.command()
@click.argument("rows", type=_FILE)
@click.option("--out", type=_PATH, required=True)
@_MODEL
@_WORK
@click.option("--template", "templates", multiple=True, default=("ultrafeedback",), show_default=True)
@click.option("--stage", "stages", multiple=True, default=("identical", "equal", "better"), show_default=True)
@click.option("--rank", default=16, show_default=True, help="Of the LoRA; 0 trains every weight.")
@click.option("--learning-rate", default=3e-4, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--accumulate", default=1, show_default=True)
@click.option("--epochs", default=1.0, show_default=True)
@click.option("--max-steps", default=-1, help="Of each stage.")
@click.option("--longest", default=640, show_default=True, help="Tokens of a row.")
@click.option("--save-every", default=25, show_default=True, help="Steps.")
@click.option("--packing", is_flag=True, help="Several rows in one sequence: needs a GPU with flash attention.")
@click.option("--seed", default=1, show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what it would take, for models of several sizes.")
@click.option("--devices", default=1, show_default=True, help="For --dry-run.")
@click.option("--tflops", default=312.0, show_default=True, help="For --dry-run: a device's peak; an A100's, in bf16.")
def sft(rows: Path, out: Path, model: str, work: Path, **options: Any) -> None:
    """Train on ROWS, stage by stage; started again, it goes on where it was stopped."""
    dry, devices, tflops = options.pop("dry_run"), options.pop("devices"), options.pop("tflops")
    if dry:
        click.echo(_estimate(rows, options, devices, tflops))
        return
    from train.model import base
    from train.sft import Settings, run

    click.echo(f"trained: {run(base(model, work), rows, out, Settings(**options))}")


def _estimate(rows: Path, options: dict[str, Any], devices: int, tflops: float) -> str:
    from train import estimate
    from train.rows import read

    some = [row for row in read(rows) if row.kind in options["stages"]]
    batch, epochs, full = options["batch"], options["epochs"], options["rank"] == 0
    done = estimate.work(some, options["templates"], batch * options["accumulate"] * devices, epochs)
    return estimate.markdown(
        done, full=full, epochs=epochs, batch=batch, longest=options["longest"], devices=devices, tflops=tflops
    )


@train.command()
@click.argument("adapter", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--gguf", type=_PATH, help="The adapter as GGUF, for llama.cpp.")
@click.option("--merged", type=_PATH, help="Base and adapter as one model, for vLLM and transformers.")
@_MODEL
@_WORK
def export(adapter: Path, gguf: Path | None, merged: Path | None, model: str, work: Path) -> None:
    """A trained ADAPTER as what engines load."""
    from train import export as exports
    from train.model import base

    if gguf is None and merged is None:
        raise click.UsageError("say where to: --gguf FILE, --merged FOLDER, or both")
    folder = base(model, work)
    if gguf is not None:
        gguf.parent.mkdir(parents=True, exist_ok=True)
        exports.gguf_lora(folder, adapter, gguf)
        click.echo(f"{gguf}: {gguf.stat().st_size / 1e6:.1f} MB")
    if merged is not None:
        exports.merged(folder, adapter, merged)
        click.echo(f"{merged}")


@train.command()
@click.argument("queries", type=_FILE)
@click.option("--out", type=_PATH, required=True, help="`dataset, policy, query, golden, answer`, as JSON Lines.")
@click.option("--source", "sources", multiple=True, help="Queries of these only.")
@click.option("--limit", default=300, show_default=True, help="Queries.")
@click.option("--longest", default=600, show_default=True, help="Characters of a query.")
@click.option("--model", default="smollm2-135m-instruct", show_default=True)
@click.option("--base-url", help="A policy that is being served already.")
@click.option("--licence", default="unknown", show_default=True, help="Of what the model says.")
@click.option("--in-flight", default=4, show_default=True)
@click.option("--seed", default=1, show_default=True)
def answers(
    queries: Path,
    out: Path,
    sources: tuple[str, ...],
    limit: int,
    longest: int,
    model: str,
    base_url: str | None,
    licence: str,
    in_flight: int,
    seed: int,
) -> None:
    """A policy's own answers to QUERIES (pairs or policy answers), to train on or to evaluate with."""
    import random

    from rich.progress import Progress

    from corrector.running import served
    from train import answers as asked
    from train.rows import lines

    todo = asked.questions(lines(queries), longest, sources)
    random.Random(seed).shuffle(todo)  # noqa: S311 - a sample, not a secret
    todo = todo[:limit]
    out.parent.mkdir(parents=True, exist_ok=True)

    async def ask() -> None:
        with Progress() as bar:
            shown = bar.add_task("asking", total=len(todo))
            async with served("the policy", _engine(model, None, base_url), _say) as endpoint:
                await asked.run(todo, endpoint, model, licence, out, in_flight, lambda: bar.advance(shown))

    asyncio.run(ask())


def _served(command: Any) -> Any:
    """Options of a corrector that is to be measured: one on an engine of ours, or one that is served already."""
    for option in (
        click.option("--template", default="chat", show_default=True),
        click.option("--min-ratio", default=0.6, show_default=True),
        click.option("--max-ratio", default=1.5, show_default=True),
        click.option("--model", default="smollm2-135m-instruct", show_default=True, help="Or the URL's model."),
        click.option("--adapter", help="A LoRA in GGUF, for llama.cpp."),
        click.option("--base-url", help="A corrector that is being served already."),
    ):
        command = option(command)
    return command


@train.command()
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")
@click.option("--out", type=_PATH, required=True, help="A folder: report.md, its plots, and the JSON behind them.")
@click.option("--mending", is_flag=True, help="FILEs are pairs: their good answers are damaged by rule, to be mended.")
@click.option("--each", default=40, show_default=True, help="Answers of each policy, or cases of each kind of damage.")
@click.option("--condition", "conditions", multiple=True, metavar="NAME=KEY,KEY", help="The first is the usual one.")
@click.option(
    "--judge", "kinds", multiple=True, default=("measure",), show_default=True, help="measure, reward or llm."
)
@click.option("--reward", type=_FILE, help="reward: one that `train judge reward --save` has fitted.")
@click.option("--llm-url", help="llm: of an OpenAI-compatible service.")
@click.option("--llm-model", help="llm: its name there.")
@click.option(
    "--people", multiple=True, type=_FILE, help="What people said: judge_eval or pairs; to know the judges by."
)
@click.option("--title", default="Evaluation", show_default=True)
@click.option("--objectives", type=_FILE, default=Path("objectives.yaml"), show_default=True)
@click.option("--in-flight", default=4, show_default=True)
@click.option("--seed", default=1, show_default=True)
@_served
def evaluate(
    files: tuple[Path, ...],
    out: Path,
    mending: bool,
    each: int,
    objectives: Path,
    in_flight: int,
    seed: int,
    **given: Any,
) -> None:
    """Is a corrector worth it? FILEs are policies' answers, which are corrected and judged; or, --mending, pairs."""
    served = {name: given.pop(name) for name in ("template", "min_ratio", "max_ratio", "model", "adapter", "base_url")}
    out.mkdir(parents=True, exist_ok=True)
    if mending:
        told = asyncio.run(_mended(files, out, each, _aims(objectives), in_flight, seed, _spec(**served)))
    else:
        told = asyncio.run(_judged(files, out, each, _aims(objectives), in_flight, seed, _spec(**served), **given))
    (out / "report.md").write_text(told, encoding="utf-8")
    click.echo(told)


async def _mended(
    files: tuple[Path, ...], out: Path, each: int, aims: dict[str, Any], in_flight: int, seed: int, spec: Any
) -> str:
    from rich.progress import Progress

    from corrector.running import running
    from train import mending
    from train.readers import Skipped, normalised

    pairs = [pair for file in files for pair in normalised(file, Skipped())]
    todo = mending.cases(pairs, aims, each, seed)
    with Progress() as bar:
        shown = bar.add_task("correcting", total=len(todo))
        async with running("c", spec, _say) as corrector:
            done = await mending.run(todo, corrector, out / "outcomes.jsonl", in_flight, lambda: bar.advance(shown))
    lines = mending.summary(done, seed)
    (out / "report.json").write_text(json.dumps([dataclasses.asdict(line) for line in lines], indent=1))
    return mending.markdown(lines)


async def _judged(
    files: tuple[Path, ...],
    out: Path,
    each: int,
    aims: dict[str, Any],
    in_flight: int,
    seed: int,
    spec: Any,
    *,
    conditions: tuple[str, ...],
    kinds: tuple[str, ...],
    reward: Path | None,
    llm_url: str | None,
    llm_model: str | None,
    people: tuple[Path, ...],
    title: str,
) -> str:
    from rich.progress import Progress

    from corrector.running import running
    from train import evaluate as real
    from train import judges, report
    from train.readers import Skipped

    groups = _conditions(conditions, aims)
    given: dict[str, dict[str, Any]] = {
        "measure": {},
        "reward": {"path": reward},
        "llm": {"base_url": llm_url, "model": llm_model},
    }
    built = [_judge(kind, given[kind]) for kind in kinds]
    answered = real.drafts(files, each, Skipped())
    trusted = {}
    for judge in built:
        asked = [one for file in people for one in judges.labelled(file, aims, Skipped(), seed)]
        for told in await judges.agreement(judge, asked, in_flight, seed):
            if not told.source:
                trusted[judge.name, told.objective] = told
    with Progress() as bar:
        shown = bar.add_task("correcting", total=len(answered) * len(groups))
        async with running("c", spec, _say) as corrector:
            outcomes = await real.correct(
                answered, groups, corrector, out / "outcomes.jsonl", in_flight, lambda: bar.advance(shown)
            )
        asking = bar.add_task("judging", total=None)
        judged = await real.judge(outcomes, groups, built, out / "judged.jsonl", in_flight, lambda: bar.advance(asking))
    for judge in built:
        await judge.aclose()
    plots = report.plots(outcomes, judged, trusted, out)
    return report.markdown(title, outcomes, judged, trusted, plots)


def _conditions(named: tuple[str, ...], aims: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    groups = {}
    for text in named or ("usual=harmlessness,helpfulness",):
        name, _, keys = text.partition("=")
        unknown = [key for key in keys.split(",") if key not in aims]
        if not keys or unknown:
            raise click.UsageError(f"--condition wants NAME=KEY,KEY with keys of: {', '.join(aims)}; not {text!r}")
        groups[name] = tuple(aims[key] for key in keys.split(","))
    return groups


@train.command()
@click.argument("kind", type=click.Choice(["llm", "measure", "reward"]))
@click.option("--on", "files", type=_FILE, multiple=True, required=True, help="What people said: judge_eval or pairs.")
@click.option("--fit", type=_FILE, help="reward: train on these pairs first.")
@click.option("--save", type=_PATH, help="reward: keep what was fitted.")
@click.option("--load", "path", type=_FILE, help="reward: one that was fitted before.")
@click.option("--base-url", help="llm: of an OpenAI-compatible service.")
@click.option("--model", help="llm: its name there.")
@click.option("--api-key-env", help="llm: the environment variable that holds the key.")
@click.option("--objectives", type=_FILE, default=Path("objectives.yaml"), show_default=True)
@click.option("--limit", type=int, help="Questions of each file, drawn by the seed.")
@click.option("--in-flight", default=16, show_default=True)
@click.option("--seed", default=1, show_default=True)
def judge(kind: str, files: tuple[Path, ...], fit: Path | None, save: Path | None, seed: int, **given: Any) -> None:
    """How far a judge of this KIND agrees with people, by file and objective."""
    from train import judges
    from train.readers import Skipped, normalised

    limit, in_flight, objectives = given.pop("limit"), given.pop("in_flight"), given.pop("objectives")
    skipped = Skipped()
    if fit is not None and kind == "reward":
        from train.judges import reward

        built: judges.Judge = reward.fit(normalised(fit, skipped), seed)
        if save is not None:
            cast(reward.RewardJudge, built).save(save)
    else:
        if fit is not None or save is not None:
            raise click.UsageError("--fit and --save are for the kind reward, together")
        built = _judge(kind, given)
    asked = {
        file.name: judges.sample(judges.labelled(file, _aims(objectives), skipped, seed), limit, seed) for file in files
    }
    click.echo(asyncio.run(judges.report(built, asked, in_flight, seed)))
    for reason, count in sorted(skipped.items()):
        click.echo(f"not used: {count} x {reason}", err=True)


def _judge(kind: str, given: dict[str, Any]) -> Any:
    from train.judges import load

    try:
        options = {name: value for name, value in given.items() if value is not None}
        return load(kind).build(load(kind).Options.model_validate({"kind": kind, **options}))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _aims(objectives: Path) -> dict[str, Any]:
    """Objectives by key: those of the file, and of the wordings what it lacks."""
    from corrector.objectives import read
    from train.prepare import Wordings

    wordings = Wordings()
    return {**{key: wordings.first(key) for key in wordings}, **read(objectives).objectives}


def _spec(
    template: str, min_ratio: float, max_ratio: float, model: str, adapter: str | None, base_url: str | None
) -> Any:
    from corrector.corrector import CorrectorOptions
    from corrector.gate import GateOptions
    from corrector.running import CorrectorSpec

    options = CorrectorOptions(template=template, gate=GateOptions(min_ratio=min_ratio, max_ratio=max_ratio))
    return CorrectorSpec(engine=_engine(model, adapter, base_url), options=options)


def _engine(model: str, adapter: str | None, base_url: str | None) -> Any:
    """An engine of ours, or one that is served already."""
    from corrector.engines import load

    kind = "endpoint" if base_url else "llamacpp"
    given = {"kind": kind, "model": model, **({"base_url": base_url} if base_url else {"adapter": adapter})}
    try:
        return load(kind).Options.model_validate(given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _say(event: str, **told: object) -> None:
    click.echo(f"{event}: " + ", ".join(f"{key} {value}" for key, value in told.items()), err=True)
