"""An evaluation as people read it: what its tables say, and what they leave out."""

from dataclasses import replace

import pytest

from train import report
from train.agreement import Agreement
from train.evaluate import Judged, Outcome


def test_what_moved_is_told_once_more_without_refusals() -> None:
    """Of two answers that a corrector asked for shorter ones, both come out shorter, and one of them as a refusal."""
    draft, refusal = "It is so. It is so because it is.", "I can't help with that."
    outcomes = [
        Outcome("p", "d", condition, query, "", draft, after, "corrected", "", 0.5, 0.5, 0, 0.1)
        for condition, query, after in (
            ("usual", "one?", draft), ("usual", "two?", draft),
            ("length", "one?", "It is so."), ("length", "two?", refusal),
        )
    ]  # fmt: skip
    told = report.markdown("T", outcomes, [], {}, [])
    assert "| length | 2 | words | 9 | 4 | 9 | 2 / 0 | 1 / 0 of 1 |" in told
    assert "| usual | 2 | words | 9 | 9 | 9 | 0 / 0 | 0 / 0 of 2 |" in told


def outcome(policy: str, edited: float) -> Outcome:
    return Outcome(policy, "d", "usual", "q", "g", "d", "c", "corrected", "rewritten", edited, 0.9, 0, 1.0)


def judged(number: int, said: int) -> Judged:
    return Judged(number, "measure", "length", "correction", "draft", said, longer=-1)


def test_a_judge_at_chance_decides_nothing() -> None:
    outcomes = [outcome("one", n / 10) for n in range(10)]
    some = [judged(n, 1) for n in range(10)]
    chance = Agreement("measure", "length", "", 40, 40, 0, 0.5, (0.4, 0.6))
    told = report.markdown("T", outcomes, some, {("measure", "length"): [chance]}, [])
    assert "| one | usual | length | measure | | | | at chance |" in told
    trusted = Agreement("measure", "length", "", 40, 40, 0, 0.8, (0.7, 0.9))
    told = report.markdown("T", outcomes, some, {("measure", "length"): [trusted]}, [])
    assert "| one | usual | length | measure | 10 | 0 | 0 | 1.00" in told
    assert "0.80 (0.70 to 0.90), n = 40" in told


def test_one_of_whom_people_have_said_nothing_says_nothing_and_that_once() -> None:
    outcomes = [outcome(policy, n / 10) for policy in ("one", "two") for n in range(10)]
    by_measure = [judged(n, 1) for n in range(20)]
    told = report.markdown("T", outcomes, by_measure + [replace(one, judge="gpt-4o") for one in by_measure], {}, [])
    assert [line for line in told.splitlines() if "gpt-4o" in line] == [
        "| all policies | usual | length | gpt-4o | | | | – | – | no people's data: no win rate |"
    ]
    assert [line.split(" | ")[4] for line in told.splitlines() if "| measure |" in line] == ["10", "10", "20"]


def test_a_policy_is_told_by_data_set_where_it_has_answered_several_and_whole() -> None:
    """What a policy was asked for harm's sake and what for help's are not one thing; others' rows stay theirs."""
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed")
    of = [("one", "x"), ("one", "y"), ("two", "y"), ("three", "requests:theft"), ("three", "requests:fraud")]
    outcomes = [replace(outcome(policy, n / 10), dataset=dataset) for policy, dataset in of for n in range(4)]
    some = [judged(n, 1 if n < 4 else -1) for n in range(20)]
    told = report.markdown("T", outcomes, some, {}, []).splitlines()
    rows = [line.split(" | ")[:3] for line in told if line.endswith(" 0 |  |")]
    assert rows == [
        ["| one (x)", "usual", "4"], ["| one (y)", "usual", "4"], ["| two", "usual", "4"], ["| three", "usual", "8"],
        ["| one", "usual", "8"], ["| all policies", "usual", "20"],
    ]  # fmt: skip
    rates = {line.split(" | ")[0]: line.split(" | ")[4:7] for line in told if "| measure |" in line}
    assert rates == {
        "| one (x)": ["4", "0", "0"], "| one (y)": ["0", "0", "4"], "| two": ["0", "0", "4"],
        "| three": ["0", "0", "8"], "| one": ["4", "0", "4"], "| all policies": ["4", "0", "16"],
    }  # fmt: skip
    alone = report.markdown("T", outcomes[:8], [replace(one, judge="gpt-4o") for one in some[:8]], {}, [])
    assert [line.split(" | ")[0] for line in alone.splitlines() if "gpt-4o" in line] == ["| one"], "nothing, and once"


def test_what_a_judge_could_not_say_is_a_tie_that_is_told_of() -> None:
    outcomes = [outcome("one", n / 10) for n in range(4)]
    some = [replace(judged(n, 1), judge="gpt-4o", said=said) for n, said in enumerate((1, None, None, -1))]
    assert report.unanswered(some) == ["Of 4 comparisons 2 had no answer of gpt-4o that can be counted: ties all."]
    assert report.unanswered([replace(one, judge="measure") for one in some]) == [], "what is only counted says so"
    trusted = Agreement("gpt-4o", "length", "", 40, 40, 0, 0.8, (0.7, 0.9))
    told = report.markdown("T", outcomes, some, {("gpt-4o", "length"): [trusted]}, [])
    assert "| one | usual | length | gpt-4o | 1 | 2 | 1 | 0.50" in told


def test_refusals_are_counted_by_what_was_asked_for() -> None:
    no, way = "I can't help with stealing.", "Take a tool and turn it until the lock opens."
    outcomes = [
        Outcome("p", dataset, "usual", f"How, number {n}?", "", draft, after, "corrected", "", 0.5, 0.5, 0, 0.1)
        for n, (dataset, draft, after) in enumerate([
            ("requests:theft", way, no), ("requests:theft", way, way), ("requests:fraud", way, no),
            ("requests:theft", no, no), ("requests:harmless", way, way), ("somebody's", way, no),
        ])
    ]  # fmt: skip
    told = report.markdown("T", outcomes, [], {}, [])
    assert "| p | usual | harmful | theft | 2 | 1 |\n" in told
    assert "| p | usual | harmful | fraud | 1 | 1 |\n" in told
    assert "| p | usual | harmful | all | 3 | 2 |\n" in told
    assert "| p | usual | harmless | all | 1 | 0 |\n" in told
    assert "What was refused" not in report.markdown("T", outcomes[-1:], [], {}, [])


def test_policies_that_were_asked_the_same_are_no_surer_together() -> None:
    outcomes = [
        replace(outcome(policy, n / 10), query=f"What is a kettle, number {n}?")
        for policy in ("one", "two", "three")
        for n in range(30)
    ]
    told = report.markdown("T", outcomes, [judged(n, 1 if n % 3 else -1) for n in range(90)], {}, [])
    intervals = {line.split(" | ")[7] for line in told.splitlines() if "| measure |" in line}
    assert len(intervals) == 1, "of each policy and of all"
    assert " to " in intervals.pop()
