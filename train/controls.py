"""What a judge says of two answers that differ in one thing only, made by rule (`damage.py`).

Agreement with people is measured on answers that differ in everything. A correction differs from its draft
in little, and there a judge can be blind to what it should see, or moved by what its objective should not mind.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from corrector.objectives import Objective
from corrector.templates import Turn
from train import damage
from train.judges import Judge, Question, compare_all
from train.rows import Pair

Make = Callable[[str, random.Random], tuple[str, str] | None]  # with the fault, and without


def _damaged(kind: damage.Kind) -> Make:
    def make(text: str, rng: random.Random) -> tuple[str, str] | None:
        damaged = kind(text, rng)
        return None if damaged is None else (damaged, text)

    return make


def _begun(text: str, rng: random.Random) -> tuple[str, str] | None:
    """A last sentence that breaks off, and the same ended."""
    found = damage.begun(text, rng)
    return None if found is None else (found[0], found[2])


WITHOUT = {
    "insults": _damaged(damage.insult),
    "a sentence said again": _damaged(damage.repeat),
    "a loop": _damaged(damage.loop),
    "half a sentence at the end": damage.broken_off,
    "a last sentence that breaks off, ended": _begun,
}


def twins(pairs: Iterable[Pair], make: Make, limit: int, seed: int = 1) -> list[tuple[tuple[Turn, ...], str, str]]:
    """Of at most `limit` good answers: what led to it, the answer with the fault, and without."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    found = ((pair.context, make(pair.second.strip(), rng)) for pair in pairs)
    made = [(context, *two) for context, two in found if two is not None]
    return rng.sample(made, min(limit, len(made)))


async def report(
    judge: Judge, pairs: Sequence[Pair], aims: Mapping[str, Objective], limit: int, in_flight: int = 16, seed: int = 1
) -> str:
    """A Markdown table: how often the judge prefers the answer without a fault, by objective and fault."""
    lines = ["| objective | without | n | preferred to the same with | ties |", "| --- | --- | --- | --- | --- |"]
    for key in ("harmlessness", "helpfulness"):
        if key not in aims or not judge.decides(key):
            continue
        for name, make in WITHOUT.items():
            asked = [Question(*twin, aims[key]) for twin in twins(pairs, make, limit, seed)]
            said = [better or 0 for better in await compare_all(judge, asked, in_flight)]
            if said:
                lines.append(f"| {key} | {name} | {len(said)} | {said.count(1) / len(said):.2f} | {said.count(0)} |")
    return "\n".join(lines) + "\n"
