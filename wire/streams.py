"""Streams of one process: kept alive, or merged. Knows nothing of what flows in them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


async def with_heartbeat(
    chunks: AsyncGenerator[bytes, None], beat: bytes, every_s: float
) -> AsyncGenerator[bytes, None]:
    """The chunks, and a beat whenever none has come for `every_s` seconds."""
    step: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            step = asyncio.ensure_future(anext(chunks, None))
            while not (await asyncio.wait({step}, timeout=every_s))[0]:
                yield beat
            chunk = step.result()
            if chunk is None:
                return
            yield chunk
    finally:
        if step is not None and not step.done():
            step.cancel()
            await asyncio.wait({step})
        await chunks.aclose()


async def merged(sources: Sequence[AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """Items of all sources as they come. One source is passed through; the first failure ends all."""
    if len(sources) == 1:
        async for item in sources[0]:
            yield item
        return
    merging = Merging()
    for source in sources:
        merging.add(source)
    async for item in merging.items():
        yield item


class Merging:
    """Sources that are read as one. More may join while it is read; the first failure ends all."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=64)
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, source: AsyncIterator[Any]) -> None:
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

    async def _feed(self, source: AsyncIterator[Any]) -> None:
        try:
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
