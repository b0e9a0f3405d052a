"""How sure a number is."""

import random
from collections.abc import Iterable, Sequence


def bootstrap(values: Sequence[float], seed: int, rounds: int = 1000) -> tuple[float, float]:
    """The 95% interval of the mean, by resampling (Efron, 1979)."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    means = sorted(mean(rng.choices(values, k=len(values))) for _ in range(rounds))
    return means[int(rounds * 0.025)], means[int(rounds * 0.975)]


def written(interval: tuple[float, float], form: str = ".2f") -> str:
    """`low to high`; of values that are all the same `–`, as resampling them says nothing of how sure their mean is."""
    low, high = interval
    return f"{low:{form}} to {high:{form}}" if low < high else "–"


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
