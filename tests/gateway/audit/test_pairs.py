"""What people preferred becomes training data: read by `train/prepare` as it is."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.pairs import pairs_of
from tests.gateway.audit.conftest import row
from train import prepare, readers
from train.readers import Skipped
from train.wordings import Wordings

DRAFT, BETTER = "Tea is hot water with leaves in it.", "Tea is made with hot water and leaves."


BOTH = ("helpfulness", "harmlessness")
Vote = tuple[str, str | None] | tuple[str, str | None, str]


def answer(*votes: Vote, objectives: tuple[str, ...] = BOTH) -> dict[str, Any]:
    asked = [{"role": "user", "text": "How is tea made?"}]
    whole = row("r1", texts=(DRAFT, BETTER), objectives=list(objectives), context=asked)
    told = {key: [key.capitalize(), f"The response should be about {key}"] for key in objectives}
    feedback = [
        {"choice": choice, "objective": objective, "by": by[0] if by else f"person {n}"}
        for n, (choice, objective, *by) in enumerate(votes)
    ]
    return {**whole, "choices": whole.pop("texts"), "descriptions": told, "feedback": feedback}


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([("correction", None)], [(DRAFT, BETTER, list(BOTH), [])]),
        ([("draft", None)], [(BETTER, DRAFT, list(BOTH), [])]),
        ([("tie", None)], [(DRAFT, BETTER, [], list(BOTH))]),
        ([("correction", "harmlessness")], [(DRAFT, BETTER, ["harmlessness"], [])]),
        (
            [("correction", "helpfulness"), ("draft", "harmlessness")],
            [(DRAFT, BETTER, ["helpfulness"], []), (BETTER, DRAFT, ["harmlessness"], [])],
        ),
        (
            [("correction", None), ("correction", None), ("draft", None)],
            [(DRAFT, BETTER, list(BOTH), [])],
        ),
        ([("correction", None), ("draft", None)], [(DRAFT, BETTER, [], list(BOTH))]),
        (
            [("correction", None, "ada"), ("draft", "harmlessness", "ada")],
            [(DRAFT, BETTER, ["helpfulness"], []), (BETTER, DRAFT, ["harmlessness"], [])],
        ),
        (
            [("tie", "harmlessness", "ada"), ("correction", None, "ada")],
            [(DRAFT, BETTER, ["helpfulness"], []), (DRAFT, BETTER, [], ["harmlessness"])],
        ),
        (
            [("correction", None, "ada"), ("draft", "harmlessness", "ben")],
            [(DRAFT, BETTER, ["helpfulness"], []), (DRAFT, BETTER, [], ["harmlessness"])],
        ),
        ([], []),
    ],
    ids=str,
)
def test_what_people_preferred(votes: list[Vote], expected: list[tuple[str, str, list[str], list[str]]]) -> None:
    told = [(pair["weak"], pair["strong"], pair["better"], pair["equal"]) for pair in pairs_of(answer(*votes))]
    assert told == expected


def test_an_answer_that_was_left_as_it_was_teaches_nothing() -> None:
    same = answer(("correction", None))
    same["choices"][0]["correction"] = DRAFT
    assert list(pairs_of(same)) == []


def test_training_reads_them_with_objectives_that_only_this_deployment_has(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    told = [
        *pairs_of(answer(("correction", None), objectives=("rhyme", "length"))),
        *pairs_of(answer(("tie", "rhyme"), objectives=("rhyme",))),
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in told))
    skipped = Skipped()
    pairs = list(readers.normalised(path, skipped))
    assert not skipped
    rng = random.Random(1)
    rows = [made for pair in pairs for made in prepare.reformulated(pair, Wordings(), rng, skipped)]
    assert not skipped
    assert [made.kind for made in rows] == ["better", "equal"]
    assert rows[0].context[0].text == "How is tea made?"
    assert (rows[0].draft, rows[0].target) == (DRAFT, BETTER)
    aims = {aim.key: aim.description for made in rows for aim in made.objectives}
    assert aims["rhyme"] == "The response should be about rhyme"
