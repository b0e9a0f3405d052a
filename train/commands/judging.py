"""`evaluate`, `judge` and `blind`: what a corrector is worth, and how far the judge is to be trusted."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from train.commands import (
    FILE,
    JUDGE,
    LLM_MAX_TOKENS,
    PATH,
    TEMPLATE,
    digest_of,
    engine_of,
    judge_of,
    judge_options,
    judges_of,
    known_aims,
    say,
    weights_of,
)  # fmt: skip

SERVED = ("template", "min_ratio", "max_ratio", "model", "adapter", "base_url", "api_key_env", "context")
TIMEOUT_S = 600.0  # of a correction: nobody waits for it, and it is made beside as many others as the engine takes


def _served(command: Any) -> Any:
    """Options of a corrector that is to be measured: one on an engine of ours, or one that is served already."""
    for option in (
        click.option("--template", type=TEMPLATE, help="The prompt.  [the one --adapter was trained with, or chat]"),
        click.option("--min-ratio", default=0.6, show_default=True),
        click.option("--max-ratio", default=1.5, show_default=True),
        click.option("--model", default="smollm2-135m-instruct", show_default=True, help="Or the URL's model."),
        click.option("--adapter", help="A LoRA in GGUF, for llama.cpp."),
        click.option("--api-key-env", help="The environment variable that holds the key of --base-url."),
        click.option("--base-url", help="A corrector that is being served already."),
        click.option(
            "--context",
            type=click.IntRange(256),
            help="Tokens of prompt and answer together.  [8192; 4096 of a --base-url]",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("--out", type=PATH, required=True, help="A folder: report.md, its plots, and the JSON behind them.")
@click.option("--mending", is_flag=True, help="FILEs are pairs: their good answers are damaged by rule, to be mended.")
@click.option("--asked", is_flag=True, help="With --mending: by ways of writing, each asked for and not.")
@click.option(
    "--each", default=40, show_default=True,
    help="Answers of each policy to each data set, or cases of each kind of damage.",
)  # fmt: skip
@click.option("--condition", "conditions", multiple=True, metavar="NAME=KEY,KEY", help="The first is the usual one.")
@click.option("--by-segments", multiple=True, metavar="NAME", help="Conditions corrected as mode `segment` would.")
@click.option("--judge", "kinds", multiple=True, type=JUDGE, help="Who judges.  [measure]")
@judge_options
@click.option(
    "--people", multiple=True, type=FILE, help="What people said: judge_eval or pairs; to know the judges by."
)
@click.option("--title", help="Of the report.  [Evaluation]")
@click.option("--objectives", type=FILE, default=Path("objectives.yaml"), show_default=True)
@click.option("--in-flight", default=4, show_default=True)
@click.option("--seed", default=1, show_default=True)
@_served
def evaluate(
    files: tuple[Path, ...],
    out: Path,
    mending: bool,
    asked: bool,
    each: int,
    objectives: Path,
    in_flight: int,
    seed: int,
    **given: Any,
) -> None:
    """Is a corrector worth it? FILEs are policies' answers, which are corrected and judged; or, --mending, pairs."""
    if asked and not mending:
        raise click.UsageError("--asked goes with --mending, and FILEs are pairs then")
    served = {name: given.pop(name) for name in SERVED}
    if mending and any(given.values()):
        raise click.UsageError(
            "--condition, --by-segments, --judge and what judges need, --people and --title are for policies' answers, "
            "not for --mending: there each answer has a right one to be compared with"
        )
    served["template"] = _template(served["template"], served["adapter"])
    out.mkdir(parents=True, exist_ok=True)
    aims, spec, settings = known_aims(objectives), _spec(in_flight, **served), _settings(**served)
    if mending:
        told = asyncio.run(_mended(files, out, each, aims, in_flight, seed, spec, settings, asked=asked))
    else:
        told = asyncio.run(_judged(files, out, each, aims, in_flight, seed, spec, settings, **given))
    (out / "report.md").write_text(told, encoding="utf-8")
    click.echo(told)


