"""Pairs with scores for more objectives than their data has: any judge's, such as the paper takes from a scorer.

A pair that people ranked for one objective becomes one that wins in some, loses in others and ties in the
rest: the rows of several objectives, the mirrors and the equal rows come from there. Knows judges, no files of pairs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corrector.objectives import Objective
from train.judges import Judge, Question, compare_all
from train.progress import in_order
from train.rows import Pair

Asked = list[tuple[int, Question]]  # of which pair


def questions(
    pairs: Sequence[Pair], judge: Judge, aims: Mapping[str, Objective], only: Collection[int] | None = None
) -> Asked:
    """What to ask of each pair, or of those with `only` these numbers: a score that it has already stands."""
    numbers = range(len(pairs)) if only is None else sorted(only)
    return [
        (number, Question(pairs[number].context, pairs[number].first, pairs[number].second, aim))
        for number in numbers
        for key, aim in aims.items()
        if judge.decides(key) and key not in pairs[number].scores
    ]


async def scored(
    pairs: Sequence[Pair],
    judge: Judge,
    asked: Asked,
    in_flight: int = 16,
    progress: Callable[[], None] = lambda: None,
    *,
    kept: Path | None = None,
    settings: Any = None,
) -> list[Pair]:
    """The pairs, with what the judge says to these questions of them.

    `kept`: a file (JSON Lines) of what has been said, which is not asked again. `settings`: what tells this judge from
    another of its name. Raises `WireError` where the judge is a model and does not answer.
    """
    if kept is None:
        said = await compare_all(judge, [question for _, question in asked], in_flight, progress)
    else:
        said = []

        async def compare(item: tuple[int, Question]) -> dict[str, Any]:
            return {"said": await judge.compare(item[1])}

        async for result in in_order(asked, compare, kept, in_flight, lambda item: [judge.name, item[1], settings]):
            said.append(result["said"])
            progress()
    added: list[dict[str, tuple[float, float]]] = [{} for _ in pairs]
    for (number, question), better in zip(asked, said, strict=True):
        if better is None:
            continue  # of what a judge cannot say anything a pair of equals knows nothing either
        added[number][question.objective.key] = (float(better < 0), float(better > 0))
    return [replace(pair, scores={**pair.scores, **more}) for pair, more in zip(pairs, added, strict=True)]
