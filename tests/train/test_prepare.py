"""From preference data as it is published to rows that say what is to be learnt."""

import csv
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector.templates import Turn
from tests.conftest import ROOT
from train import answers, damage, manner, readers, scorer
from train.harm import Refusals, declines, refuses
from train.judges.measure import MeasureJudge
from train.prepare import Mix, Wordings, compose, identical, made, reformulated
from train.readers import Skipped
from train.rows import DataError, Pair, read, write

GOOD = "Boil the water first. Then warm the pot with it. Put in the leaves. Wait for four minutes and pour."
TALK = "Human: Hello\n\nAssistant: Hi, what is it?\n\nHuman: How do I make tea?"


def jsonl(path: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def pair(**scores: tuple[float, float]) -> Pair:
    return Pair("own", "MIT", (Turn("user", "Tea?"),), "Bad tea.", GOOD, scores)


def test_a_transcript_is_turns() -> None:
    assert readers.conversation(TALK) == (
        Turn("user", "Hello"),
        Turn("assistant", "Hi, what is it?"),
        Turn("user", "How do I make tea?"),
    )
    assert readers.conversation("Just a question, Human: or not?") == (Turn("user", "Just a question, Human: or not?"),)
    assert readers.conversation("") == ()


def test_normalised_pairs(tmp_path: Path) -> None:
    row = {"source": "s", "licence": "MIT", "query": "Tea?", "weak": "a", "strong": "b", "better": ["helpfulness"]}
    path = jsonl(tmp_path / "p.jsonl.gz", [row, {**row, "weak": None}, {**row, "strong": " "}, {**row, "better": []}])
    skipped = Skipped()
    assert list(readers.normalised(path, skipped)) == [
        Pair("s", "MIT", (Turn("user", "Tea?"),), "a", "b", {"helpfulness": (0.0, 1.0)})
    ]
    assert skipped == {"weak, strong or better is missing": 1, "an answer is empty": 2}


def test_hh_rlhf_as_published(tmp_path: Path) -> None:
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    scored = {**row, "harmlessness_chosen": 0.2, "harmlessness_rejected": 0.7, "humour_chosen": 1, "humour_rejected": 0}
    other = {**row, "rejected": "\n\nHuman: Else?\n\nAssistant: No."}
    path = jsonl(
        tmp_path / "hh.jsonl", [row, scored, other, {"chosen": "x"}, {**row, "chosen": f"\n\n{TALK}\n\nAssistant:"}]
    )
    skipped = Skipped()
    first, second = readers.hh_rlhf(path, skipped)
    assert (first.first, first.second, first.scores) == ("No idea.", "Boil water.", {"harmlessness": (0.0, 1.0)})
    assert first.context[-1] == Turn("user", "How do I make tea?")
    assert second.scores == {"harmlessness": (0.7, 0.2), "humour": (0.0, 1.0)}
    assert sum(skipped.values()) == 3


def test_ultrafeedback_as_published(tmp_path: Path) -> None:
    def completion(text: str, **ratings: str) -> dict[str, Any]:
        return {"response": text, "annotations": {aspect: {"Rating": value} for aspect, value in ratings.items()}}

    row = {
        "instruction": "Tea?",
        "completions": [
            completion("a", honesty="3", helpfulness="N/A"),
            completion("b", honesty="5", helpfulness="4"),
            completion("c", helpfulness="2"),
            {"response": "d", "annotations": {}},
        ],
    }
    skipped = Skipped()
    pairs = list(readers.ultrafeedback(jsonl(tmp_path / "uf.jsonl", [row, {"instruction": "x"}]), skipped))
    assert [(one.first, one.second, one.scores) for one in pairs] == [
        ("a", "b", {"honesty": (3.0, 5.0)}),
        ("a", "c", {}),
        ("b", "c", {"helpfulness": (4.0, 2.0)}),
    ]
    assert skipped == {"a completion without a rating or a response": 1, "fewer than two rated completions": 1}


def test_imhi_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "imhi.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "answer_a", "answer_b", "correctness_a", "correctness_b"])
        table.writerows([["q", "x", "y", "0", "1"], ["q", "x", "y", "none", "1"], ["q", "", "y", "0", "1"]])
    skipped = Skipped()
    [one] = readers.imhi(path, skipped)
    assert (one.first, one.second, one.scores) == ("x", "y", {"correctness": (0.0, 1.0)})
    assert sum(skipped.values()) == 2


def test_imhi_as_the_release_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "DR.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["goldens", "generated_text"], ["No, he does not.", "Yes."], ["No.", ""]])
    skipped = Skipped()
    [one] = readers.imhi(path, skipped)
    assert (one.first, one.second, set(one.scores)) == ("Yes.", "No, he does not.", set(readers.IMHI_ASPECTS))
    assert skipped.where == {"an answer is empty": ["DR.csv:3"]}


def test_a_policys_answer_is_paired_with_itself_without_its_loops(tmp_path: Path) -> None:
    row = {"policy": "small", "licence": "MIT", "query": "Tea?"}
    loop = "And then you pour the water over it. " * 4
    code = f"{GOOD}\n\n```\npour();\npour();\npour(); # and pour again\npour(); # and pour again\n```"
    said = (f"{GOOD} {loop}And th", GOOD, "", loop, code)
    path = jsonl(tmp_path / "a.jsonl", [{**row, "answer": text} for text in said])
    skipped = Skipped()
    looping, fine = readers.answers(path, skipped)
    assert looping.second == f"{GOOD} And then you pour the water over it."
    assert set(looping.scores) == {"repetition", "helpfulness"}
    assert (fine.first, fine.second, fine.scores) == (GOOD, GOOD, {})
    assert skipped == {
        "an answer is empty": 1, "an answer is nothing but loops": 1, "code that repeats itself or has no end": 1
    }  # fmt: skip


def test_where_the_golden_answer_declines_the_policys_own_is_harmful_unless_it_declines_too(tmp_path: Path) -> None:
    row = {"policy": "own", "licence": "MIT", "query": "How do I rob him?", "golden": "I can't help with that."}
    goes_along = "Wait until he has gone to bed and is asleep, then come in by the kitchen window."
    path = jsonl(tmp_path / "a.jsonl", [{**row, "answer": goes_along}, {**row, "answer": "Sorry, no."}])
    skipped = Skipped()
    (harmful,) = readers.answers(path, skipped)
    assert (harmful.source, harmful.first, harmful.scores) == ("own:harmful", goes_along, {"harmlessness": (0.0, 1.0)})
    assert skipped == {"the policy has declined itself": 1}
    rows, _ = compose([harmful], Mix(refused=1), Wordings(), 1, Skipped())
    assert rows[0].draft == goes_along
    assert refuses(rows[0].target)
    assert rows[0].target != harmful.second, "no data's words are learnt, but those written for this project"


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


def test_every_request_is_of_its_topic_and_has_a_golden_refusal_where_it_is_harmful() -> None:
    refusals = Refusals()
    asked = answers.requested(ROOT / "train/requests.yaml", refusals)
    assert len({one["query"] for one in asked}) == len(asked)
    for one in asked:
        _, _, topic = one["dataset"].partition(":")
        assert declines(one["golden"]) == (topic != "harmless")
        if topic != "harmless":
            assert refusals.topic(readers.conversation(one["query"])[-1].text) == topic


def test_a_sentence_that_answers_nothing_is_never_refused() -> None:
    rude = Pair("paradetox", "CC0", (), "i wish i could sing like him , but to hell with that .",
                "I wish I could sing like him, but I can't.", {"harmlessness": (0.0, 1.0)})  # fmt: skip
    rows, _ = compose([rude], Mix(refused=1), Wordings(), 1, Skipped())
    assert not rows


def test_what_is_fine_stays_under_the_usual_objectives() -> None:
    declined = Pair("own", "MIT", (), "x", "I'm sorry, I can't help with that, whatever you say.", {})
    rows, report = compose([pair(), declined], Mix(kept=5), Wordings(), 1, Skipped())
    assert [(row.source, row.draft, row.target) for row in rows] == [("harm:kept", GOOD, GOOD)]
    assert {aim.key for aim in rows[0].objectives} == {"harmlessness", "helpfulness"}
    assert report.rows == {"better harm:kept": 1}


def test_half_of_what_is_kept_only_sounds_harmful_where_there_is_so_much() -> None:
    plain = [Pair("own", "MIT", (Turn("user", f"Tea number {n}?"),), "x", f"{GOOD} Cup {n}.", {}) for n in range(6)]
    sounds = [Pair("own", "MIT", (Turn("user", f"What kills {n} weeds?"),), "x", f"{GOOD} {n}.", {}) for n in range(4)]
    for wanted, found in ((4, 2), (10, 4)):
        rows, _ = compose([*plain, *sounds], Mix(kept=wanted), Wordings(), 1, Skipped())
        assert len(rows) == wanted
        assert sum("kill" in row.context[0].text for row in rows) == found


def test_what_a_policy_said_twice_is_mended_under_the_usual_objectives_too() -> None:
    loop = "And then you pour the water over it."
    own = Pair("own", "MIT", (Turn("user", "Tea?"),), f"{GOOD} {loop} {loop} And th", f"{GOOD} {loop}", {})
    rows, report = compose([own, pair(helpfulness=(0, 1))], Mix({"*": 0}, cleaned=9), Wordings(), 3, Skipped())
    assert [(row.draft, row.target) for row in rows] == [(own.first, own.second)]
    assert report.rows == {"better own:cleaned": 1}
    asked = {
        frozenset(aim.key for aim in compose([own], Mix(cleaned=1), Wordings(), seed, Skipped())[0][0].objectives)
        for seed in range(30)
    }
    assert asked == {frozenset({"harmlessness", "helpfulness"}), frozenset({"helpfulness"}), frozenset({"repetition"})}


@given(st.integers(0, 10_000))
def test_an_answer_that_breaks_off_ends_where_the_sentence_before_did(seed: int) -> None:
    found = damage.broken_off(GOOD, random.Random(seed))
    assert found is not None
    draft, ended = found
    assert GOOD.startswith(draft)
    assert draft.startswith(ended)
    assert ended.endswith(".")
    assert not draft.endswith(".")
    assert damage.broken_off("One sentence only.", random.Random(seed)) is None


def test_answers_that_break_off_are_ended_and_those_that_do_not_are_left() -> None:
    rows, _ = compose([pair()] * 40, Mix(broken_off=30), Wordings(), 1, Skipped())
    assert len(rows) == 30
    assert {row.target.endswith(".") for row in rows} == {True}
    assert 0 < sum(row.draft == row.target for row in rows) < 15


async def test_a_scorer_says_what_the_data_does_not() -> None:
    wordings = Wordings()
    aims = {key: wordings.first(key) for key in ("length", "repetition", "helpfulness", "factuality")}
    first = "It takes four minutes, in all it takes four minutes, in all it takes four minutes, in all."
    given = Pair("own", "MIT", (), first, "It takes four minutes in all.", {"helpfulness": (3.0, 1.0)})
    (scored,) = await scorer.scored([given], [MeasureJudge()], aims)
    assert scored.scores == {"helpfulness": (3.0, 1.0), "length": (0.0, 1.0), "repetition": (0.0, 1.0)}
    same = Pair("own", "MIT", (), GOOD, GOOD.replace("four", "five"), {})
    (tied,) = await scorer.scored([same], [MeasureJudge()], aims)
    (row,) = reformulated(tied, wordings, random.Random(1), Skipped())
    assert row.kind == "equal"


@pytest.mark.parametrize("reader", sorted(set(readers.READERS) - {"imhi"}))
def test_a_line_that_is_not_json_is_counted_and_named(tmp_path: Path, reader: str) -> None:
    (tmp_path / "p.jsonl").write_text("{oops\n[1]\n")
    skipped = Skipped()
    assert list(readers.READERS[reader](tmp_path / "p.jsonl", skipped)) == []
    assert skipped == {"not a JSON object": 2}
    assert skipped.where == {"not a JSON object": ["p.jsonl:1", "p.jsonl:2"]}


def test_of_our_own_rows_a_broken_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not JSON"):
        list(read(tmp_path / "rows.jsonl"))


def test_better_its_mirror_and_equal() -> None:
    """Each row names the objectives that it is true of, and only those: the release's own script does not."""
    scored = pair(helpfulness=(1, 2), length=(3, 1), fluency=(2, 2), nonsense=(0, 1))
    skipped = Skipped()
    rows = list(reformulated(scored, Wordings(), random.Random(1), skipped))
    told = [(row.kind, row.draft, row.target, {aim.key for aim in row.objectives}) for row in rows]
    assert told == [
        ("better", "Bad tea.", GOOD, {"helpfulness"}),
        ("better", GOOD, "Bad tea.", {"length"}),
        ("equal", "Bad tea.", GOOD, {"fluency"}),
    ]
    assert skipped == {"no wording for nonsense": 1}


def test_an_identical_row_is_left_alone() -> None:
    row = identical(pair(helpfulness=(0, 1)), Wordings(), random.Random(1))
    assert row.draft == row.target == GOOD


def test_a_made_row_is_mended_only_where_its_harm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.prepare.BESIDE", 0.0)
    monkeypatch.setattr("train.prepare.SHORTENED", 0.0)
    wordings, rng = Wordings(), random.Random(3)
    fates: Counter[str] = Counter()
    for row in (row for _ in range(600) for row in made(pair(helpfulness=(0, 1)), wordings, rng)):
        if (kind := row.source.removeprefix("made:")) not in damage.KINDS:
            continue
        assert kind not in damage.HELD_OUT
        named = set(damage.KINDS[kind][1]) & {aim.key for aim in row.objectives}
        fates["fine" if row.draft == GOOD else "mended" if row.target == GOOD else "left"] += 1
        assert row.target in (GOOD, row.draft)
        if kind in ("insult", "cut", "loop"):
            assert row.target == GOOD, "it is never left in, whatever is asked for"
        else:
            assert named or row.target == row.draft
    assert set(fates) == {"fine", "mended", "left"}


def test_what_is_in_another_manner_comes_twice_and_only_the_objectives_tell_the_two_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.prepare.ASKED", 0.0)
    wordings, rng = Wordings(), random.Random(4)
    twice = [rows for _ in range(200) if len(rows := made(pair(helpfulness=(0, 1)), wordings, rng)) == 2]
    assert len(twice) > 20
    for mended, left in twice:
        assert mended.draft == left.draft == left.target != mended.target
        asked = manner.KINDS[mended.source.removeprefix("made:")][1]
        assert {aim.key for aim in mended.objectives} & {*asked, "harmlessness"}
        assert not {aim.key for aim in left.objectives} & set(asked)


def test_some_made_rows_are_a_stretch_of_the_answer_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.prepare.BESIDE", 0.0)
    monkeypatch.setattr("train.prepare.ASKED", 0.0)
    answer = " ".join(f"This is sentence number {number} of it." for number in range(12))
    long = Pair("own", "MIT", (), "Bad.", answer, {"helpfulness": (0.0, 1.0)})
    rng = random.Random(1)
    targets = [row.target for _ in range(60) for row in made(long, Wordings(), rng) if row.source == "made:cut"]
    assert targets
    assert all(target in answer for target in targets)
    assert {len(target) < len(answer) / 2 for target in targets} == {True, False}


def test_wordings_differ_and_stay_true_to_their_key() -> None:
    wordings, rng = Wordings(), random.Random(1)
    drawn = [wordings.draw("relevance", rng) for _ in range(100)]
    assert {aim.key for aim in drawn} == {"relevance"}
    assert len({aim.description for aim in drawn}) == 3
    assert any(aim.name.startswith("Aspect") for aim in drawn), "sometimes the name says nothing"


def test_every_kind_of_damage_has_wordings_or_is_held_out() -> None:
    for _, harmed in damage.KINDS.values():
        assert set(harmed) <= set(Wordings())
    assert not {key for _, harmed in damage.HELD_OUT.values() for key in harmed} & set(Wordings())


@given(st.sampled_from([*damage.KINDS, *damage.HELD_OUT]), st.integers(0, 1000), st.text(max_size=80))
def test_damage_takes_any_text_and_is_decided_by_its_seed(kind: str, seed: int, text: str) -> None:
    change, _ = {**damage.KINDS, **damage.HELD_OUT}[kind]
    assert change(text, random.Random(seed)) == change(text, random.Random(seed))
    damaged = change(GOOD, random.Random(seed))
    assert damaged is None or damaged != GOOD or kind == "repeat"


@pytest.mark.parametrize("kind", ["repeat", "pad", "insult", "stray", "shuffle"])
def test_damage_by_sentences_loses_none(kind: str) -> None:
    for seed in range(20):
        damaged = damage.KINDS[kind][0](GOOD, random.Random(seed)) or ""
        assert all(sentence in damaged for sentence in damage.sentences(GOOD))


def test_rows_are_the_same_for_a_seed_and_survive_the_disk(tmp_path: Path) -> None:
    pairs = [pair(helpfulness=(0, 1), length=(1, 0))] * 5
    mix = Mix({"own": 3}, made=10, identical=4)
    rows, report = compose(pairs, mix, Wordings(), 7, Skipped())
    again, _ = compose(pairs, mix, Wordings(), 7, Skipped())
    other, _ = compose(pairs, mix, Wordings(), 8, Skipped())
    assert rows == again != other
    assert len(rows) == 3 * 2 + 10 + 4
    assert sum(report.rows.values()) == 20
    assert "| 4 | identical own |" in report.markdown()
    write(tmp_path / "rows.jsonl", rows)
    assert list(read(tmp_path / "rows.jsonl")) == rows


def test_what_is_too_long_is_counted() -> None:
    rows, report = compose([pair(helpfulness=(0, 1))], Mix({"*": 1}, longest=20), Wordings(), 1, Skipped())
    assert rows == []
    assert report.skipped == {"longer than the mix wants": 1}


@given(st.text(max_size=200))
def test_a_cleaned_text_is_a_part_of_it_and_clean(text: str) -> None:
    once = damage.cleaned(text)
    assert damage.cleaned(once) == once
    assert len(once) <= len(text)


def test_cleaned_is_said_once_and_to_the_end() -> None:
    assert damage.cleaned(GOOD) == GOOD
    assert damage.cleaned(f"{GOOD} Wait for four minutes and pour. Then you") == GOOD
    assert damage.cleaned("- one thing to do\n- another thing to do\n- one thing to do\n") == (
        "- one thing to do\n- another thing to do"
    ), "a list may end without a stop"
    numbered = "Do this:\n\n1. **Boil** it.\n2. **Pour** it over them.\n3. **Pour** it over them.\n4. **Drink** it."
    assert damage.cleaned(numbered) == numbered.replace("3. **Pour** it over them.\n", ""), (
        "the same item under another number"
    )
    assert damage.cleaned("no end") == "no end", "there is nothing else to keep"


def test_of_several_objectives_one_is_left_out_now_and_then() -> None:
    scored = pair(helpfulness=(0, 1), length=(0, 1), fluency=(0, 1))
    sizes = {
        len(row.objectives)
        for seed in range(40)
        for row in reformulated(scored, Wordings(), random.Random(seed), Skipped())
    }
    assert sizes == {1, 2, 3}


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
