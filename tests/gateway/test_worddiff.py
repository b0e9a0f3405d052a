"""What was changed, by words."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import worddiff


def test_words_that_were_put_in_and_taken_out() -> None:
    told = worddiff.diff("The sky is blue.", "The sky is very blue!")
    assert told == [("=", "The sky is"), ("+", " very"), ("=", " blue"), ("-", "."), ("+", "!")]


@given(st.text(), st.text())
def test_both_texts_can_be_read_off(before: str, after: str) -> None:
    told = worddiff.diff(before, after)
    assert "".join(text for kind, text in told if kind != "+") == before
    assert "".join(text for kind, text in told if kind != "-") == after


def test_texts_that_repeat_themselves_are_compared_as_others_are() -> None:
    told = worddiff.diff("a b " * 3000, "b  a " * 3000)
    assert "".join(text for kind, text in told if kind != "-") == "b  a " * 3000


def test_a_very_long_text_is_compared_by_lines() -> None:
    lines = [f"line {number} of many that stay as they are" for number in range(3000)]
    told = worddiff.diff("\n".join(lines), "\n".join([*lines[:5], "one more", *lines[5:]]))
    assert [text for kind, text in told if kind != "="] == ["one more\n"]


def test_how_much_was_changed() -> None:
    assert worddiff.changed("a b c d", "a b c d") == 0
    assert worddiff.changed("a b c d", "a b c e") == 0.25
    assert worddiff.changed("a b", "c d") == 1
    assert worddiff.changed("", "") == 0
