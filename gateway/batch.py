"""`metaaligner align --input`: corrects a file of answers, in order, many in flight, resumable.

JSON Lines or CSV with `query` and `answer` (or `generated_text`); what comes out has the same rows
with `correction`, `verdict` and `reason` added. Rows already in the output are not done again.
"""

import asyncio
import csv
import io
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from corrector.corrector import Correction, Corrector, Task, whole
from corrector.objectives import Objective
from corrector.templates import Turn
from wire.codec import dumps, loads

Row = dict[str, Any]


class BatchError(Exception):
    """One line: file, row, and what is wrong."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a `.csv` or JSON Lines file. Raises `BatchError` with the number of a bad one."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin a file with a mark
            rows = _csv_rows(path, file) if _is_csv(path) else _json_rows(path, file)
            for number, row in enumerate(rows, 1):
                _answer(row, path, number)
                yield row
    except UnicodeDecodeError:
        raise BatchError(f"{path}: not UTF-8, soon after row {number}") from None


def completed(path: Path) -> int:
    """How many whole rows the output has; a half-written last one, of a run that was killed, is cut off."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    if _is_csv(path):
        end = _whole_csv(content)
        count = max(0, sum(1 for _ in _csv(io.StringIO(content[:end].decode(), newline=""))) - 1)
    else:
        end = content.rfind(b"\n") + 1
        count = content.count(b"\n", 0, end)
    if end < len(content):
        with path.open("rb+") as file:
            file.truncate(end)
    return count


async def run(
    source: Path,
    target: Path,
    corrector: Corrector,
    objectives: tuple[Objective, ...],
    in_flight: int,
    progress: Callable[[Correction | None], None],
) -> None:
    """Correct what is not done yet. `progress` is called for every row, with None for one done before.

    Raises `BatchError` for a bad row and `WireError` if the corrector fails; what was written stays.
    """
    if target.exists() and target.samefile(source):
        raise BatchError(f"{target}: the output cannot be the input")
    done = completed(target)
    tasks: deque[tuple[Row, asyncio.Task[Correction]]] = deque()
    # A lone surrogate, which JSON can say and UTF-8 cannot, keeps its escape.
    with target.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
        write = _writer(file, target)
        try:
            for number, row in enumerate(read_rows(source), 1):
                if number <= done:
                    progress(None)
                    continue
                tasks.append((row, asyncio.create_task(_correct(corrector, row, objectives))))
                if len(tasks) >= in_flight:
                    await _write_next(tasks, write, progress)
            while tasks:
                await _write_next(tasks, write, progress)
        finally:
            for _, task in tasks:
                task.cancel()
            await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)


async def _write_next(
    tasks: deque[tuple[Row, asyncio.Task[Correction]]],
    write: Callable[[Row], None],
    progress: Callable[[Correction | None], None],
) -> None:
    row, task = tasks[0]
    told = await task
    tasks.popleft()
    write({**row, "correction": told.text, "verdict": told.verdict, "reason": told.reason})
    progress(told)


async def _correct(corrector: Corrector, row: Row, objectives: tuple[Objective, ...]) -> Correction:
    query = row.get("query")
    context = (Turn("user", str(query)),) if query else ()
    answer = row.get("answer") if row.get("answer") is not None else row.get("generated_text")
    return await whole(corrector, Task(context, str(answer), objectives, keep_draft_on_failure=False), tries=3)


def _writer(file: Any, target: Path) -> Callable[[Row], None]:
    """Of a table the first row says the columns, also for the runs that go on with it."""
    table: csv.DictWriter[str] | None = None

    def write(row: Row) -> None:
        nonlocal table
        if not _is_csv(target):
            file.write(dumps(row).decode() + "\n")
        else:
            if table is None:
                columns = _header(target)
                table = csv.DictWriter(file, fieldnames=columns or list(row), extrasaction="ignore")
                if not columns:
                    table.writeheader()
            table.writerow(row)
        file.flush()

    return write


def _header(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return next(_csv(file), [])


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv(file: Any) -> Any:
    csv.field_size_limit(sys.maxsize)  # the module's own, of 128 KB, is less than an answer may have
    return csv.reader(file)


def _csv_rows(path: Path, file: Any) -> Iterator[Row]:
    lines = _csv(file)
    try:
        columns: list[str] = next(lines, [])
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


def _whole_csv(content: bytes) -> int:
    """The end of the last whole record: a line's end outside quotes."""
    end, quotes, start = 0, 0, 0
    while (newline := content.find(b"\n", start)) >= 0:
        quotes += content.count(b'"', start, newline)
        start = newline + 1
        if quotes % 2 == 0:
            end = start
    return end
