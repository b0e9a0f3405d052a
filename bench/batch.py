"""`make bench-batch`: tokens a second of `metaaligner align` over a file, against the paper's way.

One model, one file, one machine, one after the other. *Plain* is what an engine makes of the very prompts that the
paper's way gets, to the end or to 1,024 tokens; *align* is the command as it is, whose gate ends early what it would
refuse anyway. The paper's way (bench/static.py) is timed without loading its model, engines without their start.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click

from bench import machine, static
from corrector import engines
from corrector.correction import Correction
from corrector.corrector import Corrector
from corrector.engines.llamacpp import model_path
from corrector.generation import Usage, generate
from corrector.objectives import Objective
from corrector.running import CorrectorSpec, served
from gateway import batch
from gateway.config import read
from train.evaluate import Answered, drafts
from train.readers import Skipped
from wire.codec import dumps, loads
from wire.endpoint import Endpoint, Opened
from wire.errors import Unreachable

Asked = tuple[str, dict[str, Any]]  # path and body

MODEL, ADAPTER = "smollm2-135m-instruct", "smollm2-135m-editor"


@dataclass(frozen=True, slots=True)
class Ran:
    """One way over the whole file. `tokens` are those generated."""

    way: str
    prompt_tokens: int
    tokens: int
    seconds: float
    texts: tuple[str, ...]

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Recording(Endpoint):
    """Writes down what it is asked, and does not answer."""

    def __init__(self) -> None:
        super().__init__("recording", ["http://127.0.0.1:1/v1"])
        self.asked: list[Asked] = []

    async def post(self, path: str, body: bytes, *rest: Any, **named: Any) -> Opened:
        self.asked.append((path, loads(body)))
        raise Unreachable("nothing is there")


async def requests(rows: Sequence[batch.Row], spec: CorrectorSpec, aims: tuple[Objective, ...]) -> list[list[Asked]]:
    """What the corrector asks its engine for each row: more than once, if the answer is cut."""
    found = []
    for row in rows:
        recording = Recording()
        corrector = Corrector("c", spec.options, recording, model="c", context_tokens=spec.engine.context)
        try:
            async for _ in corrector.correct(batch.task(row, aims)):
                pass
        except Unreachable:
            pass
        found.append(recording.asked)
    return found


async def plain(endpoint: Endpoint, _: Corrector, *, model: str, asked: Sequence[Asked], in_flight: int) -> Ran:
    """Every request to its end, in the order and with the read-ahead of the command."""

    async def work(row: batch.Row) -> Correction:
        usage = Usage()
        path, body = row["asked"]
        pieces = generate(endpoint, (path, {**body, "model": model, "max_tokens": static.NEW_TOKENS}), 3600, usage)
        text = "".join([piece async for piece in pieces])
        spent = (usage.prompt_tokens, usage.completion_tokens)
        return Correction(text, "corrected", "rewritten", *spent)

    started = perf_counter()
    rows = ({"asked": one} for one in asked)
    done = [told async for _, told in batch.in_order(rows, work, in_flight)]
    return _ran("plain", done, started)


async def align(
    _: Endpoint, corrector: Corrector, *, rows: Sequence[batch.Row], aims: tuple[Objective, ...], in_flight: int
) -> Ran:
    """The command: from a file to a file."""
    done: list[Correction] = []

    def progress(told: Correction | None) -> None:
        assert told is not None
        done.append(told)

    with TemporaryDirectory() as directory:
        source, target = Path(directory) / "rows.jsonl", Path(directory) / "corrected.jsonl"
        source.write_bytes(b"".join(dumps(row) + b"\n" for row in rows))
        started = perf_counter()
        await batch.run(source, target, corrector, aims, in_flight, progress)
        return _ran("align", done, started)


def _ran(way: str, done: Sequence[Correction], started: float) -> Ran:
    seconds = perf_counter() - started
    read, written = sum(told.prompt_tokens for told in done), sum(told.completion_tokens for told in done)
    ran = Ran(way, read, written, seconds, tuple(told.text for told in done))
    click.echo(f"{way}: {ran.tokens} tokens in {ran.seconds:.0f} s, {ran.rate:.0f}/s", err=True)
    return ran


async def by_engine(spec: CorrectorSpec, way: Callable[[Endpoint, Corrector], Awaitable[Ran]]) -> Ran:
    """One way, by an engine started for it: nothing that another way asked is in its memory."""
    told: Callable[..., Any] = lambda event, **words: click.echo(f"{event} {words}", err=True)  # noqa: E731
    async with served("c", spec.engine, told, 3600) as endpoint:
        corrector = Corrector(
            "c", spec.options, endpoint, model=spec.engine.model or "c", context_tokens=spec.engine.context
        )
        await batch.correct(corrector, {"answer": "The first one pays for buffers."}, ())
        return await way(endpoint, corrector)


def spread(answers: Sequence[Answered], count: int) -> list[batch.Row]:
    """So many of them, evenly out of all: every policy and data set, all lengths."""
    chosen = [answers[len(answers) * i // count] for i in range(count)]
    return [{"query": one.query, "answer": one.draft} for one in chosen]


def table(name: str, ran: Sequence[Ran], paper: Ran | None) -> str:
    lines = []
    for one in ran:
        ratios = ["", "", ""]
        if paper is not None:
            same = sum(ours.strip() == theirs.strip() for ours, theirs in zip(one.texts, paper.texts, strict=True))
            ratios = [f"{one.rate / paper.rate:.2f}", f"{paper.seconds / one.seconds:.2f}", f"{same}/{len(one.texts)}"]
        cells = [
            name,
            one.way,
            str(one.prompt_tokens),
            str(one.tokens),
            f"{one.seconds:.0f}",
            f"{one.rate:.0f}",
            *ratios,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS = (
    "engine", "way", "prompt tokens", "tokens", "seconds", "tokens/s", "to the paper's", "rows/s to the paper's", "same"
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def ours(
    spec: CorrectorSpec, rows: Sequence[batch.Row], asked: Sequence[Asked],
    aims: tuple[Objective, ...], in_flight: int | None,
) -> tuple[str, list[Ran]]:  # fmt: skip
    """Both ways by this engine, and what to call it."""
    spec, options = batch.alone(spec), spec.engine
    many = in_flight or batch.places(spec.engine)
    ways = (
        partial(plain, model=options.model or "c", asked=asked, in_flight=many),
        partial(align, rows=rows, aims=aims, in_flight=many),
    )
    return f"{options.kind}, {many} in flight", [asyncio.run(by_engine(spec, way)) for way in ways]


def papers(asked: Sequence[Asked], folder: Path) -> Ran:
    model = static.whole_model(MODEL, model_path(ADAPTER), folder)
    made = static.generate(model, [body["messages"] for _, body in asked])
    return Ran(f"batches of {static.BATCH}", made.prompt_tokens, sum(made.tokens), made.seconds, made.texts)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rows", "count", default=32, show_default=True)
@click.option("--engine", "given", multiple=True, help="Options, in JSON; default: the shipped corrector's.")
@click.option("--in-flight", type=int, help="Default: the command's own.")
@click.option("--paper/--no-paper", default=True, show_default=True, help="Measure the paper's way too.")
@click.option("--out", default=Path("build/bench"), show_default=True, type=click.Path(path_type=Path))
def main(
    files: tuple[Path, ...], count: int, given: tuple[str, ...], in_flight: int | None, paper: bool, out: Path
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    config = read(Path("policies.yaml"), Path("objectives.yaml"))
    shipped, aims = config.correctors["metaaligner"], config.objectives.ordered(config.objectives.expand(["default"]))
    rows = spread(drafts(files, 10**9, Skipped()), count)
    asked = asyncio.run(requests(rows, shipped, aims))
    rows = [row for row, some in zip(rows, asked, strict=True) if len(some) == 1]
    once = [some[0] for some in asked if len(some) == 1]
    what = f"{machine()}; {len(rows)} rows, {sum(len(row['answer'].split()) for row in rows)} words"
    click.echo(f"{what}\n", err=True)
    measured = [engines.load(json.loads(text)["kind"]).Options.model_validate_json(text) for text in given]
    specs = [shipped.model_copy(update={"engine": options}) for options in measured] or [shipped]
    ran = dict(ours(spec, rows, once, aims, in_flight) for spec in specs)
    theirs = papers(once, out / "model") if paper else None
    if theirs is not None:
        ran = {"transformers generate": [theirs], **ran}
    told = "\n".join([HEAD, *(table(name, some, theirs) for name, some in ran.items())])
    click.echo(f"{what}\n\n{told}")
    (out / "batch.md").write_text(f"{what}\n\n{told}\n")
    result = {name: [{**asdict(one), "rate": one.rate} for one in some] for name, some in ran.items()}
    (out / "batch.json").write_text(json.dumps({"machine": what, "ran": result}, indent=1))


if __name__ == "__main__":
    main()
