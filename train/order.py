"""The order in which a stage's rows come: those of a like length together, and the same in a run that goes on.

Known by seed and epoch alone. Transformers' own sampler draws from whatever state its process is in: one that is
started again in a later epoch would draw another order than the one that it is in the midst of.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices


class ByLength(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """`lengths` in tokens, of each row; `batch`: rows of one step of all processes."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.epoch = 0
        self._lengths = list(lengths)
        self._batch = batch
        self._seed = seed

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(self._seed * 1000 + self.epoch)
        return iter(get_length_grouped_indices(self._lengths, self._batch, generator=drawn))
