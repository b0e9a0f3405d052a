"""Prompt lookup: what followed the last few tokens when they stood there before is proposed to follow them again.

(Saxena, "Prompt Lookup Decoding", 2023.) A correction mostly copies its draft, which stands in its prompt.
"""

from collections.abc import Sequence


class Lookup:
    """Over one growing sequence. Finds the latest place where its last `size` tokens stood, in constant time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._after: dict[tuple[int, ...], int] = {}  # the end of a run of `size` tokens, by the run
        self._indexed = size - 1

    def propose(self, ids: Sequence[int], length: int) -> list[int]:
        """At most `length` tokens that may follow `ids`, which is the sequence of the last call, and more."""
        for end in range(self._indexed + 1, len(ids)):  # without the last run: it would find itself
            self._after[tuple(ids[end - self._size : end])] = end
        self._indexed = max(self._indexed, len(ids) - 1)
        found = self._after.get(tuple(ids[-self._size :]))
        return list(ids[found : found + length]) if found is not None else []
