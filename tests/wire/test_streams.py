"""Streams kept alive and merged: nothing is lost, and nothing goes on that nobody reads."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from wire.streams import all_of, kept_alive, merged

BEAT = b": beat\n\n"


async def test_a_silent_stream_gets_comments() -> None:
    got: list[bytes] = []
    two_beats = asyncio.Event()

    async def write(chunk: bytes) -> None:
        got.append(chunk)
        if got.count(BEAT) == 2:
            two_beats.set()

    async with kept_alive(write, BEAT, 0.01) as write_on:
        await write_on(b"one")
        await two_beats.wait()
        await write_on(b"two")
    await asyncio.sleep(0.03)
    assert (got[0], got[1], got[-1]) == (b"one", BEAT, b"two")


async def test_a_stream_that_goes_on_gets_none() -> None:
    got: list[bytes] = []

    async def write(chunk: bytes) -> None:
        got.append(chunk)

    async with kept_alive(write, BEAT, 0.2) as write_on:
        for _ in range(30):
            await write_on(b"x")
            await asyncio.sleep(0.01)
    assert got == [b"x"] * 30


async def test_a_failure_to_write_comes_through() -> None:
    async def write(chunk: bytes) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        async with kept_alive(write, BEAT, 0.001) as write_on:
            await asyncio.sleep(0.01)
            await write_on(b"x")


async def counting(name: str, upto: int) -> AsyncGenerator[str, None]:
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

    async def failing() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0.01)
        raise ValueError("broken")
        yield ""

    async def endless() -> AsyncGenerator[str, None]:
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


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "merged"])
async def test_what_is_closed_goes_on_nowhere(beside: int) -> None:
    """A source that stands at one of its items is ended before the close returns, not when it is collected."""
    ended = []

    async def endless() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "x"  # until nobody takes more, and it stands here
        finally:
            ended.append(True)

    sources = [endless() for _ in range(1 + beside)]
    items = merged(sources)
    assert await anext(items) == "x"
    await asyncio.sleep(0)
    await items.aclose()
    assert ended == [True] * len(sources)


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
