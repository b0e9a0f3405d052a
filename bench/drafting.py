"""`make bench-drafting`: tokens a second of real corrections, with each kind of drafting from the prompt, and without.

The shipped corrector over real answers, as the gateway asks it, gate and all. Those that it changes (on llama.cpp) and
those that it leaves as they are have rows of their own. Every setting runs in turn, twice, and the faster of the two
counts: read the ratio to `none` of the same engine. Drafts never change what a greedy engine says but by its rounding:
the last column counts the corrections that came out otherwise.
"""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import click

from bench import Table, machine
from bench.weights import ADAPTER, MODEL, merged
from corrector import engines
from corrector.correction import Task
from corrector.corrector import Corrector, CorrectorOptions, whole
from corrector.engines import EngineOptions, socket_path
from corrector.gate import GateOptions
from corrector.objectives import read
from corrector.running import CorrectorSpec, corrector_endpoint, corrector_of, run_dir
from corrector.supervisor import Supervisor
from train.evaluate import Answered, drafts
from train.readers import Skipped, conversation

AIMS = ("harmlessness", "helpfulness")
GATE = GateOptions(min_ratio=0.6, max_ratio=1.5)
Groups = Mapping[str, Sequence[Answered]]


@dataclass(frozen=True, slots=True)
class Ran:
    """One setting, over one group of answers, at one number in flight. Where the engine tells: `a_step`, in tokens, and
    `writing_s`, the time from each correction's first token to its last, of all together.
    """

    tokens: int
    seconds: float
    texts: tuple[str, ...]
    unchanged: tuple[bool, ...]
    a_step: float | None = None
    writing_s: float | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """A running engine, and a corrector on it."""

    corrector: Corrector
    socket: Path

    async def counted(self) -> tuple[float, float, float]:
        """Since its start, of vLLM: drafts verified, tokens of them that were right, seconds of writing."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as client,
            client.get("http://engine/metrics") as response,
        ):
            told = await response.text() if response.status == 200 else ""
        names = ("spec_decode_num_drafts_total", "spec_decode_num_accepted_tokens_total")
        return self._of(told, names[0]), self._of(told, names[1]), self._of(told, "request_decode_time_seconds_sum")

    @staticmethod
    def _of(told: str, name: str) -> float:
        return sum(float(value) for value in re.findall(rf"^vllm:{name}(?:{{.*}})? (\S+)", told, re.MULTILINE))


def options(setting: str, threads: int, executable: str, dtype: str) -> EngineOptions:
    """[ENGINE:]KIND, or [ENGINE:]KIND:LOOKUP:LENGTH such as `ngram_map_k:4:16`; `vllm:answer:16` has a length only."""
    kind, _, rest = setting.partition(":") if setting.split(":")[0] in engines.kinds() else ("llamacpp", "", setting)
    drafting, *sizes = rest.split(":")
    given: dict[str, Any] = {"kind": kind, "drafting": drafting, "threads": threads, "parallel": 8, "context": 4096}
    given |= dict(zip(("draft_length", "draft_lookup"), reversed(sizes), strict=False))
    if kind == "llamacpp":
        given |= {"model": MODEL, "adapter": ADAPTER, "context": 8192, "weights": "q8_0"}
    else:
        given |= {"model": str(merged()), "executable": executable, "dtype": dtype}
    given["options"] = {"max_num_seqs": 32, "kv_cache_memory_bytes": 4_000_000_000, "dtype": dtype}
    made = engines.load(kind).Options
    return made.model_validate({name: value for name, value in given.items() if name in made.model_fields})


@contextlib.asynccontextmanager
async def started(engine: EngineOptions) -> AsyncIterator[Up]:
    def log(event: str, **told: Any) -> None:
        if event == "engine.died":
            click.echo(f"{engine.kind}: {told['said']}", err=True)

    spec = CorrectorSpec(engine=engine, options=CorrectorOptions(template="chat", timeout_s=600.0, gate=GATE))
    with run_dir() as directory:
        supervisor = Supervisor(directory, log)
        endpoint = corrector_endpoint("c", spec, directory)
        try:
            if not await supervisor.ensure([engine]):
                raise SystemExit(f"{engine.kind} did not start")
            yield Up(corrector_of("c", spec, endpoint), socket_path(directory, engine))
        finally:
            await endpoint.aclose()
            await supervisor.aclose()


async def run(up: Up, answers: Sequence[Answered], in_flight: int, salt: str) -> Ran:
    """Fewer answers than are to be in flight are asked for several times, each time as if they were others."""
    aims = tuple(read(Path("objectives.yaml")).objectives[key] for key in AIMS)
    places = asyncio.Semaphore(in_flight)

    async def one(answer: Answered, salt: str) -> tuple[int, str, bool]:
        async with places:
            task = Task(conversation(answer.query), answer.draft, aims, salt=salt)
            told = await whole(up.corrector, task, tries=1)
        return told.completion_tokens, told.text, told.verdict == "unchanged"

    await one(answers[0], f"{salt}, first")  # the engine's first answer pays for its buffers
    times = -(-in_flight // len(answers))
    before = await up.counted()
    started_at = time.perf_counter()
    done = await asyncio.gather(*(one(answer, f"{salt}, {again}") for again in range(times) for answer in answers))
    seconds = time.perf_counter() - started_at
    verified, right, writing_s = (now - then for now, then in zip(await up.counted(), before, strict=True))
    tokens, texts, unchanged = zip(*done, strict=True)
    return Ran(sum(tokens), seconds, texts, unchanged, 1 + right / verified if verified else None, writing_s or None)


async def measured(
    engine: EngineOptions, groups: Groups, in_flight: Sequence[int], rounds: int
) -> dict[tuple[int, str], Ran]:
    """The best of the rounds. What was computed for one of them is not there for the next: an engine with salts keeps
    them apart, any other is started anew.
    """
    best: dict[tuple[int, str], Ran] = {}
    async with contextlib.AsyncExitStack() as stack:
        shared = await stack.enter_async_context(started(engine)) if engine.salts_prefixes else None
        for number in range(rounds):
            for key in [(many, group) for many in in_flight for group in groups if groups[group]]:
                many, group = key
                salt = f"{number}, {many} {group}"
                if shared:
                    ran = await run(shared, groups[group], many, salt)
                else:
                    async with started(engine) as up:
                        ran = await run(up, groups[group], many, salt)
                best[key] = min(ran, best.get(key, ran), key=lambda ran: ran.seconds)
    return best


async def grouped(engine: EngineOptions, answers: Sequence[Answered], most: int) -> dict[str, list[Answered]]:
    """What the corrector changes, or would if its gate let it, and what it leaves as it is: up to so many of each."""
    async with started(engine) as up:
        ran = await run(up, answers, min(8, len(answers)), "to see")  # each once
    groups: dict[str, list[Answered]] = {"changed": [], "unchanged": []}
    for answer, unchanged in zip(answers, ran.unchanged, strict=True):
        groups["unchanged" if unchanged else "changed"].append(answer)
    return {name: some[:most] for name, some in groups.items()}


def with_plain(settings: Sequence[str]) -> list[str]:
    """Every engine's settings after its `none`."""
    ordered: dict[str, list[str]] = {}
    for setting in settings:
        prefix = f"{setting.split(':')[0]}:" if setting.split(":")[0] in engines.kinds() else ""
        ordered.setdefault(prefix, [f"{prefix}none"])
        if setting not in ordered[prefix]:
            ordered[prefix].append(setting)
    return [setting for some in ordered.values() for setting in some]


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--each", default=3, show_default=True, help="Answers of each policy and data set.")
@click.option("--most", default=6, show_default=True, help="Answers that are changed, and as many unchanged ones.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
@click.option("--executable", default="build/vllm/bin/vllm", show_default=True, help="vLLM, for its settings.")
@click.option("--dtype", default="float32", show_default=True, help="Elsewhere than on llama.cpp; a GPU has bfloat16.")
@click.option("--in-flight", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option(
    "--setting", "settings", multiple=True, default=("ngram_simple:4:16", "ngram_map_k:4:16", "ngram_cache"),
    show_default=True, help="As ngram_map_k:4:16, or vllm:answer:16.",
)  # fmt: skip
def main(
    files: tuple[Path, ...], each: int, most: int, threads: int, executable: str, dtype: str,
    in_flight: tuple[int, ...], rounds: int, settings: tuple[str, ...],
) -> None:  # fmt: skip
    made = {setting: options(setting, threads, executable, dtype) for setting in with_plain(settings)}
    groups = asyncio.run(grouped(options("none", threads, executable, dtype), drafts(files, each, Skipped()), most))
    counts = " and ".join(f"{len(some)} {group}" for group, some in groups.items())
    others = sorted({engine.kind for engine in made.values()} - {"llamacpp"})
    table = Table("-".join(["drafting", *others]))
    table.say(f"{machine()}, {threads} threads; answers: {counts}.")
    table.say()
    table.say(
        "| drafting | answers | in flight | tokens/s | to none | writing alone, to none | tokens a step "
        "| came out otherwise |"
    )
    table.say("|" + " --- |" * 8)
    plain: dict[tuple[str, int, str], Ran] = {}
    for setting, engine in made.items():
        for (many, group), ran in asyncio.run(measured(engine, groups, in_flight, rounds)).items():
            none = plain.setdefault((engine.kind, many, group), ran)
            speed, ratio = ran.tokens / ran.seconds, ran.tokens / ran.seconds / (none.tokens / none.seconds)
            other = sum(ours != theirs for ours, theirs in zip(ran.texts, none.texts, strict=True))
            a_step = f"{ran.a_step:.1f}" if ran.a_step else "-"
            writing = f"{none.writing_s / ran.writing_s:.2f}" if none.writing_s and ran.writing_s else "-"
            table.say(f"| {setting} | {group} | {many} | {speed:.1f} | {ratio:.2f} | {writing} | {a_step} | {other} |")


if __name__ == "__main__":
    main()
