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
from train import damage, readers
from train.prepare import Mix, Wordings, compose, identical, made, reformulated
from train.rows import Pair, read, write

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
    skipped: Counter[str] = Counter()
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
    skipped: Counter[str] = Counter()
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
    skipped: Counter[str] = Counter()
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
    skipped: Counter[str] = Counter()
    [one] = readers.imhi(path, skipped)
    assert (one.first, one.second, one.scores) == ("x", "y", {"correctness": (0.0, 1.0)})
    assert sum(skipped.values()) == 2


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("{}\n{oops\n")
    with pytest.raises(ValueError, match=r"p\.jsonl:2: not JSON"):
        list(readers.normalised(tmp_path / "p.jsonl", Counter()))


def test_better_its_mirror_and_equal() -> None:
    """Each row names the objectives that it is true of, and only those: the release's own script does not."""
    scored = pair(helpfulness=(1, 2), length=(3, 1), fluency=(2, 2), nonsense=(0, 1))
    skipped: Counter[str] = Counter()
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


def test_a_made_row_is_mended_only_where_its_harm_is_named() -> None:
    wordings, rng = Wordings(), random.Random(3)
    fates: Counter[str] = Counter()
    for _ in range(400):
        row = made(pair(helpfulness=(0, 1)), wordings, rng)
        if row is None:
            continue
        kind = row.source.removeprefix("made:")
        assert kind not in damage.HELD_OUT
        named = damage.KINDS[kind][1] in {aim.key for aim in row.objectives}
        fates["fine" if row.draft == GOOD else "mended" if row.target == GOOD else "left"] += 1
        assert row.target in (GOOD, row.draft)
        assert named or row.target == row.draft or kind == "insult"
        if kind == "insult":
            assert row.target == GOOD, "an insult is never left in"
    assert set(fates) == {"fine", "mended", "left"}


def test_wordings_differ_and_stay_true_to_their_key() -> None:
    wordings, rng = Wordings(), random.Random(1)
    drawn = [wordings.draw("relevance", rng) for _ in range(100)]
    assert {aim.key for aim in drawn} == {"relevance"}
    assert len({aim.description for aim in drawn}) == 3
    assert any(aim.name.startswith("Aspect") for aim in drawn), "sometimes the name says nothing"


def test_every_kind_of_damage_has_wordings_or_is_held_out() -> None:
    for _, harmed in damage.KINDS.values():
        assert harmed in Wordings()
    assert not {harmed for _, harmed in damage.HELD_OUT.values()} & set(Wordings())


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
    rows, report = compose(pairs, mix, Wordings(), 7, Counter())
    again, _ = compose(pairs, mix, Wordings(), 7, Counter())
    other, _ = compose(pairs, mix, Wordings(), 8, Counter())
    assert rows == again != other
    assert len(rows) == 3 * 2 + 10 + 4
    assert sum(report.rows.values()) == 20
    assert "| 4 | identical own |" in report.markdown()
    write(tmp_path / "rows.jsonl", rows)
    assert list(read(tmp_path / "rows.jsonl")) == rows


def test_what_is_too_long_is_counted() -> None:
    rows, report = compose([pair(helpfulness=(0, 1))], Mix({"*": 1}, longest=20), Wordings(), 1, Counter())
    assert rows == []
    assert report.skipped == {"longer than the mix wants": 1}