async def _mended(
    files: tuple[Path, ...], out: Path, each: int, aims: dict[str, Any], in_flight: int, seed: int, spec: Any,
    settings: Any, *, asked: bool,
) -> str:  # fmt: skip
    from rich.progress import Progress

    from corrector.running import running
    from train import mending
    from train.readers import Skipped, normalised

    skipped = Skipped()
    pairs = [pair for file in files for pair in normalised(file, skipped)]
    todo = (mending.asked if asked else mending.cases)(pairs, aims, each, seed)
    _not_used(skipped)
    if not todo:
        sizes = f"{mending.SHORTEST} to {mending.LONGEST}"
        raise click.UsageError(f"--mending wants pairs with answers of {sizes} characters, and these have none")
    with Progress() as bar:
        shown = bar.add_task("correcting", total=len(todo))
        async with running("c", spec, say) as corrector:
            done = await mending.run(
                todo, corrector, out / "outcomes.jsonl", in_flight, lambda: bar.advance(shown), settings
            )
    lines = mending.summary(done, seed, [case.origin for case in todo])
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
    settings: Any,
    *,
    conditions: tuple[str, ...],
    by_segments: tuple[str, ...],
    kinds: tuple[str, ...],
    people: tuple[Path, ...],
    title: str | None,
    **given: Any,
) -> str:
    from rich.progress import Progress

    from corrector.running import running
    from train import agreement, report
    from train import evaluate as real
    from train.readers import Skipped

    groups = _conditions(conditions, aims)
    if set(by_segments) - set(groups):
        raise click.UsageError(f"--by-segments names conditions, and there are: {', '.join(groups)}")
    built = judges_of(kinds or ("measure",), "--judge", **given)
    skipped = Skipped()
    answered = real.drafts(files, each, skipped)
    if not answered:
        raise click.UsageError(
            "FILEs want policies' answers (`policy`, `query`, `answer`); for pairs there is --mending"
        )
    # What was not given is not there: what was said before there was such an option stays.
    thinking = [given["llm_max_tokens"]] if given["llm_max_tokens"] is not None else []
    settings_of_judges = [digest_of(given["reward"]), given["llm_url"], *thinking]
    asked = {name: list(agreement.labelled(file, aims, skipped, seed)) for name, file in _named(people).items()}
    _not_used(skipped)
    async with contextlib.AsyncExitStack() as open_until_here:
        for judge in built:
            open_until_here.push_async_callback(judge.aclose)
        trusted = await real.agreement(asked, built, out / "people.jsonl", in_flight, settings_of_judges, seed)
        with Progress() as bar:
            shown = bar.add_task("correcting", total=len(answered) * len(groups))
            async with running("c", spec, say) as corrector:
                outcomes = await real.correct(
                    answered, groups, corrector, out / "outcomes.jsonl", in_flight, lambda: bar.advance(shown),
                    by_segments, settings,
                )  # fmt: skip
            asking = bar.add_task("judging", total=None)
            judged = await real.judge(
                outcomes, groups, built, out / "judged.jsonl", in_flight, lambda: bar.advance(asking),
                settings_of_judges,
            )  # fmt: skip
    undecided = {key for aims in groups.values() for key in (aim.key for aim in aims)}
    undecided -= {key for key in undecided if any(judge.decides(key) for judge in built)}
    remarks = [f"No judge that was asked decides {', '.join(sorted(undecided))}."] if undecided else []
    remarks += report.unanswered(judged)
    remarks += [told for judge in built if (told := judge.remarks())]
    plots = report.plots(outcomes, judged, trusted, out)
    return report.markdown(title or "Evaluation", outcomes, judged, trusted, plots, remarks)


