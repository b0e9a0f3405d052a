"""Text as it comes is the text that there is, whole characters at a time, and never a part of a stop string."""

from functools import cache
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from corrector.serving.detokenizer import BROKEN, IncrementalDetokenizer
from tests.corrector.conftest import tokenizer


@cache
def bytewise() -> Any:
    return tokenizer()


def text_of(ids: list[int]) -> str:
    return str(bytewise().decode(ids, clean_up_tokenization_spaces=False))


def pieces(text: str, stops: tuple[str, ...] = ()) -> list[str]:
    shown = IncrementalDetokenizer(text_of, bytewise()("Edit: ")["input_ids"], stops)
    given = []
    for token in bytewise()(text)["input_ids"]:
        given.append(shown.add(token))
        if shown.stopped:
            return given
    return [*given, shown.end()]


def before(text: str, stops: tuple[str, ...]) -> str:
    """Up to the stop string that is whole first."""
    for end in range(len(text) + 1):
        if found := [at for stop in stops if (at := text.find(stop, 0, end)) >= 0]:
            return text[: min(found)]
    return text


WORDS = st.text(st.sampled_from("ab é語🙂\n"), max_size=30)


@given(WORDS)
def test_the_pieces_are_the_text(text: str) -> None:
    given = pieces(text)
    assert "".join(given) == text
    assert not any(BROKEN in piece for piece in given)


@given(WORDS, st.lists(st.text(st.sampled_from("ab🙂"), min_size=1, max_size=4), max_size=3).map(tuple))
def test_nothing_of_a_stop_string_is_shown(text: str, stops: tuple[str, ...]) -> None:
    assert "".join(pieces(text, stops)) == before(text, stops)


def test_what_only_begins_like_a_stop_string_is_text() -> None:
    assert "".join(pieces("one | Edi", (" | Edit:",))) == "one | Edi"


def test_a_character_that_the_limit_cuts_is_left_out() -> None:
    shown = IncrementalDetokenizer(text_of, [])
    ids = bytewise()("a🙂")["input_ids"]
    assert "".join([*(shown.add(token) for token in ids[:-1]), shown.end()]) == "a"
