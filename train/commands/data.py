"""`prepare` and `answers`: what a corrector is to learn from."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from train.commands import FILE, JUDGE, PATH, engine_of, judge_options, judges_of, say, weights_of


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FORMAT=FILE...")
@click.option("--out", type=PATH, required=True, help="Rows, as JSON Lines; a report beside them.")
@click.option(
    "--take", multiple=True, metavar="SOURCE=ROWS", help="At most so many pairs of a source; `*` for the rest."
)
@click.option("--made", default=0, show_default=True, help="Good answers damaged by rule, to be mended.")
@click.option(
    "--made-from", multiple=True, metavar="SOURCE", help="Sources whose better answers are good; default: all."
)
@click.option("--identical", default=0, show_default=True, help="Good answers to be left alone, for the warm-up.")
@click.option(
    "--identical-as-scored", "as_scored", is_flag=True,
    help="These under what their data is scored in, and under nothing else: the rest stays unseen.",
)  # fmt: skip
@click.option("--refused", default=0, show_default=True, help="Answers that go along with a harmful request, refused.")
@click.option("--declined", default=0, show_default=True, help="Refusals of harmful requests, to be left alone.")
@click.option("--answered", default=0, show_default=True, help="Needless refusals, answered.")
@click.option("--kept", default=0, show_default=True, help="Good answers to be left alone under the usual objectives.")
@click.option("--cleaned", default=0, show_default=True, help="A policy's own loops, said once.")
@click.option("--simplified", default=0, show_default=True, help="Good answers in fewer or plainer words.")
@click.option("--rewritten", default=0, show_default=True, help="Rewrites by hand, as train/rewrites.jsonl has them.")
@click.option("--broken-off", default=0, show_default=True, help="Good answers that break off, to be ended.")
@click.option("--held-out", multiple=True, type=FILE, help="Data to judge by: what opens as it does is left out.")
@click.option("--scorer", "scorers", multiple=True, type=JUDGE, help="Judges that score what the data does not.")
@judge_options
@click.option(
    "--score", "keys", multiple=True, metavar="KEY",
    help="Objectives that --scorer scores; all that it decides, but an llm is to be told which.",
)  # fmt: skip
@click.option("--in-flight", default=16, show_default=True, help="Questions to a scorer at once.")
@click.option("--objectives", type=FILE, help="An objectives.yaml: what keys of your own mean, for rows and scorers.")
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
    as_scored: bool,
    refused: int,
    declined: int,
    answered: int,
    kept: int,
    cleaned: int,
    broken_off: int,
    simplified: int,
    rewritten: int,
    held_out: tuple[Path, ...],
    scorers: tuple[str, ...],
    keys: tuple[str, ...],
    in_flight: int,
    objectives: Path | None,
    longest: int,
    longest_context: int,
    seed: int,
    **given: Any,
) -> None:
    """Preference data to training rows. FORMAT is pairs, hh_rlhf, ultrafeedback, imhi, answers or read.

    hh_rlhf:helpfulness=FILE says what was chosen by, where the folder's name does not (helpful-base, harmless-base);
    imhi:QUESTIONS.csv=FILE has the questions that IMHI's files of models' answers lack.
    """
    from corrector.objectives import read
    from train.prepare import Mix, compose, fitting
    from train.readers import Skipped, unseen
    from train.rows import write
    from train.wordings import Wordings

    skipped = Skipped()
    wordings = Wordings().beside(tuple(read(objectives).objectives.values()) if objectives else ())
    aims, judges = _aims(scorers, keys, wordings.firsts()), judges_of(scorers, "--scorer", **given)
    pairs = list(unseen((pair for source in sources for pair in _pairs(source, skipped)), held_out, skipped))
    per_source = {}
    for text in take or ("*=1000000000",):
        name, _, count = text.rpartition("=")
        if not name or not count.isdigit():
            raise click.UsageError(f"--take wants SOURCE=ROWS, not {text!r}")
        per_source[name] = int(count)
    mix = Mix(
        per_source, made=made, identical=identical, as_scored=as_scored, made_from=made_from, refused=refused,
        declined=declined, answered=answered, kept=kept, cleaned=cleaned, broken_off=broken_off, simplified=simplified,
        rewritten=rewritten, longest=longest, longest_context=longest_context,
    )  # fmt: skip
    usable = fitting(pairs, mix, skipped)
    out.parent.mkdir(parents=True, exist_ok=True)
    if scorers:
        asked_of = [given["llm_url"], given["llm_max_tokens"]]
        usable = asyncio.run(_scored(usable, mix, judges, aims, in_flight, seed, out, asked_of))
    rows, report = compose(usable, mix, wordings, seed, skipped)
    out.with_suffix(".md").write_text(report.markdown())
    for short in report.short:
        click.echo(f"less than was asked for: {short}", err=True)
    if unworded := [reason for reason in skipped if reason.startswith("no wording")]:
        click.echo(f"{', '.join(unworded)}: --objectives FILE says what is meant", err=True)
    if not rows:
        most = f"; most of all: {skipped.most_common(1)[0][0]}" if skipped else ""
        raise click.UsageError(f"no rows of {len(pairs)} pairs, see {out.with_suffix('.md')}{most}")
    write(out, rows)
    click.echo(f"{len(rows)} rows in {out}; {sum(skipped.values())} not used, see {out.with_suffix('.md')}")


def _pairs(source: str, skipped: Any) -> Iterator[Any]:
    """Of FORMAT=FILE, or FORMAT:MORE=FILE."""
    from train.readers import READERS

    kind, _, path = source.partition("=")
    kind, _, more = kind.partition(":")
    if kind not in READERS or not path or (more and kind not in ("hh_rlhf", "imhi")):
        raise click.UsageError(f"{source!r}: FORMAT=FILE, where FORMAT is one of {', '.join(READERS)}")
    for file in [path, more] if kind == "imhi" and more else [path]:
        if not Path(file).is_file():
            raise click.UsageError(f"{source!r}: there is no file {file!r}")
    return READERS[kind](Path(path), skipped, *([more] if more else []))


def _aims(scorers: tuple[str, ...], keys: tuple[str, ...], known: dict[str, Any]) -> dict[str, Any]:
    """What is to be scored."""
    if unknown := [key for key in keys if key not in known]:
        raise click.UsageError(f"--score {', '.join(unknown)}: there are {', '.join(known)}")
    if keys and not scorers:
        raise click.UsageError("--score goes with --scorer")
    if "llm" in scorers and not keys:
        raise click.UsageError(
            f"--scorer llm is asked of each pair by objective: --score says which of {', '.join(known)}"
        )
    return {key: known[key] for key in keys or known}


async def _scored(
    pairs: list[Any], mix: Any, judges: list[Any], aims: dict[str, Any], in_flight: int, seed: int, out: Path,
    asked_of: list[Any],
) -> list[Any]:  # fmt: skip
    """By each judge in turn. A model is asked of those pairs only that --take takes, and what it says is kept."""
    from rich.progress import Progress

    from train.judges.llm import LlmJudge
    from train.prepare import taken
    from train.scorer import questions, scored

    try:
        with Progress() as bar:
            for judge in judges:
                costs = isinstance(judge, LlmJudge)
                asked = questions(pairs, judge, aims, taken(pairs, mix, seed) if costs else None)
                shown = bar.add_task(f"scoring by {judge.name}", total=len(asked))
                pairs = await scored(
                    pairs, judge, asked, in_flight, partial(bar.advance, shown),
                    kept=out.with_suffix(".scored.jsonl") if costs else None, settings=asked_of,
                )  # fmt: skip
        return pairs
    finally:
        for judge in judges:
            await judge.aclose()


@click.command()
@click.argument("queries", type=FILE)
@click.option("--out", type=PATH, required=True, help="`dataset, policy, query, golden, answer`, as JSON Lines.")
@click.option("--source", "sources", multiple=True, help="Queries of these only.")
@click.option("--read", type=FILE, help="Only queries that somebody has read, as train/read.yaml says: harmful or not.")
@click.option("--limit", default=300, show_default=True, help="Queries.")
@click.option("--longest", default=600, show_default=True, help="Characters of a query.")
@click.option("--model", default="smollm2-135m-instruct", show_default=True)
@click.option("--base-url", help="A policy that is being served already.")
@click.option("--api-key-env", help="The environment variable that holds the key of --base-url.")
@click.option("--licence", default="unknown", show_default=True, help="Of what the model says.")
@click.option("--in-flight", default=4, show_default=True)
@click.option("--seed", default=1, show_default=True)
def answers(
    queries: Path,
    out: Path,
    sources: tuple[str, ...],
    read: Path | None,
    limit: int,
    longest: int,
    model: str,
    base_url: str | None,
    api_key_env: str | None,
    licence: str,
    in_flight: int,
    seed: int,
) -> None:
    """A policy's own answers to QUERIES, to train on or to evaluate with.

    QUERIES are pairs or policy answers, or requests as those in train/requests.yaml.
    """
    import random

    from rich.progress import Progress

    from corrector.running import served
    from train import answers as asked
    from train.harm import Refusals
    from train.rows import lines

    if queries.suffix == ".yaml":
        todo = asked.requested(queries, Refusals())
    else:
        todo = asked.questions(lines(queries), longest, sources)
        todo = asked.read(read, todo, Refusals()) if read else todo
        if not todo:
            there = sorted({str(row.get("dataset") or row.get("source")) for row in lines(queries)})
            raise click.UsageError(
                f"{queries}: --source, --longest and --read leave no question; its sources are {', '.join(there)}"
            )
    random.Random(seed).shuffle(todo)  # noqa: S311 - a sample, not a secret
    todo = todo[:limit]
    out.parent.mkdir(parents=True, exist_ok=True)

    async def ask() -> None:
        with Progress() as bar:
            shown = bar.add_task("asking", total=len(todo))
            async with served("the policy", engine_of(model, None, base_url, in_flight, api_key_env), say) as endpoint:
                of = (weights_of(model, base_url), base_url)
                await asked.run(todo, endpoint, model, licence, of, out, in_flight, lambda: bar.advance(shown))

    asyncio.run(ask())