def _conditions(named: tuple[str, ...], aims: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    groups = {}
    for text in named or ("usual=harmlessness,helpfulness",):
        name, _, keys = text.partition("=")
        unknown = [key for key in keys.split(",") if key not in aims]
        if not keys or unknown:
            raise click.UsageError(f"--condition wants NAME=KEY,KEY with keys of: {', '.join(aims)}; not {text!r}")
        groups[name] = tuple(aims[key] for key in keys.split(","))
    return groups


@click.command()
@click.argument("kind", type=JUDGE)
@click.option("--on", "files", type=FILE, multiple=True, required=True, help="What people said: judge_eval or pairs.")
@click.option("--fit", type=FILE, help="reward: train on these pairs first.")
@click.option(
    "--held-out", multiple=True, type=FILE, help="reward: data to judge by; --fit leaves out what opens as it does."
)
@click.option("--save", type=PATH, help="reward: keep what was fitted.")
@click.option("--load", "path", type=FILE, help="reward: one that was fitted before.")
@click.option("--base-url", help="llm: of an OpenAI-compatible service. Without, the model runs on an engine of ours.")
@click.option("--model", help="llm: its name there, or for an engine of ours a packaged name or GGUF.")
@click.option("--api-key-env", help="llm: the environment variable that holds the key.")
@LLM_MAX_TOKENS
@click.option("--objectives", type=FILE, default=Path("objectives.yaml"), show_default=True)
@click.option("--limit", type=int, help="Questions of each file, drawn by the seed.")
@click.option(
    "--controls", type=FILE, help="Pairs: their good answers, with and without a fault that is put in by rule."
)
@click.option("--in-flight", default=16, show_default=True)
@click.option("--seed", default=1, show_default=True)
def judge(
    kind: str,
    files: tuple[Path, ...],
    fit: Path | None,
    held_out: tuple[Path, ...],
    save: Path | None,
    seed: int,
    **given: Any,
) -> None:
    """How far a judge of this KIND agrees with people, by file and objective."""
    from train import agreement, controls, judges
    from train.readers import Skipped, normalised, unseen

    limit, in_flight, objectives = given.pop("limit"), given.pop("in_flight"), given.pop("objectives")
    given["max_tokens"] = given.pop("llm_max_tokens")
    pairs = given.pop("controls")
    skipped = Skipped()
    ours = given["model"] if kind == "llm" and given["base_url"] is None else None
    built: judges.Judge | None = None
    if fit is not None and kind == "reward":
        from train.judges import reward

        built = reward.fit(unseen(normalised(fit, skipped), held_out, skipped), seed)
        if save is not None:
            built.save(save)
    else:
        if fit is not None or save is not None or held_out:
            raise click.UsageError("--fit, --held-out and --save are for the kind reward, together")
        built = None if ours else judge_of(kind, **given)
    known = known_aims(objectives)
    asked = {
        name: agreement.sample(agreement.labelled(file, known, skipped, seed), limit, seed)
        for name, file in _named(files).items()
    }

    async def report() -> str:
        async with _judging(built, ours, in_flight, given["max_tokens"]) as judge:
            told = await agreement.report(judge, asked, in_flight, seed)
            if pairs is not None:
                good = list(normalised(pairs, Skipped()))
                told += "\n" + await controls.report(judge, good, known_aims(objectives), limit or 200, in_flight, seed)
            return told

    click.echo(asyncio.run(report()))
    _not_used(skipped)


def _named(files: tuple[Path, ...]) -> dict[str, Path]:
    """By their names, where these tell them apart."""
    names = [file.name for file in files]
    return {file.name if names.count(file.name) == 1 else str(file): file for file in files}


def _not_used(skipped: Any) -> None:
    for reason, count in sorted(skipped.items()):
        click.echo(f"not used: {count} x {reason}, {', '.join(skipped.where.get(reason, []))}", err=True)


@contextlib.asynccontextmanager
async def _judging(built: Any, model: str | None, in_flight: int, max_tokens: int | None) -> AsyncIterator[Any]:
    """The judge that is built, or a language model as one, on an engine that runs as long as it is asked."""
    if model is not None:
        from corrector.running import served
        from train.judges.llm import MAX_TOKENS, LlmJudge

        async with served("the judge", engine_of(model, None, None, in_flight), say) as endpoint:
            yield LlmJudge(endpoint, model, MAX_TOKENS if max_tokens is None else max_tokens)
        return
    try:
        yield built
    finally:
        await built.aclose()


@click.command()
@click.argument("outcomes", type=FILE)
@click.option("--sheet", type=PATH, help="Write the pairs here, to be read; with --votes: what has been read.")
@click.option("--votes", type=FILE, help="What was said of the sheet, a line for each pair: `3 A`, `4 tie`.")
@click.option("--count", default=50, show_default=True, help="Pairs.")
@click.option("--policy", "policies", multiple=True, help="Of these policies only.")
@click.option("--seed", default=1, show_default=True, help="The same for the sheet and for the count.")
def blind(
    outcomes: Path, sheet: Path | None, votes: Path | None, count: int, policies: tuple[str, ...], seed: int
) -> None:
    """Read drafts and corrections without knowing which is which: OUTCOMES are those of `evaluate`."""
    from train import blind as pairs
    from train.evaluate import Outcome
    from train.progress import results
    from train.rows import DataError

    if sheet is None and votes is None:
        raise click.UsageError("--sheet writes the pairs to be read, and --votes counts what was said of them")
    try:
        some = [Outcome(**row) for row in results(outcomes)]
    except TypeError:
        raise DataError(f"{outcomes}: no outcomes of `train evaluate` on policies' answers") from None
    some = [one for one in some if not policies or one.policy in policies]
    shown = pairs.drawn(some, count, seed)
    if sheet is not None and votes is not None:
        if sheet.read_text(encoding="utf-8") != pairs.sheet(shown):
            raise DataError(f"{sheet} was made of other outcomes, or with another --count, --policy or --seed")
    elif sheet is not None:
        sheet.write_text(pairs.sheet(shown), encoding="utf-8")
        click.echo(f"{len(shown)} pairs in {sheet}")
    if votes is not None:
        told = pairs.counted(shown, votes.read_text(encoding="utf-8"), str(votes))
        click.echo("| read | correction better | tie | draft better |\n| --- | --- | --- | --- |")
        click.echo(f"| {told.total()} | {told['correction']} | {told['tie']} | {told['draft']} |")


def _spec(
    in_flight: int,
    template: str,
    min_ratio: float,
    max_ratio: float,
    model: str,
    adapter: str | None,
    base_url: str | None,
    api_key_env: str | None,
    context: int | None,
) -> Any:
    from corrector.corrector import CorrectorOptions
    from corrector.gate import GateOptions
    from corrector.running import CorrectorSpec

    gate = GateOptions(min_ratio=min_ratio, max_ratio=max_ratio)
    options = CorrectorOptions(template=template, gate=gate, timeout_s=TIMEOUT_S)
    return CorrectorSpec(engine=engine_of(model, adapter, base_url, in_flight, api_key_env, context), options=options)


def _settings(api_key_env: str | None, adapter: str | None, context: int | None, **served: Any) -> dict[str, Any]:
    """What tells one corrector from another: files by what is in them, as the next may have the same name."""
    from corrector.engines.llamacpp import model_path

    model = weights_of(served["model"], served["base_url"])
    told = {**served, "model": model, "adapter": digest_of(model_path(adapter) if adapter else None)}
    return told if context is None else {**told, "context": context}


def _template(named: str | None, adapter: str | None) -> str:
    """The prompt that is named, or the first one that the adapter was trained with, where it says so."""
    from corrector.engines.llamacpp import model_path
    from train.export import templates_of

    try:
        trained = templates_of(model_path(adapter)) if adapter else ()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--adapter {adapter}: {error}") from None
    if named is not None and trained and named not in trained:
        click.echo(f"{adapter} was trained with the prompt {', '.join(trained)}, and is asked in {named}", err=True)
    return named or (trained[0] if trained else "chat")
