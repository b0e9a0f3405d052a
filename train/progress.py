"""Long work over many items: in order, many in flight, and gone on with after a stop. Knows nothing of the items."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from train.rows import lines

Item = TypeVar("Item")


async def in_order(
    todo: Sequence[Item], work: Callable[[Item], Awaitable[dict[str, Any]]], out: Path, in_flight: int
) -> AsyncIterator[dict[str, Any]]:
    """The result of every item; those that `out` (JSON Lines, in the items' order) holds are not worked on again."""
    done = _completed(out)
    for result in done:
        yield result
    waiting: deque[asyncio.Task[dict[str, Any]]] = deque()
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
                    waiting.append(asyncio.create_task(placed(item)))
                if not waiting:
                    return
                result = await waiting[0]
                waiting.popleft()
                file.write(json.dumps(result, ensure_ascii=False) + "\n")
                file.flush()
                yield result
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


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
