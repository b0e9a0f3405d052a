"""What is taken out of a text before it is kept."""

import pytest

from corrector.redaction import KINDS, pattern, redacted


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("email", "to ada.b+c@mail.example.org, now", "to [redacted], now"),
        ("phone", "call +49 (30) 1234-567 or 030/1234567", "call [redacted] or [redacted]"),
        ("phone", "in 2024, 12 of 300", "in 2024, 12 of 300"),
        ("card", "it is 4111 1111 1111 1111.", "it is [redacted]."),
        ("ip", "from 192.168.0.1 or fe80:0:0:1:2:3.", "from [redacted] or [redacted]."),
        (
            "ip",
            "10.0.0.1. Then 2001:db8::1, fe80::1 and ::ffff:10.0.0.1",
            "[redacted]. Then [redacted], [redacted] and [redacted]",
        ),
        ("ip", "version 1.2.3, at 12:30:15, std::vector", "version 1.2.3, at 12:30:15, std::vector"),
        ("phone", "Tel.030 1234567", "Tel.[redacted]"),
        ("phone", "我的电话是13812345678。電話は03-1234-5678です", "我的电话是[redacted]。電話は[redacted]です"),
        ("phone", "part AB1234567890, x_1234567890", "part AB1234567890, x_1234567890"),
        ("ip", "IP是192.168.0.1的", "IP是[redacted]的"),
        ("email", f"mail{'.' * 70}john@doe.com now", f"mail{'.' * 10}[redacted] now"),
    ],
)
def test_a_kind_by_name(kind: str, text: str, expected: str) -> None:
    assert redacted(text, [pattern(kind)]) == expected


def test_a_pattern_of_ones_own() -> None:
    assert (
        redacted("PROJECT-12 and project-7", [pattern({"pattern": r"(?i)project-\d+"})]) == "[redacted] and [redacted]"
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("emial", "no kind 'emial'; there are email, phone, card, ip"),
        ({"pattern": "("}, "is no regular expression"),
        ({"pattern": "x*"}, "matches nothing at all"),
        ({"regex": "x"}, "an entry is one of"),
        (7, "an entry is one of"),
    ],
)
def test_what_is_wrong_is_said(entry: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pattern(entry)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "text", ["a" * 300_000, "1" * 300_000, "a." * 150_000, "1 " * 150_000, "a:" * 150_000, "@" * 300_000]
)
def test_a_text_that_is_one_long_word_takes_no_longer_than_others(kind: str, text: str) -> None:
    """Not timed: one whose time grows with the square of the text would not come to an end here."""
    assert redacted(text, [pattern(kind)])


def test_a_pattern_that_matches_a_place_takes_nothing_out() -> None:
    assert redacted("two words", [pattern({"pattern": r"\b"})]) == "two words"
