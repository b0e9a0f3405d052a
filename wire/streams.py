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
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(maxsize=64)

    async def feed(source: AsyncIterator[Any]) -> None:
        try:
            async for item in source:
                await queue.put(("item", item))
            await queue.put(("end", None))
        except Exception as error:  # whatever it is, who waits for the queue must hear of it
            await queue.put(("error", error))

    tasks = [asyncio.create_task(feed(source)) for source in sources]
    try:
        running = len(tasks)
        while running:
            kind, item = await queue.get()
            if kind == "error":
                raise item
            if kind == "end":
                running -= 1
            else:
                yield item
    finally:
        await _ended(tasks)


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
