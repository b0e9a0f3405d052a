"""Pairs to rows that say what is to be learnt."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector.objectives import Objective
from corrector.templates import Turn
from tests.conftest import ROOT
from train import damage, manner, readers, scorer
from train.judges import measure
from train.judges.measure import MeasureJudge
from train.prepare import USUAL, Mix, compose, identical, made, reformulated
from train.readers import Skipped
from train.rows import Pair, read, write
from train.wordings import Wordings

GOOD = "Boil the water first. Then warm the pot with it. Put in the leaves. Wait for four minutes and pour."


def pair(**scores: tuple[float, float]) -> Pair:
    return Pair("own", "MIT", (Turn("user", "Tea?"),), "Bad tea.", GOOD, scores)


def test_the_better_answer_is_the_good_one_wherever_it_stands() -> None:
    told = {"helpfulness": (5.0, 1.0), "honesty": (4.0, 2.0), "truthfulness": (1.0, 2.0)}
    turned = Pair("uf", "MIT", (Turn("user", "Tea?"),), GOOD, "Tea is bad.", told)
    rows, _ = compose([turned], Mix(identical=3, kept=1, answered=1), Wordings(), 1, Skipped())
    assert {row.target for row in rows} == {GOOD}


def test_what_falls_short_of_what_was_asked_for_is_told() -> None:
    mix = Mix({"oast": 5}, made_from=("own",), refused=2, kept=1, made=2)
    _, report = compose([pair(helpfulness=(0, 1))], mix, Wordings(), 1, Skipped())
    assert report.short == ["refused: 0 of 2", "no pair of oast; there are own"]


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


def test_what_repeats_the_lines_of_a_form_is_no_loop_to_learn_from() -> None:
    address = "The Office of Tea\nLondon, Britain\n\n"
    form = f"Write to them:\n\n{address}or else\n\n{address}That is all."
    own = Pair("own", "MIT", (), form, damage.cleaned(form), {})
    assert own.first != own.second
    assert compose([own], Mix(cleaned=1), Wordings(), 1, Skipped())[0] == []


@given(st.integers(0, 10_000))
def test_an_answer_breaks_off_within_a_sentence(seed: int) -> None:
    found = damage.begun(GOOD, random.Random(seed))
    assert found is not None
    draft, before, whole = found
    assert damage.broken_off(GOOD, random.Random(seed)) == (draft, before)
    assert GOOD.startswith(whole)
    assert whole.startswith(draft)
    assert draft.startswith(before)
    assert damage.is_ended(before)
    assert not damage.is_ended(draft)
    assert whole.endswith(".")
    assert "." not in whole[len(draft) : -1], "not more than the sentence"
    assert damage.begun("One sentence only.", random.Random(seed)) is None


def test_answers_that_break_off_are_ended_and_those_that_do_not_are_left() -> None:
    rows, _ = compose([pair()] * 40, Mix(broken_off=30), Wordings(), 1, Skipped())
    assert len(rows) == 30
    assert {damage.is_ended(row.target) for row in rows} == {True}
    left = [row for row in rows if row.draft == row.target]
    assert 8 < len(left) < 22, "as many as are ended, about: what tells them apart is the end"
    assert any(row.draft == GOOD for row in left)
    assert all(row.target.startswith(row.draft) for row in rows), "nothing is taken out"


def test_an_answer_that_itself_breaks_off_is_nothing_to_end_as_it_was() -> None:
    unended = replace(pair(), second="Tea is a drink. It is made of the leaves of a")
    assert compose([unended] * 40, Mix(broken_off=30), Wordings(), 1, Skipped())[0] == []


def test_what_is_asked_to_be_shorter_or_plainer_is_left_as_it_is_where_nobody_asks() -> None:
    text = "Certainly! You need numerous leaves, additional water, and sufficient time for tea. I hope this helps!"
    one = Pair("own", "MIT", (Turn("user", "Tea?"),), "x", text, {})
    rows = [row for seed in range(20) for row in compose([one] * 2, Mix(simplified=9), Wordings(), seed, Skipped())[0]]
    asked = [row for row in rows if row.draft != row.target]
    targets = {row.source: row.target for row in asked}
    assert targets == {
        "made:tightened": "You need numerous leaves, additional water, and sufficient time for tea.",
        "made:plainer": "Certainly! You need many leaves, extra water, and enough time for tea. I hope this helps!",
    }
    assert all({"length", "plain_words", "clarity"} & {aim.key for aim in row.objectives} for row in asked)
    left = [row for row in rows if row.draft == row.target]
    assert left
    assert all({aim.key for aim in row.objectives} == {"harmlessness", "helpfulness"} for row in left)


def test_what_was_rewritten_by_hand_is_left_as_it_is_where_nobody_asks() -> None:
    one = Pair("written", "MIT", (Turn("user", "Tea?"),), GOOD, "Boil water. Warm the pot.", {"plain_language": (0, 1)})
    mix = Mix(rewritten=5, made=3, kept=3, simplified=3)
    rows = [row for seed in range(20) for row in compose([one] * 2, mix, Wordings(), seed, Skipped())[0]]
    assert {row.source for row in rows} == {"written:plain_language"}, "it is nothing to damage, or to keep"
    for row in rows:
        keys = {aim.key for aim in row.objectives}
        assert "plain_language" in keys or (row.draft == row.target == one.first and keys == set(USUAL))
    fates = Counter((row.draft, row.target) for row in rows)
    assert set(fates) == {(one.first, one.second), (one.first, one.first), (one.second, one.second)}
    assert fates[one.first, one.second] == 40


def test_the_rewrites_by_hand_are_pairs_of_known_objectives_each_nearer_to_its_own() -> None:
    skipped = Skipped()
    found = list(readers.normalised(ROOT / "train/rewrites.jsonl", skipped))
    assert not skipped
    assert len({(one.context, one.first) for one in found}) == len(found)
    for one in found:
        [key] = one.scores
        measured = {"plain_language": measure.grade, "repetition": measure.repeated}[key]
        assert one.source == "written"
        assert measured(one.second) < measured(one.first)


async def test_a_scorer_says_what_the_data_does_not() -> None:
    wordings = Wordings()
    aims = {key: wordings.first(key) for key in ("length", "repetition", "helpfulness", "factuality")}
    judge = MeasureJudge()
    first = "It takes four minutes, in all it takes four minutes, in all it takes four minutes, in all."
    given = Pair("own", "MIT", (), first, "It takes four minutes in all.", {"helpfulness": (3.0, 1.0)})
    (scored,) = await scorer.scored([given], judge, scorer.questions([given], judge, aims))
    assert scored.scores == {"helpfulness": (3.0, 1.0), "length": (0.0, 1.0), "repetition": (0.0, 1.0)}
    same = Pair("own", "MIT", (), GOOD, GOOD.replace("four", "five"), {})
    (tied,) = await scorer.scored([same], judge, scorer.questions([same], judge, aims))
    (row,) = reformulated(tied, wordings, random.Random(1), Skipped())
    assert row.kind == "equal"


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
    assert skipped == {"no wording for nonsense": 1}, "also of a pair that has others"
    assert not list(reformulated(pair(nonsense=(0, 1)), Wordings(), random.Random(1), skipped))
    assert skipped == {"no wording for nonsense": 2}


OWN = Objective(key="brand_voice", name="Brand voice", description="The response should sound like us")


def test_what_is_worded_anew_is_still_something_to_leave_an_answer_alone_under() -> None:
    anew = Objective(key="fluency", name="Fluency", description="No slips of the pen")
    wordings = Wordings().beside((anew, OWN))
    assert list(wordings) == list(Wordings()), "in the same order too"
    assert wordings.first("fluency") == anew
    assert set(wordings.firsts()) - set(Wordings().firsts()) == {"brand_voice"}


def test_identical_rows_name_what_their_data_is_scored_in_where_nothing_else_is_to_be_seen() -> None:
    scored = pair(helpfulness=(0, 1), honesty=(1, 1), length=(1, 0))
    rows, report = compose([scored, pair()], Mix(identical=30, as_scored=True), Wordings(), 1, Skipped())
    assert len(rows) == 30
    assert {aim.key for row in rows for aim in row.objectives} == {"helpfulness", "honesty"}
    _, report = compose([pair()], Mix(identical=3, as_scored=True), Wordings(), 1, Skipped())
    assert report.short == ["identical: 0 of 3"]


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


@pytest.mark.parametrize(
    ("kind", "harmed"),
    [
        ("stray", {"relevance", "helpfulness", "coherence"}), ("pad", {"length", "relevance"}),
        ("misspell", {"fluency", "style", "standard_english"}), ("grammar", {"fluency", "style", "standard_english"}),
        ("stutter", {"fluency", "repetition", "style", "standard_english"}),
        ("oath", {"swearing", "harmlessness", "style", "standard_english"}),
        ("lowercase", {"capitals", "fluency", "style", "standard_english"}),
    ],
)  # fmt: skip
def test_no_damage_is_left_under_what_it_harms(kind: str, harmed: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.prepare.BESIDE", 0.0)
    monkeypatch.setattr("train.prepare.ASKED", 0.0)
    for room in (damage, manner):  # another dict: what is taken out of one comes back in another order
        monkeypatch.setattr(room, "KINDS", {name: known for name, known in room.KINDS.items() if name == kind})
    monkeypatch.setattr("train.manner.RARE", ())
    wordings, rng = Wordings(), random.Random(6)
    named: Counter[str] = Counter()
    rows = [row for _ in range(400) for row in made(pair(helpfulness=(0, 1)), wordings, rng)]
    for row in rows:
        keys = {aim.key for aim in row.objectives}
        if row.draft == row.target and row.draft not in GOOD:
            assert not keys & harmed
        elif row.draft != row.target:
            named.update(keys & harmed)
    assert set(named) >= harmed, "now and then it is mended under each"
    own, *others = {**damage.KINDS, **manner.KINDS}[kind][1]
    assert all(named[own] > named[other] for other in others if other not in USUAL)


def test_nothing_is_asked_for_that_another_manner_of_the_target_goes_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.prepare.BESIDE", 1.0)
    monkeypatch.setattr("train.manner.RARE", ("lowercase",) * 200)  # as it is drawn most often then
    wordings, rng = Wordings(), random.Random(7)
    rows = [row for _ in range(300) for row in made(pair(helpfulness=(0, 1)), wordings, rng)]
    small = [row for row in rows if row.target == row.target.lower()]
    assert len(small) > 100
    assert any(row.draft != row.target for row in small)
    for row in small:
        assert not {aim.key for aim in row.objectives} & set(manner.KINDS["lowercase"][1])


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
    wordings, rng = Wordings(), random.Random(1)
    targets = [row.target for _ in range(600) for row in made(long, wordings, rng) if row.source == "made:cut"]
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
