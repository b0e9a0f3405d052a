"""How sure a number is."""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

ROUNDS = 1000


def bootstrap(values: Sequence[float], seed: int, groups: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """The 95% interval of the mean, by resampling (Efron, 1979).

    `groups`: of each value, what it comes from. Values of one group are drawn together, for they are no more sure than
    one where they say the same (Field and Welsh, 2007: the cluster bootstrap). Without, each is its own.
    """
    drawn_together: dict[Hashable, list[float]] = defaultdict(list)
    for group, value in zip(range(len(values)) if groups is None else groups, values, strict=True):
        drawn_together[group].append(value)
    clusters = [(sum(some), len(some)) for some in drawn_together.values()]
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    means = []
    for _ in range(ROUNDS):
        sums, counts = zip(*rng.choices(clusters, k=len(clusters)), strict=True)
        means.append(sum(sums) / sum(counts))
    means.sort()
    return means[int(ROUNDS * 0.025)], means[int(ROUNDS * 0.975)]


def written(interval: tuple[float, float], form: str = ".2f") -> str:
    """`low to high`; `–` of values that are all the same or of one group: resampling says nothing of their mean."""
    low, high = interval
    return f"{low:{form}} to {high:{form}}" if low < high else "–"


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
