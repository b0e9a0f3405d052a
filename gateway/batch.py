"""`metaaligner align --input`: corrects a file of answers, in order, many in flight, resumable.

JSON Lines or CSV with `query` and `answer` (or `generated_text`); what comes out has the same rows
with `correction`, `verdict` and `reason` added. Rows already in the output are not done again; a file that is no
output of these rows is left as it is. Of a table's parts only the first has the header: so they join to one table.
Files may be larger than memory: what is held of them are the rows between the oldest that is not
done and the newest that was begun, `AHEAD` times those in flight at most, and `MOST_FAILED` that failed.
"""

import asyncio
import csv
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from corrector.correction import Correction, Task
from corrector.corrector import Corrector, failure, whole
from corrector.engines import EngineOptions
from corrector.objectives import Objective
from corrector.running import CorrectorSpec
from corrector.templates import Turn
from wire.codec import dumps, loads
from wire.errors import WireError, of_one_request

Row = dict[str, Any]
Told = tuple[Row, Correction]  # a row, and what became of it

ADDED = ("correction", "verdict", "reason")
AHEAD = 4  # a slow row leaves no place empty until so many times `in_flight` rows are begun, itself among them
PARALLEL = 8  # answers at once of an engine on this machine
AT_ONCE = 64  # and of one that does not say how many, such as a URL
MOST_FAILED = 32  # one after the other: that many are the corrector's doing, and not the rows'
TIMEOUT_S = 600.0  # of an answer that nobody waits for, beside as many others as the engine takes


class BatchError(Exception):
    """One line: file, row, and what is wrong."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a `.csv` or JSON Lines file, as they are asked for. Raises `BatchError` for a bad one, by number."""
    with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin a file with a mark
        yield from parse(file, path)


def parse(file: TextIO, path: Path) -> Iterator[Row]:
    """As `read_rows`, of a file that is open; `path` says its format, and where an error is."""
    number = 0
    try:
        for number, row in enumerate(_csv_rows(path, file) if _is_csv(path) else _json_rows(path, file), 1):
            _answer(row, path, number)
            yield row
    except UnicodeDecodeError:
        raise BatchError(f"{path}: not UTF-8, soon after row {number}") from None


def completed(path: Path, first: Row, columns: Sequence[str] = ()) -> int:
    """How many whole rows the output has; a half-written last one, of a run that was killed, is cut off.

    `first` is the row that an output begins with, `columns` are those of a table that has no header. Raises
    `BatchError` for a file that does not begin so, and leaves it as it is.
    """
    if not path.exists():
        return 0
    table = _is_csv(path)
    offset, end, lines, quotes = 0, 0, 0, 0
    with path.open("rb") as file:
        for line in file:
            offset += len(line)
            quotes += line.count(b'"') if table else 0
            if line.endswith(b"\n") and quotes % 2 == 0:  # of a table: a line's end outside quotes
                end, lines = offset, lines + 1
    rows = max(0, lines - 1) if table and not columns else lines
    if offset and not ((rows or end == offset) and _begins(path, rows, first, columns)):
        message = "does not begin with the first of these rows, corrected, and is left as it is: name another output"
        raise BatchError(f"{path}: {message}, or remove it")
    if end < offset:
        with path.open("rb+") as file:
            file.truncate(end)
    return rows


def _begins(output: Path, rows: int, first: Row, columns: Sequence[str]) -> bool:
    """Is the first row of the output, or the header if it has no rows, one of ours? Of what it says of `first`."""
    try:
        if not rows:
            return set(ADDED) <= set(_header(output))
        with output.open(encoding="utf-8-sig", newline="") as file:
            row = next(_csv_rows(output, file, columns) if _is_csv(output) else _json_rows(output, file), {})
    except (BatchError, UnicodeDecodeError, csv.Error):
        return False
    texts = row.keys() & {"query", "answer", "generated_text"}
    told = bool(texts - {"query"}) and set(ADDED) <= row.keys()
    return told and all(_cell(row[name]) == _cell(first.get(name)) for name in texts)


