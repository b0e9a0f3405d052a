"""Streams of one process: kept alive, or merged. Knows nothing of what flows in them."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


Write = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def kept_alive(write: Write, beat: bytes, every_s: float) -> AsyncIterator[Write]:
    """Gives a `write` that is the same; whenever it has not been called for `every_s` seconds, the beat is written.

    Beside the stream and not in it: to wait for each chunk with a time limit costs a task a chunk.
    """
    last = time.monotonic()

    async def noted(chunk: bytes) -> None:
        nonlocal last
        last = time.monotonic()
        await write(chunk)

    async def beats() -> None:
        while True:
            silent_s = time.monotonic() - last
            await (noted(beat) if silent_s >= every_s else asyncio.sleep(every_s - silent_s))

    beating = asyncio.create_task(beats())
    try:
        yield noted
    finally:
        await _ended([beating])


async def merged(sources: Sequence[AsyncGenerator[Any, None]]) -> AsyncGenerator[Any, None]:
    """Items of all sources as they come. One source is passed through; the first failure ends all."""
    if len(sources) == 1:
        async with aclosing(sources[0]) as source:
            async for item in source:
                yield item
        return
    merging = Merging()
    for source in sources:
        merging.add(source)
    async with aclosing(merging.items()) as items:
        async for item in items:
            yield item


class Merging:
    """Sources that are read as one. More may join while it is read; the first failure ends all."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=64)
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, source: AsyncGenerator[Any, None]) -> None:
        self._tasks.append(asyncio.create_task(self._feed(source)))

    async def items(self) -> AsyncGenerator[Any, None]:
        """Until all sources have ended that were added before the last of them did."""
        ended = 0
        try:
            while ended < len(self._tasks):
                kind, item = await self._queue.get()
                if kind == "error":
                    raise item
                if kind == "end":
                    ended += 1
                else:
                    yield item
        finally:
            await _ended(self._tasks)

    async def _feed(self, source: AsyncGenerator[Any, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await self._queue.put(("item", item))
            await self._queue.put(("end", None))
        except Exception as error:  # whatever it is, who waits for the queue must hear of it
            await self._queue.put(("error", error))


async def all_of(work: Sequence[Awaitable[Item]]) -> list[Item]:
    """The results, in order. The first failure ends all: nothing goes on that nobody waits for."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _ended(tasks)


async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
