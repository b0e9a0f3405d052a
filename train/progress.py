"""Long work over many items: in order, many in flight, and gone on with after a stop. Knows nothing of the items."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from train.rows import DataError, lines

Item = TypeVar("Item")
_OF = "of"  # in a line: the digest of what its result hangs on


async def in_order(
    todo: Sequence[Item],
    work: Callable[[Item], Awaitable[dict[str, Any]]],
    out: Path,
    in_flight: int,
    key: Callable[[Item], Any],
) -> AsyncIterator[dict[str, Any]]:
    """The result of every item; those that `out` (JSON Lines, in the items' order) holds are not worked on again.

    `key`: all that a result hangs on, the item and how it is worked on. Raises `DataError` where `out` holds what came
    of anything else: of other files or settings, of another corrector.
    """
    done = _completed(out)
    for number, result in enumerate(done, 1):
        if number > len(todo) or result.pop(_OF, None) != _digest(key(todo[number - 1])):
            raise DataError(f"{out}:{number}: of a run with other files or settings; remove it, or give another --out")
        yield result
    waiting: deque[tuple[Item, asyncio.Task[dict[str, Any]]]] = deque()
    left = iter(todo[len(done) :])
    places = asyncio.Semaphore(in_flight)

    async def placed(item: Item) -> dict[str, Any]:
        async with places:
            return await work(item)

    try:
        with out.open("a", encoding="utf-8") as file:
            while True:
                # More than can be worked on: a slow first one must not leave places empty.
                while len(waiting) < 4 * in_flight and (item := next(left, None)) is not None:
                    waiting.append((item, asyncio.create_task(placed(item))))
                if not waiting:
                    return
                oldest, task = waiting[0]
                result = await task
                waiting.popleft()
                file.write(json.dumps({_OF: _digest(key(oldest)), **result}, ensure_ascii=False) + "\n")
                file.flush()
                yield result
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


def results(out: Path) -> Iterator[dict[str, Any]]:
    """What `in_order` has written. Raises `DataError`."""
    for result in lines(out):
        yield {name: value for name, value in result.items() if name != _OF}


def _digest(thing: Any) -> str:
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=_plain).encode()).hexdigest()[:16]


def _plain(thing: Any) -> Any:
    return asdict(thing) if is_dataclass(thing) and not isinstance(thing, type) else thing.model_dump()


def _completed(out: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last one of a run that was killed may be cut."""
    if not out.exists():
        return []
    content = out.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with out.open("rb+") as file:
            file.truncate(end)
    return list(lines(out))
