"""Win rates from what judges say, raw and at equal length; none beside a judge who agrees with nobody.

`row` prints no rate without the judge's agreement with people, but of what is only counted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from train.agreement import LEAST_QUESTIONS, Agreement
from train.intervals import bootstrap, written

RIDGE, STEPS = 0.02, 50  # of the length regression: the ridge keeps it finite where one side wins always
COUNTING = frozenset({"measure"})  # judges that count, and whose word needs nobody's agreement


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


def length_controlled(scores: Sequence[float], longer: Sequence[float]) -> float | None:
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
    for _ in range(STEPS):  # of Newton's method, for two weights
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


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, value))))
