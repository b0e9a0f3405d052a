"""Ways of writing as damage: what an objective asks for or against, and nothing else of the answer."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from corrector.templates import Turn
from train import damage, manner, mending, terms
from train.commands.judging import evaluate
from train.mending import ALL, UNASKED, Outcome
from train.prepare import USUAL, identical, made
from train.rows import Pair
from train.wordings import Wordings

PROSE = (
    "Boil the water and warm the pot with it. Put in three spoons of the best leaves that are there. "
    "It is important to wait for four minutes, and the color does not tell you when. Then pour, and you are done."
)
LIST = "What you need:\n1. a kettle\n2. a pot that keeps warm\n3. leaves"
EVERY = {**manner.KINDS, **{kind: (change, (aim.key,)) for kind, (change, aim) in manner.HELD_OUT.items()}}


def pair(answer: str) -> Pair:
    return Pair("own", "MIT", (Turn("user", "Tea?"),), "Bad tea.", answer, {"helpfulness": (0.0, 1.0)})


@pytest.mark.parametrize(
    ("kind", "text", "damaged"),
    [
        ("contract", "It is so, and they do not know what it is.", "It's so, and they don't know what it is."),
        ("expand", "Don't worry, I'm here and it's fine.", "Do not worry, I am here and it is fine."),
        ("figures", "Take three eggs and one pan. Twelve minutes pass.", "Take 3 eggs and one pan. 12 minutes pass."),
        ("british", "The color of the Center was gray here.", "The colour of the Centre was grey here."),
        ("american", "Organise the colours by favour of all.", "Organize the colors by favor of all."),
        ("listed", "Boil water. Wait a bit. Pour it.", "- Boil water.\n- Wait a bit.\n- Pour it."),
        ("run_on", LIST, "What you need: a kettle a pot that keeps warm leaves"),
        ("bullets", LIST, "What you need:\n- a kettle\n- a pot that keeps warm\n- leaves"),
    ],
)
def test_some_are_rewritten_word_for_word(kind: str, text: str, damaged: str) -> None:
    assert EVERY[kind][0](text, random.Random(1)) == damaged


@pytest.mark.parametrize(
    ("kind", "mark"),
    [
        ("emoji", r"[^\x00-\x7f]"), ("aside", r"\("), ("bold", r"\*\*\w+\*\*"), ("exclaim", "!"), ("question", r"\?"),
        ("oath", "damn|bloody|freaking|crappy"), ("intensify", "very|really|extremely|absolutely|incredibly|totally"),
        ("disclaimer", r"AI\b|language model|computer program|chatbot"), ("closer", r"\?|!|\.$"), ("hedge", "[a-z]"),
        ("opener", "[!.:]"),
    ],
)  # fmt: skip
def test_others_put_something_in_and_take_nothing_out(kind: str, mark: str) -> None:
    damaged = EVERY[kind][0](PROSE, random.Random(3))
    assert damaged is not None
    assert len(re.findall(mark, damaged)) > len(re.findall(mark, PROSE)) or kind == "closer"
    words = iter(re.findall(r"\w+", damaged.lower()))
    assert all(word in words for word in re.findall(r"\w+", PROSE.lower())), "every word, in its order"


@given(st.sampled_from(sorted(EVERY)), st.integers(0, 1000), st.text(max_size=80))
def test_any_text_is_taken_and_the_seed_decides(kind: str, seed: int, text: str) -> None:
    change = EVERY[kind][0]
    assert change(text, random.Random(seed)) == change(text, random.Random(seed))


@pytest.mark.parametrize("kind", sorted(set(EVERY) - {"listed", "run_on", "bullets"}))
def test_an_answer_in_that_manner_already_is_no_target(kind: str) -> None:
    """Its correction would not be what the objective asks for."""
    change = EVERY[kind][0]
    texts = (
        PROSE,
        LIST,
        "Don't worry, it's fine to say so. The colour doesn't matter to people, because it fades.",
    )
    damaged = [told for text in texts if (told := change(text, random.Random(1))) is not None]
    assert damaged
    assert all(change(told, random.Random(2)) is None for told in damaged)


def test_each_has_an_objective_of_its_own_and_what_is_held_out_is_in_no_row() -> None:
    wordings = Wordings()
    own = [harmed[0] for _, harmed in manner.KINDS.values()]
    assert len(set(own)) == len(own)
    assert {key for _, harmed in manner.KINDS.values() for key in harmed} <= set(wordings)
    assert not {aim.key for _, aim in manner.HELD_OUT.values()} & set(wordings)
    assert not set(manner.KINDS) & set(damage.KINDS)
    assert set(manner.RARE) <= set(manner.KINDS)


def test_the_same_draft_is_changed_where_its_manner_is_named_and_left_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.prepare.SHORTENED", 0.0)
    wordings, rng = Wordings(), random.Random(5)
    fates: Counter[str] = Counter()
    for row in (row for _ in range(600) for row in made(pair(PROSE), wordings, rng)):
        if (kind := row.source.removeprefix("made:")) not in manner.KINDS:
            continue
        named = set(manner.KINDS[kind][1]) & {aim.key for aim in row.objectives}
        if row.draft == row.target:
            usual = {aim.key for aim in row.objectives} == set(USUAL)
            fates["left, though the usual is asked for" if usual else "left"] += 1
        else:
            assert named, "what nobody names is left"
            fates["mended" if row.target == PROSE else "mended, and another manner left"] += 1
    assert set(fates) == {"left", "left, though the usual is asked for", "mended", "mended, and another manner left"}


def test_what_is_left_alone_is_asked_for_nothing_that_it_lacks() -> None:
    wordings, rng = Wordings(), random.Random(2)
    named = {aim.key for _ in range(200) for aim in identical(pair(PROSE), wordings, rng).objectives}
    assert {"emoji", "prose", "formality", "american"} <= named
    assert not {"list", "numbered", "informality", "british"} & named


def test_every_manner_is_asked_for_and_not() -> None:
    pairs = [
        pair(PROSE),
        pair(f"{LIST}\n4. some milk, sugar or lemon\n5. cups\n\nThat is all there is to it, and it keeps."),
    ]
    known = {key: Wordings().first(key) for key in USUAL}
    cases = mending.asked(pairs, known, 1, seed=1)
    kinds = Counter(case.kind for case in cases)
    assert set(kinds.values()) == {1}
    assert {"emoji", "run_on", "question", f"question{UNASKED}"} <= set(kinds)
    for named, unnamed in zip(cases[::2], cases[1::2], strict=True):
        assert named.draft == unnamed.draft
        assert unnamed.good == (named.draft if named.kind in terms.KINDS else named.good)
        assert [aim.key for aim in unnamed.objectives] == list(USUAL)
        assert len(named.objectives) == 1
        assert named.draft != named.good


def test_what_was_not_asked_for_is_summed_apart() -> None:
    def one(kind: str, after: float) -> Outcome:
        return Outcome(kind, "corrected", "rewritten", 0.5, after, 1.0, 0, 1.0)

    told = mending.summary(
        [one("emoji", 1.0), one("question", 1.0), one(f"emoji{UNASKED}", 0.5), one(f"question{UNASKED}", 0.4)]
    )
    lines = {line.kind: line for line in told}
    assert (lines[ALL].nearer, lines[ALL].farther) == (2, 0)
    assert (lines[ALL + UNASKED].nearer, lines[ALL + UNASKED].farther) == (0, 1)
    assert f"| question{UNASKED} (unseen) |" in mending.markdown(told)


def test_manners_are_of_pairs_damaged_by_rule_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").touch()
    told = CliRunner().invoke(evaluate, [str(tmp_path / "answers.jsonl"), "--asked", "--out", str(tmp_path / "out")])
    assert told.exit_code == 2
    assert "--asked goes with --mending" in told.output
    assert not (tmp_path / "out").exists()
