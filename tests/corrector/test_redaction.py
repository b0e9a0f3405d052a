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
        ("email", f"to {'john' * 100}@doe.com now", "to [redacted] now"),
        ("email", "o'brien@example.com, a%b@example.com", "[redacted], [redacted]"),
        ("phone", "555\u2011123\u20114567 or 555\u2013123\u20134567", "[redacted] or [redacted]"),
        ("phone", "+49\u00a030\u00a012\u00a034\u00a056 or 555 - 123 - 4567", "[redacted] or [redacted]"),
        ("phone", "555-123-4567x89, 555-123-4567ext. 89, 555-123-4567 Ext 89", "[redacted], [redacted], [redacted]"),
        ("phone", "555-123-4567or at home", "[redacted]or at home"),
        ("phone", "1914\u20131918, 1990 - 2024, 2024-01-15T10:30", "1914\u20131918, 1990 - 2024, 2024-01-15T10:30"),
        ("phone", "$1,234,567.89, 1.2.3, 12345678kg, 1920x1080", "$1,234,567.89, 1.2.3, 12345678kg, 1920x1080"),
        ("phone", "10\n200\n3000\n40", "10\n200\n3000\n40"),
        ("card", "4111\u00a01111\u00a01111\u00a01111.", "[redacted]."),
        ("card", "4111\u20111111\u20111111\u20111111, 4111  1111  1111  1111", "[redacted], [redacted]"),
        ("card", "4111.1111.1111.1111, 3782.822463.10005", "[redacted], [redacted]"),
        ("ip", "_10.0.0.1_, **10.0.0.1**, x_10.0.0.1", "_[redacted]_, **[redacted]**, x_10.0.0.1"),
        ("ip", "_fe80::1_, src:10.0.0.1", "_[redacted]_, src:[redacted]"),
        (
            "ip",
            "src:2001:db8::1, Address:2001:db8::1, inet6:fe80::1",
            "src:[redacted], Address:[redacted], inet6:[redacted]",
        ),
        ("ip", "src:::1, Foo::add::bed, std::cafe::x", "src:[redacted], Foo::add::bed, std::cafe::x"),
        ("phone", "_415-555-0199_, __415-555-0199__", "_[redacted]_, __[redacted]__"),
        ("phone", "_+1 415 555 0199_, 1234567890_abc", "_[redacted]_, 1234567890_abc"),
        ("phone", "phone415-555-0199, Telefon089/123456", "phone[redacted], Telefon[redacted]"),
        ("phone", "10 000 \u2013 20 000, 1 500-2 000", "10 000 \u2013 20 000, 1 500-2 000"),
        ("phone", "tel 800 555-1 234, 12 345-678 901", "tel [redacted], [redacted]"),
        ("phone", "030-123 456, +10 000 \u2013 20 000", "[redacted], [redacted]"),
        ("card", "123.4567890123 of 1.000.000.000.000", "123.4567890123 of 1.000.000.000.000"),
    ],
)
def test_a_kind_by_name(kind: str, text: str, expected: str) -> None:
    assert redacted(text, [pattern(kind)]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4111 1111 1111 1111", "[redacted]"),
        ("5551234567@example.com", "[redacted]"),
        ("192.168.0.1 555-123-4567", "[redacted] [redacted]"),
    ],
)
def test_a_phone_number_is_looked_for_when_what_it_is_a_part_of_is_gone(text: str, expected: str) -> None:
    assert redacted(text, map(pattern, ["phone", "ip", "card", "email"])) == expected


def test_what_is_written_around_a_phone_number_keeps_its_place() -> None:
    digits = pattern({"pattern": r"\d{4}"})
    assert (
        redacted("1234 or 555-123-4567", [digits, KINDS["phone"], KINDS["card"]]) == "[redacted] or 555-123-[redacted]"
    )
    assert redacted("1234 or 555-123-4567", [KINDS["phone"], digits, KINDS["card"]]) == "[redacted] or [redacted]"


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
    "text",
    [
        one * (300_000 // len(one))
        for one in (
            "a",
            "1",
            "a.",
            "1 ",
            "a:",
            "@",
            "a'",
            "a@",
            "1 - ",
            "1234567x",
            "4111.",
            "1990-1990-",
            "1234-1234",
            "z:",
            "_",
            "1_",
            "tel1",
            "100 000 - ",
        )
    ],
    ids=lambda text: text[:10],
)
def test_a_text_that_is_one_long_word_takes_no_longer_than_others(kind: str, text: str) -> None:
    """Not timed: one whose time grows with the square of the text would not come to an end here."""
    assert redacted(text, [pattern(kind)])


def test_a_pattern_that_matches_a_place_takes_nothing_out() -> None:
    assert redacted("two words", [pattern({"pattern": r"\b"})]) == "two words"
