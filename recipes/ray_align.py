"""`metaaligner align` on Ray Data: files of answers over a cluster, a corrector with its engine in every actor.

    python -m recipes.ray_align answers/*.jsonl --output corrected --workers 8 --gpus 1

The corrector is the one of policies.yaml, its engine started by each actor for itself (vllm on the GPUs that Ray gives
it, llamacpp on its cores) or a URL. A row comes out as from `metaaligner align`, byte for byte: rows travel as lines of
JSON, since Arrow's tables would turn 1 into 1.0 and dates into something else. The output is a folder of parts, named
after the file and the rows in it, each there when it is whole; they sort, and one after the other they are the
command's output. Stopped and started again, what has its part is not done again; `job.json` in the folder says of
which files and objectives it is, and nothing else is put there.

Every machine must see the same paths (a shared folder, or `s3://` and the like for the output), and have this package.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import click
import ray
import ray.data
import ray.exceptions
from pyarrow import fs

from corrector.correction import Correction
from corrector.objectives import Objective
from corrector.running import CorrectorSpec, running
from gateway import batch
from gateway.cli import aims_of, choose
from gateway.config import read
from wire.codec import dumps, loads

AT_ONCE = 2  # parts that an actor works on: while one comes to its end, the next keeps the engine full
Columns = dict[str, Any]


class Parts:
    """Reads a file as parts of so many rows, and leaves out those that are in the output already."""

    def __init__(self, output: str, size: int) -> None:
        self._output, self._size = output, size

    def __call__(self, files: Columns) -> Iterator[Columns]:
        system, folder = fs.FileSystem.from_uri(self._output)
        for path in map(Path, files["item"]):
            rows = batch.read_rows(path)
            begin = 0
            while some := list(islice(rows, self._size)):
                name = f"{path.stem}.{begin:012}.jsonl"
                begin += len(some)
                if system.get_file_info(f"{folder}/{name}").type == fs.FileType.NotFound:
                    yield {"name": [name], "lines": [b"\n".join(map(dumps, some))]}


class Aligner:
    """One actor: a corrector, its engine, and what is done with a part."""

    def __init__(
        self, name: str, spec: CorrectorSpec, aims: tuple[Objective, ...], output: str, in_flight: int | None
    ) -> None:
        self._aims, self._output = aims, output
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._free = asyncio.Semaphore(in_flight or batch.places(spec.engine))
        self._open = AsyncExitStack()
        self._corrector = self._wait(self._open.enter_async_context(running(name, spec, _say)))

    def __call__(self, part: Columns) -> Columns:
        """A part of the output, moved to its place when it is whole."""
        rows = [loads(line) for line in bytes(part["lines"]).split(b"\n")]
        done = self._wait(self._correct(rows))
        system, folder = fs.FileSystem.from_uri(self._output)
        with system.open_output_stream(f"{folder}/.{part['name']}") as file:
            for row, told in zip(rows, done, strict=True):
                file.write(dumps(batch.corrected(row, told)) + b"\n")
        system.move(f"{folder}/.{part['name']}", f"{folder}/{part['name']}")
        return {"verdicts": [told.verdict for told in done], "worker": ray.get_runtime_context().get_actor_id()}

    def __del__(self) -> None:
        self._wait(self._open.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _correct(self, rows: list[batch.Row]) -> list[Correction]:
        async def one(row: batch.Row) -> Correction:
            async with self._free:
                return await batch.correct(self._corrector, row, self._aims)

        done = await asyncio.gather(*map(one, rows))
        if len(done) >= batch.MOST_FAILED and all(told.verdict == "failed" for told in done):
            raise batch.BatchError(f"all {len(done)} rows of a part failed: {done[-1].reason}")
        return done


def _say(event: str, **told: object) -> None:
    print(f"{event}: " + ", ".join(f"{key} {value}" for key, value in told.items()))


def job(files: tuple[Path, ...], rows: int, corrector: str, aims: tuple[Objective, ...]) -> dict[str, Any]:
    """What makes a part what it is: a file that has grown, or another one of the same name, is another job."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    return {
        "rows": rows,
        "corrector": corrector,
        "objectives": {aim.key: aim.description for aim in aims},
        "files": {path: {"bytes": stat.st_size, "changed_ns": stat.st_mtime_ns} for path, stat in sorted(stats)},
    }


