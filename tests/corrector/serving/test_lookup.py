"""Prompt lookup proposes what followed when the last tokens stood there before."""

from hypothesis import given
from hypothesis import strategies as st

from corrector.serving.lookup import Lookup


def slowly(ids: list[int], size: int, length: int) -> list[int]:
    for end in range(len(ids) - 1, size - 1, -1):
        if ids[end - size : end] == ids[-size:]:
            return ids[end : end + length]
    return []


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 6))
def test_it_finds_the_latest_place_however_the_sequence_grew(ids: list[int], size: int, length: int) -> None:
    lookup = Lookup(size)
    for end in range(1, len(ids) + 1, 3):
        assert lookup.propose(ids[:end], length) == slowly(ids[:end], size, length)
