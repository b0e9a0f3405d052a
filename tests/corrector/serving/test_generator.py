"""Messages become a prompt in the model's own template, and in no other."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from corrector.serving.generation import Generation, Sampling
from corrector.serving.generator import Generator, Limits
from corrector.serving.http import app
from corrector.serving.request import Completion, Refused
from tests.corrector.conftest import tokenizer

MESSAGES = [{"role": "user", "content": "Hello"}]
LOOP = "{% for one in range(99999) %}{% endfor %}"


class Decoding:
    """Nothing is decoded."""

    def __init__(self, *, hangs: bool = False) -> None:
        self._hangs = hangs

    def submit(self, generation: Generation) -> None: ...

    def stalled(self) -> bool:
        return self._hangs


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = tokenizer()
    made.chat_template += "{{ ' (' + tone + ')' if tone else '' }}"
    return Generator("m", made, frozenset(), Limits(100, 10, lookup=3), Decoding())


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
    request = Completion.model_validate({"prompt": "x", **wish})
    made = generator.generation([1], request, 5, lambda _: None)
    assert made.sampling == taken
    assert bool(made.lookup) == (taken.temperature == 0), "what is drawn is not held against a proposal"


@pytest.mark.parametrize(("hangs", "status"), [(False, 200), (True, 503)])
async def test_a_decoding_that_hangs_is_no_health(hangs: bool, status: int) -> None:
    made = Generator("m", tokenizer(), frozenset(), Limits(100, 10), Decoding(hangs=hangs))
    async with TestClient(TestServer(app(made))) as client, client.get("/health") as answer:
        assert answer.status == status