def _cell(value: object) -> bytes:
    """As a table has it, in which everything is text."""
    return b"" if value is None else str(value).encode(errors="backslashreplace")


async def run(
    source: Path,
    target: Path,
    corrector: Corrector,
    objectives: tuple[Objective, ...],
    in_flight: int,
    progress: Callable[[Correction | None], None],
    numbers: range | None = None,
) -> None:
    """Correct what is not done yet, of the rows with these numbers (from 0), or of all.

    `progress` is called for every row, with None for one done before. Raises `BatchError` for a bad
    row or an output that is another's, and if the corrector fails; what was written stays.
    """
    if target.exists() and target.samefile(source):
        raise BatchError(f"{target}: the output cannot be the input")
    top, rows = _peeked(read_rows(source))
    first = top
    if numbers is not None:
        first, rows = _peeked(islice(rows, numbers.start, numbers.stop))
    columns = list({**top, **dict.fromkeys(ADDED)})
    headed = numbers is None or numbers.start == 0
    before = 0
    for _ in islice(rows, completed(target, first, () if headed else columns)):
        before += 1
        progress(None)

    async def work(row: Row) -> Correction:
        return await correct(corrector, row, objectives)

    # A lone surrogate, which JSON can say and UTF-8 cannot, keeps its escape.
    with target.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
        write = _writer(file, target, columns, headed=headed and bool(first))
        begin = 0 if numbers is None else numbers.start
        async with aclosing(_trusted(in_order(rows, work, in_flight), source, begin, before)) as done:
            async for row, told in done:
                write(corrected(row, told))
                progress(told)


async def _trusted(
    done: AsyncGenerator[Told, None], source: Path, begin: int, before: int
) -> AsyncGenerator[Told, None]:
    """The same rows. One that failed waits for one behind it that did not: else the next run shall do it again.

    Raises `BatchError` that says which row it was: if the corrector fails, if `MOST_FAILED` rows in a row do, or all.
    """
    number, failed = begin + before, list[Told]()

    def all_failed() -> BatchError:
        return BatchError(f"{source}: rows {number - len(failed) + 1} to {number} all failed: {failed[-1][1].reason}")

    async with aclosing(done):
        try:
            async for row, told in done:
                number += 1
                if told.verdict == "failed":
                    failed.append((row, told))
                    if len(failed) == MOST_FAILED:
                        raise all_failed()
                    continue
                for one in (*failed, (row, told)):
                    yield one
                failed.clear()
        except WireError as error:
            raise BatchError(f"{source}: row {number + 1}: {error}") from error
    if failed and len(failed) == number - begin:
        raise all_failed()
    for one in failed:
        yield one


async def in_order(
    rows: Iterable[Row], work: Callable[[Row], Awaitable[Correction]], in_flight: int
) -> AsyncGenerator[Told, None]:
    """Every row with what became of it. Rows are read as there is room for them: `AHEAD` times `in_flight` are held.

    A failure ends it where its row would have come: what was done of the rows behind that one is lost, and done again
    by the next run.
    """
    waiting: deque[tuple[Row, asyncio.Task[Correction]]] = deque()
    free = asyncio.Semaphore(in_flight)
    left = iter(rows)

    async def placed(row: Row) -> Correction:
        async with free:
            return await work(row)

    try:
        while True:
            while len(waiting) < AHEAD * in_flight and (row := next(left, None)) is not None:
                waiting.append((row, asyncio.create_task(placed(row))))
            if not waiting:
                return
            row, begun = waiting[0]
            told = await begun
            waiting.popleft()
            yield row, told
    finally:
        for _, begun in waiting:
            begun.cancel()
        await asyncio.gather(*(begun for _, begun in waiting), return_exceptions=True)


async def correct(corrector: Corrector, row: Row, objectives: tuple[Objective, ...]) -> Correction:
    """What becomes of one row's answer; of one that the corrector cannot do, the answer as it is, `failed`.

    Raises `WireError` if it is the corrector that fails, three times, and not this row alone.
    """
    asked = task(row, objectives)
    try:
        return await whole(corrector, asked, tries=3)
    except WireError as error:
        if not of_one_request(error):
            raise
        return Correction(asked.draft, "failed", f"{failure(error)}; {error}")


