"""Pairs with scores for more objectives than their data has: any judge's, such as the paper takes from a scorer.

A pair that people ranked for one objective becomes one that wins in some, loses in others and ties in the
rest: the rows of several objectives, the mirrors and the equal rows come from there. Knows judges, no files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from corrector.objectives import Objective
from train.judges import Judge, Question, compare_all
from train.rows import Pair


async def scored(
    pairs: Sequence[Pair],
    judges: Sequence[Judge],
    aims: Mapping[str, Objective],
    in_flight: int = 16,
    progress: Callable[[], None] = lambda: None,
) -> list[Pair]:
    """The pairs, with what the judges say where the data says nothing; a score that the data has stands.

    Raises `WireError` where a judge is a model and does not answer.
    """
    added: list[dict[str, tuple[float, float]]] = [{} for _ in pairs]
    for judge in judges:
        asked = [
            (number, Question(pair.context, pair.first, pair.second, aim))
            for number, pair in enumerate(pairs)
            for key, aim in aims.items()
            if judge.decides(key) and key not in pair.scores and key not in added[number]
        ]
        said = await compare_all(judge, [question for _, question in asked], in_flight, progress)
        for (number, question), better in zip(asked, said, strict=True):
            if better is None:
                continue  # of what a judge cannot say anything a pair of equals knows nothing either
            added[number][question.objective.key] = (float(better < 0), float(better > 0))
    return [replace(pair, scores={**pair.scores, **more}) for pair, more in zip(pairs, added, strict=True)]
