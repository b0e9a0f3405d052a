"""Reading without knowing which is which."""

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from train.blind import counted, drawn, sheet
from train.cli import train
from train.evaluate import Outcome
from train.rows import DataError


def outcome(number: int, *, changed: bool = True, policy: str = "one") -> Outcome:
    draft = f"Draft {number}."
    correction = f"Correction {number}." if changed else draft
    return Outcome(policy, "d", "usual", f"Q{number}?", "", draft, correction, "corrected", "rewritten", 0.5, 1, 0, 1)


OUTCOMES = [outcome(number, changed=number % 3 != 0) for number in range(30)]


def test_only_what_was_changed_is_drawn_and_the_same_for_a_seed() -> None:
    shown = drawn(OUTCOMES, 12, 1)
    assert len(shown) == 12
    assert all(one.outcome.draft != one.outcome.correction for one in shown)
    assert shown == drawn(OUTCOMES, 12, 1)
    assert shown != drawn(OUTCOMES, 12, 2)
    assert len(drawn(OUTCOMES, 100, 1)) == 20
    assert drawn(OUTCOMES, 20, 1)[:12] == shown, "with another count, the same pairs with the same sides"


def test_the_same_two_texts_are_read_once() -> None:
    """An evaluation has them once for each condition."""
    again = [dataclasses.replace(one, condition="other") for one in OUTCOMES]
    assert drawn([*OUTCOMES, *again], 100, 1) == drawn(OUTCOMES, 100, 1)


def test_the_sheet_does_not_tell_which_is_which() -> None:
    shown = drawn(OUTCOMES, 20, 1)
    first = [part.split("## A")[1].split()[0] for part in sheet(shown).split("\n# ")[1:]]
    assert {"Draft", "Correction"} == set(first)


def test_votes_are_counted_for_what_they_were_given_to() -> None:
    shown = drawn(OUTCOMES, 4, 1)
    votes = ["1 A", "2 b  # the other says it twice", "", "# a note", "3 tie"]
    said = [shown[0].swapped, not shown[1].swapped]
    told = counted(shown, "\n".join(votes), "votes")
    assert (told["correction"], told["draft"], told["tie"]) == (sum(said), 2 - sum(said), 1)


@pytest.mark.parametrize("line", ["5 A", "0 B", "1 C", "A 1"])
def test_what_is_no_vote_is_told_with_its_line(line: str) -> None:
    with pytest.raises(DataError, match="votes:2: a number of 1 to 4"):
        counted(drawn(OUTCOMES, 4, 1), f"1 A\n{line}", "votes")


def test_the_command_writes_the_sheet_and_counts(tmp_path: Path) -> None:
    outcomes, votes = tmp_path / "outcomes.jsonl", tmp_path / "votes"
    some = [*OUTCOMES, outcome(99, policy="two")]
    outcomes.write_text("".join(json.dumps(asdict(one)) + "\n" for one in some))
    ran = CliRunner().invoke(train, ["blind", str(outcomes), "--policy", "two", "--sheet", str(tmp_path / "sheet.md")])
    assert "1 pairs" in ran.output
    text = (tmp_path / "sheet.md").read_text()
    votes.write_text("1 A\n" if "## A\n\nCorrection" in text else "1 B\n")
    ran = CliRunner().invoke(train, ["blind", str(outcomes), "--policy", "two", "--votes", str(votes)])
    assert "| 1 | 1 | 0 | 0 |" in ran.output


def test_what_is_no_outcome_of_an_answer_is_told(tmp_path: Path) -> None:
    (tmp_path / "mending.jsonl").write_text('{"kind": "insult", "draft": "d"}\n')
    ran = CliRunner().invoke(train, ["blind", str(tmp_path / "mending.jsonl"), "--sheet", str(tmp_path / "sheet.md")])
    assert ran.exit_code == 1
    assert "no outcomes of `train evaluate` on policies' answers" in ran.output
