"""Every prompt family, whatever files are in `corrector/templates`; and the published ones word for word."""

import pytest

from corrector.objectives import Objective
from corrector.quoting import Quoting
from corrector.templates import Prompt, Turn, load, names

AIMS = (
    Objective(key="a", name="Honesty", description="the response should not tell lies"),
    Objective(key="b", name="Humour", description="The response should be cheerful and amusing"),
)
LISTED = "Honesty: the response should not tell lies; Humour: The response should be cheerful and amusing"
ASKED = (Turn("user", "How do I make tea?"),)
TALK = (Turn("user", "Hello"), Turn("assistant", "Hi!"), Turn("user", "Tea?"))


def text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


@pytest.mark.parametrize("name", names())
def test_a_prompt_holds_what_it_is_given(name: str) -> None:
    prompt = load(name).render(ASKED, "Boil water.", AIMS)
    assert text(prompt).count("Boil water.") == 1
    assert "How do I make tea?" in text(prompt)
    if not isinstance(prompt, str):
        assert all(set(message) == {"role", "content"} for message in prompt)
        assert prompt[-1] == {"role": "user", "content": "Boil water."}


@pytest.mark.parametrize("name", names())
def test_objectives_stand_in_the_prompt_in_their_order(name: str) -> None:
    assert LISTED in text(load(name).render(ASKED, "Boil water.", AIMS))


@pytest.mark.parametrize("name", names())
def test_a_conversation_and_none_at_all(name: str) -> None:
    template = load(name)
    said = text(template.render(TALK, "Boil water.", AIMS))
    assert said.index("Hello") < said.index("Hi!") < said.index("Tea?")
    assert "Boil water." in text(template.render((), "Boil water.", AIMS))


@pytest.mark.parametrize("name", names())
def test_the_equal_form_asks_for_something_else(name: str) -> None:
    template = load(name)
    assert template.render(ASKED, "x", AIMS, equal=True) != template.render(ASKED, "x", AIMS)


@pytest.mark.parametrize("name", [name for name in names() if name != "chat"])
def test_its_delimiters_are_what_structures_it(name: str) -> None:
    template = load(name)
    prompt = template.render(ASKED, "Boil water.", AIMS)
    assert template.DELIMITERS
    for mark in template.DELIMITERS:
        assert Quoting([mark]).imitates(text(prompt)), mark


def test_hh_rlhf_word_for_word() -> None:
    assert load("hh_rlhf").render(TALK, "Boil water.", AIMS) == (
        "You are an assistant to human. You will be provided with a context and an answer. Consider the context, then "
        f"edit the answer to improve it considering these aspects: {LISTED} | Context: Human: Hello\n\nAssistant: Hi!"
        "\n\nHuman: Tea? | Answer: Boil water. | Edit: "
    )


def test_ultrafeedback_word_for_word() -> None:
    assert load("ultrafeedback").render(ASKED, "Boil water.", AIMS) == (
        "You are an assistant to human. You will be provided with a query and an answer. Consider the query, then "
        f"edit the answer to improve it considering these aspects: {LISTED} | Query: How do I make tea? "
        "| Answer: Boil water. | Edit: "
    )


def test_ultrafeedback_equal_word_for_word() -> None:
    prompt = load("ultrafeedback").render(ASKED, "Boil water.", AIMS, equal=True)
    assert "then edit the answer to make it equal considering these aspects: " in text(prompt)


def test_imhi_word_for_word() -> None:
    assert load("imhi").render(ASKED, "Boil water.", AIMS) == (
        'Edit the following Question-Answer pair to make it better considering these aspects "'
        f'{LISTED}" | Question: How do I make tea? | Answer: Boil water. | Edit: '
    )


def test_aligner_word_for_word() -> None:
    assert str(load("aligner").render(ASKED, "Boil water.", AIMS)).endswith(
        "##Question: How do I make tea? ##Answer: Boil water. ##Correction: "
    )