def task(row: Row, objectives: tuple[Objective, ...]) -> Task:
    """What to correct, of one row."""
    query = row.get("query")
    context = (Turn("user", str(query)),) if query else ()
    answer = row.get("answer") if row.get("answer") is not None else row.get("generated_text")
    return Task(context, str(answer), objectives, keep_draft_on_failure=False)


def corrected(row: Row, told: Correction) -> Row:
    """The row as it comes out."""
    return {**row, "correction": told.text, "verdict": told.verdict, "reason": told.reason}


def part(of: int, number: int, parts: int) -> range:
    """The rows (from 0) of one of so many parts (from 1): their outputs, one after the other, are the whole one."""
    return range(of * (number - 1) // parts, of * number // parts)


def alone(spec: CorrectorSpec, cores: int | None = None) -> CorrectorSpec:
    """The corrector with time, and an engine with so many cores, or all, to itself, in what its options leave open."""
    fields, given = type(spec.engine).model_fields, spec.engine.model_fields_set
    ours = {"threads": cores or len(os.sched_getaffinity(0)), "parallel": PARALLEL}
    chosen = {name: value for name, value in ours.items() if name in fields and name not in given}
    timeout = {} if "timeout_s" in spec.options.model_fields_set else {"timeout_s": TIMEOUT_S}
    options = spec.options.model_copy(update=timeout)
    return spec.model_copy(update={"engine": spec.engine.model_copy(update=chosen), "options": options})


def places(engine: EngineOptions) -> int:
    """Rows in flight that keep the engine full: a few more than it answers at once, and as many for each replica."""
    passed: Mapping[str, Any] = getattr(engine, "options", {})
    at_once = getattr(engine, "parallel", None) or passed.get("max_num_seqs") or AT_ONCE
    return int(at_once * 5 / 4) * max(1, len(getattr(engine, "base_url", ())))


def _peeked(rows: Iterator[Row]) -> tuple[Row, Iterator[Row]]:
    """The first row, empty if there is none, and all of them."""
    first = next(rows, {})
    return first, chain([first] if first else [], rows)


def _writer(file: Any, target: Path, columns: Sequence[str], *, headed: bool) -> Callable[[Row], None]:
    table = _table(file, target, columns, headed=headed) if _is_csv(target) else None

    def write(row: Row) -> None:
        if table is None:
            file.write(dumps(row).decode() + "\n")
        else:
            table.writerow(row)
        file.flush()

    return write


def _table(file: Any, target: Path, columns: Sequence[str], *, headed: bool) -> "csv.DictWriter[str]":
    """The header says the columns, also to the runs that go on with it."""
    known = _header(target) if headed else []
    table = csv.DictWriter(file, fieldnames=known or columns, extrasaction="ignore")
    if headed and not known:
        table.writeheader()
    return table


def _header(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return next(_csv(file), [])


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv(file: Any) -> Any:
    csv.field_size_limit(sys.maxsize)  # the module's own, of 128 KB, is less than an answer may have
    return csv.reader(file)


def _csv_rows(path: Path, file: Any, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Under these columns, or those of the header."""
    lines = _csv(file)
    try:
        columns = columns or next(lines, [])
        for line in lines:
            if len(line) > len(columns):
                raise BatchError(f"{path}:{lines.line_num}: {len(line)} cells under {len(columns)} columns")
            if line:
                yield dict(zip(columns, line, strict=False))
    except csv.Error as error:
        raise BatchError(f"{path}:{lines.line_num}: not CSV: {error}") from None


def _json_rows(path: Path, file: Any) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = loads(line)
        except ValueError as error:
            raise BatchError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise BatchError(f"{path}:{number}: a row must be an object")
        yield row


def _answer(row: Row, path: Path, number: int) -> None:
    if row.get("answer") is None and row.get("generated_text") is None:
        raise BatchError(f"{path}: row {number} has neither `answer` nor `generated_text`")
