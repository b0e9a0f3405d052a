"""Judges, one file each: which of two answers is better, toward one objective; and how far each judge is to be trusted.

A file has `Options` (its configuration) and `build`, which makes the judge. Its name is the judge's
`kind`. A judge's word counts only as far as it agrees with people: `agreement` measures that, and
`row` prints no win rate without it, but of what is only counted. Knows nothing of correctors.
"""

import asyncio
import importlib
import math
import pkgutil
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from corrector.objectives import Objective
from corrector.strictyaml import Strict
from corrector.templates import Turn
from train.intervals import bootstrap, written
from train.readers import Skipped, own_wordings, turns_of
from train.rows import numbered
from wire.errors import Malformed, Rejected, WireError

# What people were asked in the data, where it is an objective of ours under another name, or next to one.
ASKED_AS = {"conciseness": "length", "clarity": "readability"}
LEAST_QUESTIONS = 20  # to fewer queries say nothing of a judge: a coin is right three times in three once in eight
RIDGE = 0.02  # keeps the length regression finite where one side wins always
COUNTING = frozenset({"measure"})  # judges that count, and whose word needs nobody's agreement


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two answers to one conversation is better, toward one objective?"""

    context: tuple[Turn, ...]
    first: str
    second: str
    objective: Objective


class JudgeOptions(Strict):
    """What every judge's options have."""

    kind: str


class Judge(Protocol):
    name: str

    def decides(self, objective: str) -> bool:
        """Can it say anything on the objective of this key?"""

    async def compare(self, question: Question) -> int | None:
        """1: the second answer is better; -1: the first is; 0: a tie; None: it cannot say, which counts as a tie."""

    def remarks(self) -> str:
        """What else there is to know of what it has said so far; empty if nothing."""

    async def aclose(self) -> None: ...


class Kind(Protocol):
    Options: type[JudgeOptions]

    def build(self, options: Any) -> Judge: ...


def kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(kind: str) -> Kind:
    """The kind of judge of that name, one of `kinds()`."""
    return cast(Kind, cast(Any, importlib.import_module(f"{__name__}.{kind}")))


async def compare_all(
    judge: Judge, questions: Sequence[Question], in_flight: int = 16, progress: Callable[[], None] = lambda: None
) -> list[int | None]:
    """What the judge says to each, in their order. Raises `WireError` where it is a model and answers to none."""
    places = asyncio.Semaphore(in_flight)

    async def one(question: Question) -> int | None:
        async with places:
            said = await judge.compare(question)
        progress()
        return said

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
    except* WireError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def of_one(error: WireError) -> bool:
    """Is it this question that the service will not take or answer, and never will, while it may take the next one?"""
    if isinstance(error, Rejected):
        return error.of_the_request
    return isinstance(error, Malformed)


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


async def agreement(
    judge: Judge,
    asked: Iterable[Labelled],
    in_flight: int = 16,
    seed: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> list[Agreement]:
    """Of each objective that the judge decides."""
    some = [one for one in asked if judge.decides(one.question.objective.key)]
    return agreed(judge.name, some, await compare_all(judge, [one.question for one in some], in_flight, progress), seed)


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


@dataclass(frozen=True, slots=True)
class Tally:
    """`rate`: wins, and ties as half, of all; `interval`: 95%. `controlled`: the rate at equal length, if known."""

    win: int
    tie: int
    lose: int
    rate: float
    interval: tuple[float, float]
    controlled: float | None


def tally(said: Sequence[int], longer: Sequence[float], queries: Sequence[str], seed: int = 1) -> Tally:
    """From what a judge said (1 is a win), at least once; `longer`: by so many words was the side that 1 stands for.

    `queries`: what was answered. Several policies' answers to one query are alike, and count as one for the interval.
    """
    scores = [(1 + answer) / 2 for answer in said]
    rate = sum(scores) / len(scores)
    interval = bootstrap(scores, seed, groups=queries)
    return Tally(said.count(1), said.count(0), said.count(-1), rate, interval, length_controlled(scores, longer))


def length_controlled(scores: Sequence[float], longer: Sequence[float], rounds: int = 50) -> float | None:
    """The win rate that would be if both answers had the same length (Dubois et al. 2024, arXiv 2404.04475).

    None where the one side is never longer or never shorter, as no answer is near difference 0 or beyond it then, and
    the curve may go anywhere; and of fewer than `LEAST_QUESTIONS`.

    A logistic regression of the score (0, 1/2, 1) on an intercept and the tanh of the length difference
    over its standard deviation; what it predicts at difference 0. Simplified: AlpacaEval 2 also has a
    term for each instruction's difficulty, taken from all models that it ever ranked; there is none
    here. Lengths in words. A small ridge keeps the weights finite.
    """
    if len(longer) < LEAST_QUESTIONS or not min(longer) < 0 < max(longer):
        return None
    spread = math.sqrt(sum(value * value for value in longer) / len(longer) - (sum(longer) / len(longer)) ** 2)
    lengths = [math.tanh(value / spread) for value in longer]
    ours = by_length = 0.0
    for _ in range(rounds):  # Newton's method, for two weights
        gradient, curve = [-RIDGE * ours, -RIDGE * by_length], [RIDGE, 0.0, RIDGE]
        for score, length in zip(scores, lengths, strict=True):
            likely = _logistic(ours + by_length * length)
            gradient[0] += score - likely
            gradient[1] += (score - likely) * length
            weight = likely * (1 - likely)
            curve = [curve[0] + weight, curve[1] + weight * length, curve[2] + weight * length * length]
        determinant = curve[0] * curve[2] - curve[1] ** 2
        step = (curve[2] * gradient[0] - curve[1] * gradient[1]) / determinant
        step_by_length = (curve[0] * gradient[1] - curve[1] * gradient[0]) / determinant
        longest = max(1.0, abs(step), abs(step_by_length))  # no step beyond 1: far out the curve is flat
        ours, by_length = ours + step / longest, by_length + step_by_length / longest
        if abs(step) + abs(step_by_length) < 1e-9:
            break
    return _logistic(ours)


HEADING = (
    "| objective | judge | win | tie | lose | win rate, 95% | at equal length | the judge agrees with people |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def untrusted(judge: str, people: Sequence[Agreement]) -> bool:
    """Nobody has found it better than a coin, on any of the data that people have said something of.

    Without such data whatever does not count is untrusted. What counts is right without anybody, so that a few people's
    rows, too few to tell, say nothing against it.
    """
    if judge in COUNTING:
        people = [one for one in people if not one.too_few]
    return all(one.at_chance for one in people) if people else judge not in COUNTING


def row(objective: str, judge: str, counted: Tally, people: Sequence[Agreement]) -> str:
    """A win rate beside its judge's agreement with people, each file's by itself; who is untrusted decides nothing."""
    told = "; ".join(f"{one.source}: {one}" if one.source else str(one) for one in people)
    told = told or f"no people's data{', only counted' if judge in COUNTING else ': no win rate'}"
    if untrusted(judge, people):
        verdict = ", ".join(dict.fromkeys(one.verdict for one in people)) or "–"
        return f"| {objective} | {judge} | | | | {verdict} | {verdict} | {told} |\n"
    controlled = "–" if counted.controlled is None else f"{counted.controlled:.2f}"
    return (
        f"| {objective} | {judge} | {counted.win} | {counted.tie} | {counted.lose} "
        f"| {counted.rate:.2f} ({written(counted.interval)}) | {controlled} | {told} |\n"
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


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, value))))
