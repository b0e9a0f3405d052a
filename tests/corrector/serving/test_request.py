"""A request asks for what can be done, or is told what cannot."""

from typing import Any

import pytest

from corrector.serving.request import Chat, Completion, Refused, read

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("kind", "wish"),
    [
        (Completion, {"n": 2}),
        (Completion, {"logprobs": 1}),
        (Completion, {"echo": True}),
        (Completion, {"best_of": 3}),
        (Completion, {"suffix": "the end"}),
        (Completion, {"presence_penalty": 0.5}),
        (Completion, {"logit_bias": {"5": -100}}),
        (Completion, {"top_k": 40}),
        (Completion, {"max_tokens": 0}),
        (Completion, {"temperature": -1}),
        (Completion, {"temperature": float("inf")}),
        (Completion, {"prompt": ["one", "two"]}),
        (Completion, {"prompt": None}),
        (Chat, {"messages": []}),
        (Chat, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
        (Chat, {"tools": [{"type": "function"}]}),
        (Chat, {"logprobs": True}),
        (Chat, {"response_format": {"type": "json_object"}}),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(kind: Any, wish: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        read(kind, {"prompt": "Hello"} | wish if kind is Completion else {"messages": MESSAGES} | wish)
    assert refused.value.param == next(iter(wish))
    assert refused.value.body()["error"]["message"].startswith(refused.value.param or "?")


def test_no_value_of_the_client_is_repeated() -> None:
    with pytest.raises(Refused) as refused:
        read(Completion, {"prompt": {"secret": "words"}})
    assert "words" not in str(refused.value.body())


def test_what_changes_nothing_may_be_said() -> None:
    request = read(
        Completion,
        {"prompt": ["Hello"], "n": 1, "presence_penalty": 0.0, "logit_bias": {}, "echo": False, "user": "me"},
    )
    assert request.prompt == "Hello"


def test_stop_is_one_or_several() -> None:
    assert read(Completion, {"prompt": "x", "stop": "a"}).stops == ("a",)
    assert read(Completion, {"prompt": "x", "stop": ["a", "", "b"]}).stops == ("a", "b")
    assert read(Completion, {"prompt": "x"}).stops == ()


def test_parts_of_text_are_joined() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(Chat, {"messages": [{"role": "user", "content": content}]}).messages[0].content == "ab"
