"""What is made of what judges say: win rates, how sure they are, and where none is written."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from train import rates
from train.agreement import Agreement
from train.intervals import bootstrap, written
from train.rates import Tally, length_controlled, tally

GOOD = Agreement("j", "helpfulness", "", 100, 100, 0, 0.7, (0.6, 0.8))
POOR = Agreement("j", "helpfulness", "", 100, 100, 0, 0.52, (0.42, 0.62))


def counted(said: Sequence[int], longer: Sequence[float] = ()) -> Tally:
    """Each said of another query."""
    return tally(said, longer or [0] * len(said), [f"Tea, number {n}?" for n in range(len(said))])


def test_ties_count_half() -> None:
    told = counted([1, 0, 0, -1])
    assert (told.win, told.tie, told.lose, told.rate) == (1, 2, 1, 0.5)


class TestAtEqualLength:
    def test_winning_by_length_alone_is_not_winning(self) -> None:
        rng = random.Random(1)
        longer = [rng.gauss(25, 30) for _ in range(2000)]
        scores = [float(rng.random() < 1 / (1 + math.exp(-2.5 * math.tanh(value / 30)))) for value in longer]
        assert sum(scores) / len(scores) > 0.65
        assert length_controlled(scores, longer) == pytest.approx(0.5, abs=0.05)

    def test_winning_at_any_length_is(self) -> None:
        rng = random.Random(1)
        scores, longer = [float(rng.random() < 0.7) for _ in range(2000)], [rng.gauss(0, 30) for _ in range(2000)]
        assert length_controlled(scores, longer) == pytest.approx(0.7, abs=0.04)
        assert length_controlled([1.0] * 50, list(range(-25, 25))) == pytest.approx(1, abs=0.05)

    @pytest.mark.parametrize(
        "longer",
        [[-30, -150, -160, -260] * 10, [30, 150, 160, 260] * 10, [0, -150, -160, -260] * 10, [-30, 150, -160, 260]],
        ids=["always shorter", "always longer", "never longer", "too few"],
    )
    def test_beyond_what_was_seen_nothing_is_said(self, longer: list[float]) -> None:
        told = counted([1, 0, 0, -1] * (len(longer) // 4), longer)
        assert told.controlled is None
        assert f"| 0.50 ({written(told.interval)}) | – |" in rates.row("helpfulness", "j", told, [GOOD])


class TestInterval:
    def test_answers_to_one_query_are_no_more_sure_than_one(self) -> None:
        said = [random.Random(n).choice((1, 0, -1)) for n in range(40)]
        alone = counted(said)
        together = tally(said * 3, [0] * 120, [f"Tea, number {n}?" for n in range(40)] * 3)
        assert together.interval == alone.interval
        assert together.rate == alone.rate
        low, high = counted(said * 3).interval
        assert high - low < 0.7 * (alone.interval[1] - alone.interval[0]), "as if they were independent"

    def test_a_query_counts_by_its_answers(self) -> None:
        low, high = bootstrap([1, 1, 1, 0], 1, groups=["a", "a", "a", "b"])
        assert (low, high) == (0, 1)
        assert written(bootstrap([1, 0], 1, groups=["a", "a"])) == "–"


class TestRow:
    def test_a_rate_stands_beside_its_agreement_and_not_at_all_at_chance(self) -> None:
        told = counted([1, 1, 1, -1])
        assert "0.75" in rates.row("helpfulness", "j", told, [GOOD])
        assert "0.70 (0.60 to 0.80), n = 100" in rates.row("helpfulness", "j", told, [GOOD])
        assert "0.75" not in rates.row("helpfulness", "j", told, [POOR])
        assert "at chance" in rates.row("helpfulness", "j", told, [POOR])
        of_two = rates.row("helpfulness", "j", told, [replace(GOOD, source="a"), replace(POOR, source="b")])
        assert "0.75" in of_two
        assert "a: agrees: 0.70 (0.60 to 0.80), n = 100; b: at chance: 0.52" in of_two, "each by itself"

    def test_each_source_stands_beside_all_and_decides_nothing(self) -> None:
        told = counted([1, 1, 1, -1])
        parts = (replace(GOOD, source="easy", n=60), replace(POOR, source="hard", n=40, queries=30))
        row = rates.row("helpfulness", "j", told, [replace(GOOD, source="a", sources=parts)])
        assert "| a: agrees: 0.70 (0.60 to 0.80), n = 100, from 0.52 (hard) to 0.70 (easy) |" in row
        assert "0.75" not in rates.row("helpfulness", "j", told, [replace(POOR, sources=parts)])

    def test_a_few_peoples_rows_are_nothing_against_what_is_counted(self) -> None:
        told, few = counted([1, 1, 1, -1]), replace(POOR, n=14, queries=14)
        row = rates.row("length", "measure", told, [few])
        assert row.startswith("| length | measure | 3 | 0 | 1 | 0.75 (")
        assert "| too few to tell: 0.52 (0.42 to 0.62), n = 14 |" in row
        assert "| length | measure | | | | too few to tell" not in row
        for people in ([POOR], [few, POOR], [replace(POOR, right=0.3, interval=(0.2, 0.4))]):
            assert "0.75" not in rates.row("length", "measure", told, people), "but enough of them are"
        assert "0.75" in rates.row("length", "measure", told, [few, GOOD])
        assert "0.75" not in rates.row("length", "reward", told, [few])

    def test_of_whom_people_have_said_nothing_it_says_nothing_unless_it_counts(self) -> None:
        told = counted([1, 1, 1, -1])
        for judge in ("gpt-4o", "reward"):
            row = rates.row("helpfulness", judge, told, [])
            assert row == f"| helpfulness | {judge} | | | | – | – | no people's data: no win rate |\n"
        by_measure = rates.row("repetition", "measure", told, [])
        assert by_measure.startswith("| repetition | measure | 3 | 0 | 1 | 0.75 (")
        assert by_measure.endswith("| – | no people's data, only counted |\n")
