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
    """One setting, over one group of answers, at one number in flight. `a_step`: tokens, where the engine tells."""

    tokens: int
    seconds: float
    texts: tuple[str, ...]
    unchanged: tuple[bool, ...]
    a_step: float | None = None


@dataclass(frozen=True, slots=True)
class Up:
    """A running engine, and a corrector on it."""

    corrector: Corrector
    socket: Path

    async def counted(self) -> tuple[float, float]:
        """Drafts that vLLM has verified since its start, and tokens of them that were right."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as client,
            client.get("http://engine/metrics") as response,
        ):
            told = await response.text() if response.status == 200 else ""
        found = dict(re.findall(r"^vllm:spec_decode_num_(drafts|accepted_tokens)_total\S* (\S+)", told, re.MULTILINE))
        return float(found.get("drafts", 0)), float(found.get("accepted_tokens", 0))


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
    aims = tuple(read(Path("objectives.yaml")).objectives[key] for key in AIMS)
    places = asyncio.Semaphore(in_flight)

    async def one(answer: Answered, salt: str) -> tuple[int, str, bool]:
        async with places:
            task = Task(conversation(answer.query), answer.draft, aims, salt=salt)
            told = await whole(up.corrector, task, tries=1)
        return told.completion_tokens, told.text, told.verdict == "unchanged"

    await one(answers[0], f"{salt}, first")  # the engine's first answer pays for its buffers
    drafts_before, right_before = await up.counted()
    started_at = time.perf_counter()
    done = await asyncio.gather(*(one(answer, salt) for answer in answers))
    seconds = time.perf_counter() - started_at
    verified, right = await up.counted()
    tokens, texts, unchanged = zip(*done, strict=True)
    a_step = 1 + (right - right_before) / (verified - drafts_before) if verified > drafts_before else None
    return Ran(sum(tokens), seconds, texts, unchanged, a_step)


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


async def grouped(engine: EngineOptions, answers: Sequence[Answered]) -> dict[str, list[Answered]]:
    """What the corrector changes, or would if its gate let it, and what it leaves as it is."""
    async with started(engine) as up:
        ran = await run(up, answers, 8, "to see")
    groups: dict[str, list[Answered]] = {"changed": [], "unchanged": []}
    for answer, unchanged in zip(answers, ran.unchanged, strict=True):
        groups["unchanged" if unchanged else "changed"].append(answer)
    return groups


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
    files: tuple[Path, ...], each: int, threads: int, executable: str, dtype: str, in_flight: tuple[int, ...],
    rounds: int, settings: tuple[str, ...],
) -> None:  # fmt: skip
    made = {setting: options(setting, threads, executable, dtype) for setting in with_plain(settings)}
    groups = asyncio.run(grouped(options("none", threads, executable, dtype), drafts(files, each, Skipped())))
    counts = " and ".join(f"{len(some)} {group}" for group, some in groups.items())
    table = Table("drafting-vllm" if any(engine.kind == "vllm" for engine in made.values()) else "drafting")
    table.say(f"{machine()}, {threads} threads; answers: {counts}.")
    table.say()
    table.say("| drafting | answers | in flight | tokens/s | to none | tokens a step | came out otherwise |")
    table.say("| --- | --- | --- | --- | --- | --- | --- |")
    plain: dict[tuple[str, int, str], Ran] = {}
    for setting, engine in made.items():
        for (many, group), ran in asyncio.run(measured(engine, groups, in_flight, rounds)).items():
            none = plain.setdefault((engine.kind, many, group), ran)
            speed, ratio = ran.tokens / ran.seconds, ran.tokens / ran.seconds / (none.tokens / none.seconds)
            other = sum(ours != theirs for ours, theirs in zip(ran.texts, none.texts, strict=True))
            a_step = f"{ran.a_step:.1f}" if ran.a_step else "-"
            table.say(f"| {setting} | {group} | {many} | {speed:.0f} | {ratio:.2f} | {a_step} | {other} |")


if __name__ == "__main__":
    main()
