"""Messages become a prompt in the model's own template, and in no other."""

from typing import Any

import pytest

from corrector.serving.asked import Completion, Refused
from corrector.serving.generator import Generator, Limits
from corrector.serving.row import Sampling
from tests.corrector.conftest import tokenizer

MESSAGES = [{"role": "user", "content": "Hello"}]
LOOP = "{% for one in range(99999) %}{% endfor %}"


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = tokenizer()
    made.chat_template += "{{ ' (' + tone + ')' if tone else '' }}"
    return Generator("m", made, frozenset(), Limits(100, 10), lambda row: None)


def test_variables_of_the_template_may_be_set(generator: Generator) -> None:
    plain, brief = (generator.prompt_of_messages(MESSAGES, said) for said in ({}, {"tone": "brief"}))
    assert len(brief) == len(plain) + len(" (brief)")


@pytest.mark.parametrize("wish", [{"chat_template": LOOP}, {"tokenize": True}, {"tone": "brief", "return_dict": True}])
def test_what_the_tokenizer_itself_is_told_may_not(generator: Generator, wish: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        generator.prompt_of_messages(MESSAGES, wish)
    assert refused.value.param == "chat_template_kwargs"


@pytest.mark.parametrize(
    ("wish", "taken"),
    [
        ({}, Sampling(1.0)),
        ({"temperature": 1e-40}, Sampling(0.0)),
        ({"temperature": 1e-5, "top_p": 0.5}, Sampling(1e-5, 0.5)),
        ({"seed": 2**64 + 3}, Sampling(1.0, seed=3)),
        ({"seed": -1}, Sampling(1.0, seed=2**64 - 1)),
        ({"seed": -(10**30)}, Sampling(1.0, seed=-(10**30) % 2**64)),
    ],
)
def test_what_no_float_and_no_seed_holds_is_taken_for_what_one_does(
    generator: Generator, wish: dict[str, Any], taken: Sampling
) -> None:
    asked = Completion.model_validate({"prompt": "x", **wish})
    assert generator.row([1], asked, 5, lambda _: None).sampling == taken
