"""Answers in fewer or plainer words: what goes, what stays, and that what stays is English."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train import damage
from train.judges.measure import grade
from train.simpler import plainer, tightened


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Certainly! You boil the water, and then you wait.", "You boil the water, and then you wait."),
        ("Boil the water first. Then you wait. I hope this helps!", "Boil the water first. Then you wait."),
        ("Boil the water first.\n\nOverall, tea is good for you and easy to make.", "Boil the water first."),
        ("You need a kettle (of steel or copper) for that.", "You need a kettle for that."),
        ("It has many herbs, such as mint, sage, and thyme. You mix them.", "It has many herbs. You mix them."),
        ("Please note that the water is hot, and wait.", "The water is hot, and wait."),
        ("It is a very old and really good way.", "It is an old and good way."),
        ("In order to boil it, use a wide range of pots.", "To boil it, use many pots."),
        (
            "- **Kettle**: a pot to boil water in. Most are of steel.\n- **Cup**: what you drink from.",
            "- **Kettle**: a pot to boil water in.\n- **Cup**: what you drink from.",
        ),
        (
            "Green tea comes from China. China is where green tea comes from. It is drunk hot.",
            "Green tea comes from China. It is drunk hot.",
        ),
    ],
)
def test_what_says_nothing_goes(text: str, said: str) -> None:
    assert tightened(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "Boil the water first. Then warm the pot with it and put in the leaves.",
        "Great question, but nobody knows the answer to that one yet.",
        "1. Fry it for ten minutes. Turn it halfway.\n2. Drain it well. Add salt.",
        "Please note that this runs:\n```\nvery simply\n```",
        "Sure!",
    ],
)
def test_what_says_something_stays(text: str) -> None:
    assert tightened(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "The water must boil for some minutes, and it should then stand for a while before you pour it.",
            "The water must boil for some minutes. It should then stand for a while before you pour it.",
        ),
        (
            "You may use a kettle of copper or of steel; the copper one is faster than the other one.",
            "You may use a kettle of copper or of steel. The copper one is faster than the other one.",
        ),
        ("It can provide you with an additional cup. Purchasing it is easy.",
         "It can give you an extra cup. Buying it is easy."),
        ("Numerous people require assistance here.", "Many people need help here."),
        ("The pot is made of red clay from the river, which makes it heavy to carry.",
         "The pot is made of red clay from the river. This makes it heavy to carry."),
        ("You pour the water over the leaves and wait, making the tea as strong as you like it.",
         "You pour the water over the leaves and wait. This makes the tea as strong as you like it."),
        ("Tea is good to drink. However, there is something in it that keeps you awake; however, it fades.",
         "Tea is good to drink. But there is something in it that keeps you awake. But it fades."),
    ],
)  # fmt: skip
def test_long_words_and_sentences_give_way(text: str, said: str) -> None:
    assert plainer(text) == said
    assert grade(said) < grade(text)


@pytest.mark.parametrize(
    "text",
    [
        "It is short, and it is fine.",  # nothing that is worth a full stop
        "There are several ways to do that, in order to be sure.",  # two words are no matter of plainness
        "We drink green tea, black tea, and the white one that is from China.",
    ],
)
def test_what_is_plain_stays(text: str) -> None:
    assert plainer(text) is None


def test_words_that_only_an_evaluation_puts_in_are_none_of_those_that_are_taken_out() -> None:
    """Jargon is a kind of damage that is unseen: no row may teach to mend it."""
    jargon = " ".join(f"They {word} it. We say {word} here." for word in damage._JARGON.values())
    assert plainer(jargon) is None


@given(st.text(max_size=200))
def test_any_text_is_taken(text: str) -> None:
    shorter = tightened(text)
    assert shorter is None or len(shorter) < len(text)
    plainer(text)