def begin(output: str, asked: dict[str, Any]) -> None:
    """The folder, with a note of what it is of. Raises `UsageError` for one that is of something else."""
    system, folder = fs.FileSystem.from_uri(output)
    system.create_dir(folder, recursive=True)
    note = f"{folder}/job.json"
    if system.get_file_info(note).type == fs.FileType.NotFound:
        with system.open_output_stream(note) as file:
            file.write(dumps(asked))
    else:
        with system.open_input_stream(note) as file:
            if (before := loads(file.read())) != asked:
                raise click.UsageError(f"{output} was begun with {dumps(before).decode()}")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--output", required=True, help="A folder, or a URI of one.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Actors, each with an engine.")
@click.option("--cpus", default=1.0, show_default=True, help="Cores of an actor.")
@click.option("--gpus", default=0.0, show_default=True, help="GPUs of an actor.")
@click.option(
    "--in-flight", type=click.IntRange(1, 4096), help="Rows of an actor at once; default: what fills its engine."
)
@click.option("--rows", default=128, show_default=True, type=click.IntRange(1), help="Rows of a part.")
@click.option("--objectives", "names", help="Objectives or sets, with commas; default: the set `default`.")
@click.option("--corrector", help="Default: the first one in the file.")
@click.option("--policies", type=click.Path(path_type=Path), default=Path("policies.yaml"), show_default=True)
@click.option("--objectives-file", type=click.Path(path_type=Path), default=Path("objectives.yaml"), show_default=True)
@click.option("--address", help="Of a Ray cluster; default: RAY_ADDRESS, or this machine.")
def main(
    files: tuple[Path, ...], output: str, workers: int, cpus: float, gpus: float, in_flight: int | None, rows: int,
    names: str | None, corrector: str | None, policies: Path, objectives_file: Path, address: str | None,
) -> None:  # fmt: skip
    """Correct FILES, JSONL or CSV."""
    if len({path.stem for path in files}) < len(files):
        raise click.UsageError("two of the files have the same name, and so would their parts")
    config = read(policies, objectives_file, keys=False)
    name, aims = choose(config, corrector), aims_of(config, names, ())
    spec = batch.alone(config.correctors[name], int(max(1, cpus)))
    output = output if "://" in output else str(Path(output).absolute())
    begin(output, job(files, rows, name, aims))
    ray.init(address=address)
    ray.data.DataContext.get_current().target_max_block_size = 1  # each part goes to whoever is free
    pool = ray.data.ActorPoolStrategy(
        size=workers, max_tasks_in_flight_per_actor=AT_ONCE + 1, max_concurrent_calls_per_actor=AT_ONCE,
        enable_true_multi_threading=True,
    )  # fmt: skip
    done = (
        ray.data.from_items([str(path.absolute()) for path in files], override_num_blocks=len(files))
        .map_batches(Parts(output, rows).__call__, batch_size=1, num_cpus=0)  # the cores are the engines'
        .map(Aligner, fn_constructor_args=(name, spec, aims, output, in_flight),
             compute=pool, num_cpus=cpus, num_gpus=gpus)
    )  # fmt: skip
    verdicts, by = Counter[str](), set[str]()
    try:
        for part in done.iter_rows():
            verdicts.update(part["verdicts"])
            by.add(part["worker"])
    except ray.exceptions.RayError as error:
        # What was raised in an actor is left of the text alone, above what Ray made of it.
        raise click.ClickException(str(error).partition("\n\nThe above")[0].rpartition("\n")[2]) from None
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    click.echo(f"{told}; by {len(by)} of {workers} workers" if told else "all done before")


if __name__ == "__main__":
    main()
