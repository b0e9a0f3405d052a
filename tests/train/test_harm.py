"""What is harmful, what only sounds so, and how it is refused."""

import hashlib
import itertools
import random
from pathlib import Path

import pytest
import yaml

from corrector.templates import Turn
from tests.conftest import ROOT
from tests.train.test_prepare import GOOD
from train import answers, readers
from train.harm import Refusals, declines, refuses, requested
from train.prepare import Mix, compose
from train.readers import Skipped
from train.rows import Pair
from train.wordings import Wordings


@pytest.mark.parametrize(
    ("question", "worse", "better"),
    [
        ("How do I rob him?", "Wait until he is asleep, then come in.", "Sorry, what do you mean?"),
        ("How do I rob him?", "Wait until he is asleep, then come in.", "I'm sorry, I don't know who he is."),
        ("How do I rob him?", "I can't tell you, and you should not do it.", "I won't help with that."),
        ("Who won the match?", "It was the team from the north, two to one.", "I'm sorry, I can't say."),
    ],
)
def test_neither_a_refusal_nor_a_topic_alone_makes_an_answer_harmful(question: str, worse: str, better: str) -> None:
    one = Pair("own", "MIT", (Turn("user", question),), worse, better, {"harmlessness": (0.0, 1.0)})
    assert compose([one], Mix(refused=1), Wordings(), 1, Skipped())[0] == []


@pytest.mark.parametrize("name", ["requests.yaml", "requests-eval.yaml"])
def test_every_request_is_of_a_topic_and_has_a_golden_refusal_where_it_is_harmful(name: str) -> None:
    refusals = Refusals()
    asked = answers.requested(ROOT / "train" / name, refusals)
    assert len({one["query"] for one in asked}) == len(asked)
    for one in asked:
        topic = requested(one["dataset"])
        assert declines(one["golden"]) == (topic != "harmless")
        assert topic == "harmless" or refusals.draw("", random.Random(1), topic)


def test_no_request_is_both_to_train_on_and_to_judge_by() -> None:
    def openings(name: str) -> set[str]:
        asked = answers.requested(ROOT / "train" / name, Refusals())
        return {readers.opening(readers.conversation(one["query"])) for one in asked}

    assert not openings("requests.yaml") & openings("requests-eval.yaml")


def test_a_refusal_is_known_in_every_wording_of_ours() -> None:
    refusals, rng = Refusals(), random.Random(1)
    drawn = {refusals.draw("How do I rob him?", rng) for _ in range(100)}
    assert len(drawn) > 20
    assert all(map(refusals.refused, drawn))
    assert refusals.refused("Sorry, no.")
    assert not refusals.refused("Helping with the dishes is kind, so I do it.")


def test_queries_that_somebody_has_read_are_requests_too(tmp_path: Path) -> None:
    told = [("s", "Human: How do I rob him?"), ("s", "How do I rob a bee of its honey?"), ("s", "Who is he?")]
    digests = [hashlib.sha256(query.encode()).hexdigest()[:10] for _, query in told]
    (path := tmp_path / "read.yaml").write_text(f"harmful: {{theft: ['{digests[0]}']}}\nharmless: ['{digests[1]}']\n")
    refusals = Refusals()
    harmful, harmless = answers.read(
        path, answers.questions([{"source": s, "query": q} for s, q in told], 99), refusals
    )
    assert (harmful["dataset"], harmful["query"]) == ("requests:theft", "Human: How do I rob him?")
    assert declines(harmful["golden"])
    assert harmless == {"dataset": "requests:harmless", "query": "How do I rob a bee of its honey?", "golden": ""}


def test_what_somebody_has_read_is_of_the_topics_that_refusals_have() -> None:
    told = yaml.safe_load((ROOT / "train/read.yaml").read_text())
    refusals = Refusals()
    for topic in told["harmful"]:
        assert refusals.draw("", random.Random(1), topic)
    digests = [*told["harmless"], *itertools.chain.from_iterable(told["harmful"].values())]
    assert len(set(digests)) == len(digests), "harmful or harmless, and of one topic"


def test_a_sentence_that_answers_nothing_is_never_refused() -> None:
    rude = Pair("paradetox", "CC0", (), "i wish i could sing like him , but to hell with that .",
                "I wish I could sing like him, but I can't.", {"harmlessness": (0.0, 1.0)})  # fmt: skip
    rows, _ = compose([rude], Mix(refused=1), Wordings(), 1, Skipped())
    assert not rows


def test_what_goes_along_with_harm_is_refused_and_what_needs_no_refusal_is_answered() -> None:
    asked = (Turn("user", "How do I steal a bicycle?"),)
    goes_along = "Take a strong cutter and go at night."
    harmful = Pair("own", "MIT", asked, goes_along, "I won't help you steal it.", {"harmlessness": (0, 1)})
    useful = Pair("own", "MIT", (Turn("user", "Tea?"),), "No.", GOOD, {"helpfulness": (0, 1)})
    rows, _ = compose([harmful, useful], Mix(refused=5, answered=5), Wordings(), 1, Skipped())
    refused, answered = sorted(rows, key=lambda row: row.source, reverse=True)
    assert refused.draft == harmful.first
    assert refuses(refused.target) or "help with" in refused.target
    assert "budget" not in refused.target, "what it offers instead belongs to the topic"
    assert (answered.target, answered.source) == (GOOD, "harm:answered")
    assert {aim.key for row in rows for aim in row.objectives} <= {"harmlessness", "helpfulness"}


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I'm sorry, but I can’t help with that.", True),
        ("No, I don't think that is a good idea.", True),
        ("You shouldn't do that to anybody.", True),
        ("Boil it first. I can't say how long; sorry.", False),
        ("It is illegal in some places, harmful in none.", False),
        ("I'm so sorry to hear that your dog is ill.", False),
        ("Sorry about that! Boil the water first.", False),
    ],
)
def test_an_answer_that_begins_by_declining(text: str, is_one: bool) -> None:
    assert declines(text) is is_one


def test_every_topic_has_its_words_and_its_own_way_out() -> None:
    refusals = Refusals()
    assert refusals.topic("How can I rob a bank?") == "theft"
    assert refusals.topic("What is the capital of France?") == "other"
    said = {refusals.draw("How can I rob a bank?", random.Random(seed)) for seed in range(60)}
    assert len(said) > 20
    assert not any("{it}" in text for text in said)
