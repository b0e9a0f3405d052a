"""How far judges agree with people: a judge's word counts only as far as it does.

Reads what people said and asks the judge the same. Knows judges by what they say, and no correctors.
"""

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corrector.objectives import Objective
from train.intervals import bootstrap, written
from train.judges import Judge, Question, compare_all
from train.readers import Skipped, own_wordings, turns_of
from train.rows import numbered

# What people were asked in the data, where it is an objective of ours under another name, or next to one.
ASKED_AS = {"conciseness": "length", "clarity": "readability"}
LEAST_QUESTIONS = 20  # to fewer queries say nothing of a judge: a coin is right three times in three once in eight


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question, and what people said to it: 1 or -1."""

    question: Question
    better: int
    source: str

    @property
    def origin(self) -> Hashable:
        """What was asked; of rewrites, which answer nothing, the text that was rewritten."""
        return self.question.context or (self.question.first if self.better == 1 else self.question.second)


def labelled(path: Path, known: Mapping[str, Objective], skipped: Skipped, seed: int = 1) -> Iterator[Labelled]:
    """What people said: `query, worse, better, objective`, or normalised pairs (`query, weak, strong, better`).

    Those of an audit trail have a `context` in place of the query, and their objectives' own wording.

    The better answer stands first or second by chance, so that a judge who prefers a place gains nothing.
    """
    rng = random.Random(f"{seed} {path.name}")  # noqa: S311 - a sample, not a secret
    for number, told in numbered(path):
        if not isinstance(told, dict):
            skipped.note("not a JSON object", path, number)
            continue
        pair = "strong" in told
        worse, better = (told.get("weak"), told.get("strong")) if pair else (told.get("worse"), told.get("better"))
        named = told.get("better") if pair else [told.get("objective")]
        if not isinstance(worse, str) or not isinstance(better, str) or not isinstance(named, list):
            skipped.note("an answer or the objective is missing", path, number)
            continue
        try:
            turns, own = turns_of(told), {aim.key: aim for aim in own_wordings(told)}
        except (TypeError, ValueError, AttributeError):
            skipped.note("context or objectives are not as an audit trail writes them", path, number)
            continue
        for name in map(str, named):
            aim = own.get(name) or known.get(ASKED_AS.get(name, name))
            second = rng.random() < 0.5
            if aim is None:
                skipped.note(f"no description for {name}", path, number)
                continue
            first, last = (worse, better) if second else (better, worse)
            yield Labelled(Question(turns, first, last, aim), 1 if second else -1, str(told.get("source")))


def sample(asked: Iterable[Labelled], limit: int | None, seed: int = 1) -> list[Labelled]:
    listed = list(asked)
    if limit is None or limit >= len(listed):
        return listed
    return random.Random(seed).sample(listed, limit)  # noqa: S311 - a sample, not a secret


@dataclass(frozen=True, slots=True)
class Agreement:
    """`right`: share of the questions in which judge and people say the same; a judge's tie counts one half.

    `interval`: 95%; questions of one query are alike, and count as one for it. `source`: of what data; empty where all
    sources are together. `sources` has each by itself then, if there are several: an easy one may hide the rest.
    """

    judge: str
    objective: str
    source: str
    n: int
    queries: int
    ties: int
    right: float
    interval: tuple[float, float]
    sources: tuple["Agreement", ...] = ()

    @property
    def too_few(self) -> bool:
        return self.queries < LEAST_QUESTIONS

    @property
    def at_chance(self) -> bool:
        """Not better than a coin, as far as these questions can tell; a judge that is worse than one is no better."""
        return self.too_few or self.interval[0] <= 0.5

    @property
    def verdict(self) -> str:
        if self.too_few:
            return "too few to tell"
        if not self.at_chance:
            return "agrees"
        return "against people" if self.interval[1] < 0.5 else "at chance"

    def __str__(self) -> str:
        told = f"{self.verdict}: {self.right:.2f} ({written(self.interval)}), n = {self.n}"
        told += f" of {self.queries} queries" if self.queries < self.n else ""
        if not self.sources:
            return told
        worst, best = (choose(self.sources, key=lambda one: one.right) for choose in (min, max))
        return f"{told}, from {worst.right:.2f} ({worst.source}) to {best.right:.2f} ({best.source})"


async def agreement(judge: Judge, asked: Iterable[Labelled], in_flight: int = 16, seed: int = 1) -> list[Agreement]:
    """Of each objective that the judge decides."""
    some = [one for one in asked if judge.decides(one.question.objective.key)]
    return agreed(judge.name, some, await compare_all(judge, [one.question for one in some], in_flight), seed)


def agreed(judge: str, asked: Sequence[Labelled], said: Sequence[int | None], seed: int = 1) -> list[Agreement]:
    """The same of what a judge has said to these questions."""
    scores: dict[str, dict[str, list[tuple[float, Hashable]]]] = defaultdict(lambda: defaultdict(list))
    for one, answer in zip(asked, said, strict=True):
        score = (1 + (answer or 0) * one.better) / 2
        scores[one.question.objective.key][one.source].append((score, one.origin))
    told = []
    for objective, by_source in scores.items():
        each = tuple(_agreed(judge, objective, source, scored, seed) for source, scored in by_source.items())
        together = _agreed(judge, objective, "", [one for scored in by_source.values() for one in scored], seed)
        told.append(replace(together, sources=each if len(each) > 1 else ()))
    return told


def _agreed(judge: str, objective: str, source: str, scored: Sequence[tuple[float, Hashable]], seed: int) -> Agreement:
    """`scored`: of each question, how right the judge was, and where it is from."""
    scores, origins = [score for score, _ in scored], [origin for _, origin in scored]
    return Agreement(
        judge=judge,
        objective=objective,
        source=source,
        n=len(scores),
        queries=len(set(origins)),
        ties=scores.count(0.5),
        right=sum(scores) / len(scores),
        interval=bootstrap(scores, seed, groups=origins),
    )


async def report(judge: Judge, asked: Mapping[str, Sequence[Labelled]], in_flight: int = 16, seed: int = 1) -> str:
    """A Markdown table: by file, how far the judge agrees with people."""
    rows = [
        "| file | objective | source | n | queries | ties | agrees with people, 95% | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for file, some in asked.items():
        told = await agreement(judge, some, in_flight, seed)
        rows += [
            f"| {file} | {one.objective} | {one.source or 'all'} | {one.n} | {one.queries} | {one.ties} "
            f"| {one.right:.3f} ({written(one.interval, '.3f')}) | {one.verdict} |"
            for pooled in told
            for one in (pooled, *pooled.sources)
        ]
        if not told:
            rows.append(f"| {file} | | | 0 | 0 | | no people's data for {judge.name} | |")
    if remarks := judge.remarks():
        rows += ["", remarks]
    return "\n".join(rows) + "\n"
