"""Streams kept alive and merged: nothing is lost, and nothing goes on that nobody reads."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from wire.streams import all_of, merged, with_heartbeat

BEAT = b": beat\n\n"


async def test_a_silent_stream_gets_comments_and_loses_nothing() -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await go_on.wait()
        yield b"two"

    got = []
    async for chunk in with_heartbeat(slow(), BEAT, 0.01):
        got.append(chunk)
        if got.count(BEAT) == 2:
            go_on.set()
    assert got[0] == b"one"
    assert got[-1] == b"two"
    assert got.count(BEAT) >= 2


async def test_leaving_a_stream_closes_what_it_reads_from() -> None:
    closed = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(60)
        finally:
            closed.append(True)

    stream = with_heartbeat(endless(), BEAT, 0.01)
    await anext(stream)
    await anext(stream)  # a heartbeat: the source is being waited for
    await stream.aclose()
    assert closed == [True]


async def test_a_failure_of_the_source_comes_through() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        async for _ in with_heartbeat(failing(), BEAT, 1):
            pass


async def counting(name: str, upto: int) -> AsyncIterator[str]:
    for number in range(upto):
        await asyncio.sleep(0)
        yield f"{name}{number}"


async def test_merged_streams_keep_their_own_order() -> None:
    got = [item async for item in merged([counting("a", 3), counting("b", 2)])]
    assert sorted(got) == ["a0", "a1", "a2", "b0", "b1"]
    assert [item for item in got if item[0] == "a"] == ["a0", "a1", "a2"]
    assert [item async for item in merged([counting("c", 2)])] == ["c0", "c1"]


async def test_the_first_failure_ends_all_merged_streams() -> None:
    ended = []

    async def failing() -> AsyncIterator[str]:
        await asyncio.sleep(0.01)
        raise ValueError("broken")
        yield ""

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
                await asyncio.sleep(0.005)
        finally:
            ended.append(True)

    with pytest.raises(ValueError, match="broken"):
        async for _ in merged([endless(), failing()]):
            pass
    assert ended == [True]


async def test_all_of_several_ends_with_the_first_failure() -> None:
    ended = []

    async def failing() -> int:
        raise ValueError("broken")

    async def slow() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise
        return 1

    async def quick() -> int:
        return 2

    assert await all_of([quick(), quick()]) == [2, 2]
    assert await all_of([]) == []
    with pytest.raises(ValueError, match="broken"):
        await all_of([slow(), failing()])
    assert ended == [True]
