"""Objectives of one answer alone: what is asked for is what the target has and the draft has not."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import mending, terms
from train.damage import sentences
from train.prepare import USUAL, made
from train.rows import Pair
from train.wordings import Wordings

TEXT = (
    "The kettle should be of steel. You fill it with cold water, and you wait. When it whistles, take it from "
    "the fire. Leaves go into the pot before that."
)


POOL = terms.TRAINED


def asked(kind: str, seed: int = 1) -> tuple[str, str, str]:
    found = terms.KINDS[kind](TEXT, random.Random(seed), POOL)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_word_is_asked_for_in_place_of_another(seed: int) -> None:
    for kind in ("word_for_word", "house_word"):
        draft, target, said = asked(kind, seed)
        quoted = re.findall(r'"([^"]+)"', said)
        (gone,) = [word for word in quoted if not re.search(rf"\b{word}\b", target)]
        (come,) = [word for word in quoted if not re.search(rf"\b{word}\b", draft)]
        assert draft.replace(gone, come) == target
        assert re.search(rf'not "{gone}"|in place of "{gone}"|(?:never say|write) "{gone}"', said), said
    assert asked("word_for_word")[1] == asked("house_word")[0] == TEXT


def test_an_opening_and_an_end_are_put_there_or_taken_away() -> None:
    for kind, more, less in (("begins", 1, 0), ("ends", 1, 0), ("begins_no_more", 0, 1), ("ends_no_more", 0, 1)):
        found = asked(kind)
        phrase = re.findall(r'"(.+)"', found[2])[0]
        assert phrase in found[more]
        assert found[less] == TEXT
        assert found[more].startswith(phrase) if kind.startswith("begins") else found[more].endswith(phrase)


def test_a_sentence_about_a_word_goes_and_a_number_of_sentences_stays() -> None:
    draft, target, said = asked("without")
    assert draft == TEXT
    assert len(sentences(target)) == 3
    assert [word for word in re.findall(r"[a-z]+", said) if word in draft and word not in target]
    draft, target, said = asked("at_most")
    assert draft.startswith(target)
    assert f" {('one', 'two', 'three')[len(sentences(target)) - 1]} sentence" in said


def test_the_reader_is_called_by_name() -> None:
    draft, target, said = asked("named")
    name = target.split(",")[0]
    assert name in said
    assert target.removeprefix(f"{name}, ").lower() == draft.lower()


@given(st.sampled_from(sorted(terms.KINDS)), st.integers(0, 1000), st.text(max_size=80))
def test_any_text_is_taken_and_the_seed_decides(kind: str, seed: int, text: str) -> None:
    term = terms.KINDS[kind]
    assert term(text, random.Random(seed), POOL) == term(text, random.Random(seed), POOL)


def test_of_the_rows_that_ask_for_something_some_have_it_already_and_some_do_not_ask_after_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.prepare.ASKED", 1.0)
    answer = Pair("own", "MIT", (), "Bad.", TEXT, {"helpfulness": (0.0, 1.0)})
    rng = random.Random(1)
    told = [row for _ in range(200) for row in made(answer, Wordings(), rng)]
    named = [row for row in told if any(aim.key == "terms" for aim in row.objectives)]
    assert 0 < sum(row.draft == row.target for row in named) < len(named) / 2
    unnamed = [row for row in told if row not in named]
    assert unnamed
    assert all(row.draft == row.target for row in unnamed)


def test_an_evaluation_asks_for_what_no_row_has() -> None:
    pairs = [Pair("own", "MIT", (), "Bad.", TEXT, {"helpfulness": (0.0, 1.0)})]
    cases = {case.kind: case for case in mending.asked(pairs, {key: Wordings().first(key) for key in USUAL}, 1, seed=1)}
    assert {kind for kind in cases if kind in terms.KINDS} == set(terms.KINDS)
    for kind in terms.KINDS:
        asked, unasked = cases[kind], cases[kind + mending.UNASKED]
        assert asked.draft == unasked.draft == unasked.good != asked.good
        assert asked.objectives[0].key == "terms"
    seen = {*terms.TRAINED.words, *terms.TRAINED.names, *terms.TRAINED.openings, *terms.TRAINED.endings}
    unseen = terms.HELD_OUT
    assert not seen & {*unseen.words, *unseen.names, *unseen.openings, *unseen.endings}
