"""The draft goes on where a correction had to be broken off, and the markup of both stays whole."""

import pytest

from corrector.gate import GateOptions
from corrector.part import Part


def resumed(draft: str, written: str) -> str:
    """What the client has then; the correction has gone on in words of its own."""
    part = Part(draft, 0, 0, GateOptions(), written=written, restored_chars=len(written), sent=written)
    return written + part.original((), 0, "")


TABLE = "| step | what to do |\n| --- | --- |\n| one | Boil the water. Then wait. |\n| two | Warm the pot well |\n"


@pytest.mark.parametrize(
    ("draft", "written", "after"),
    [
        (
            "- Boil the water\n- Warm the pot\n- Pour it",
            "- Boil the water\n- Warm the jug",
            "\n- Warm the pot\n- Pour it",
        ),
        (
            "1. Boil the water\n   - a kettle\n   - a pot\n2. Pour it",
            "1. Boil the water\n   - a kettle\n   - a jug",
            "\n   - a pot\n2. Pour it",
        ),
        ("Boil the water well.\n\nWarm the pot.", "Boil the water well.\n\nWarm a jug", "\n\nWarm the pot."),
        ("Boil the water well. Warm the pot.", "Boil the water well. Warm a jug", "\n\nWarm the pot."),
        ("Boil the water well.\n\nWarm the pot.", "In other words", "\n\nBoil the water well.\n\nWarm the pot."),
        ("- Boil the water\n- Warm the pot", "- Boil the water\n- Heat\n", "- Warm the pot"),
        (TABLE, TABLE[: TABLE.index("Boil")] + "Boil the water. After", " |\n| one | Boil the water. Then wait. |\n"),
        (TABLE, TABLE[: TABLE.index("two")] + "two | Heat", " |\n| two | Warm the pot well |\n"),
        (TABLE, TABLE[: TABLE.index("two")] + "two | Heat it |", "\n| two | Warm the pot well |\n"),
    ],
)
def test_as_far_apart_as_in_the_draft(draft: str, written: str, after: str) -> None:
    assert resumed(draft, written).startswith(written + after)


@pytest.mark.parametrize(
    ("draft", "written"),
    [
        ("You can't open the door from outside.", "You can "),
        ("It costs 3.5 dollars. Pay it.", "It costs 3 "),
        ("The well-known method works.", "The well "),
        ("Edit the config.yaml by hand.", "Edit the config "),
        ("A **bold** start.", "A **bold "),
        ("U.S.A. is big.", "U.S "),
        ("Edit the config.yaml by hand.", "Now Edit the config "),
    ],
)
def test_no_space_comes_into_a_word_of_the_draft(draft: str, written: str) -> None:
    """What has been written ends within one: the sentence begins anew."""
    assert resumed(draft, written) == f"{written}\n\n{draft}"


def test_a_draft_keeps_its_kind_of_line_ends() -> None:
    draft = "Die Größe wird berechnet.\r\n\r\nUnd so weiter."
    assert resumed(draft, "Die Größe wird neu ") == f"Die Größe wird neu \r\n\r\n{draft}"


@pytest.mark.parametrize(
    ("end", "gap"),
    [("", "\r\n\r\n"), ("\r", "\n\r\n"), ("\r\n", "\r\n"), ("\r\n\r\n", "")],
)
def test_of_a_gap_the_rest_is_sent(end: str, gap: str) -> None:
    draft = "Boil the water well.\r\n\r\n- Warm the pot\r\n- Pour it"
    written = f"Boil the water well.\r\n\r\nWarm a jug{end}"
    assert resumed(draft, written) == f"{written}{gap}- Warm the pot\r\n- Pour it"
