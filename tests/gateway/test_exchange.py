"""What flows: chunks, answers, and the conversation that led to them."""

from typing import Any

import pytest

from corrector.templates import Turn
from gateway import exchange
from gateway.errors import GatewayError
from gateway.exchange import ThinkingSplit, conversation, split_thinking
from gateway.streams import HeldStream
from tests.conftest import chat_chunk
from tests.gateway.test_chunks import folded
from wire.codec import dumps
from wire.errors import Malformed


def test_the_conversation_that_the_corrector_sees() -> None:
    assert conversation(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "And kind."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url"}]},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "Forty-two."},
            "not a message",
            {"role": "user", "content": "Sure?"},
        ]
    ) == (
        Turn("user", "Be brief.\nAnd kind.\n\nWhat is this?\n[image]"),
        Turn("user", "[tool] 42"),
        Turn("assistant", "Forty-two."),
        Turn("user", "Sure?"),
    )


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        ("<think>hm</think>\n\nYes", "<think>hm</think>\n\n"),
        ("\n<think>hm", "\n<think>hm"),
        ("Yes <think>", ""),
        ("Okay, the user...\n</think>\n\nYes", "Okay, the user...\n</think>\n\n"),
        ("Okay </think>", "Okay </think>"),
        ("Say <think> and </think> aloud", ""),
        ("Thinking ends in `</think>`. Yes", ""),
        ("Is `x` it? So `x`</think> It is `</think>`", "Is `x` it? So `x`</think> "),
        ("", ""),
    ],
)
def test_thinking_that_a_server_left_in_the_text(text: str, thinking: str) -> None:
    assert split_thinking(text) == (thinking, text.removeprefix(thinking))


def test_thinking_goes_on_where_a_server_tells_an_end_in_every_chunk() -> None:
    split, said = ThinkingSplit(), []
    for piece in ("<think>", "it is", " a draft</think>", "\n\nYes", "."):
        choice = {"delta": {"content": piece}, "finish_reason": "stop"}
        split.drop(choice)
        said.append(choice["delta"]["content"])  # type: ignore[index]
    assert said == ["", "", "", "Yes", "."]
    choice = {"delta": {"content": "<thi"}, "finish_reason": "stop"}
    ThinkingSplit().drop(choice)
    assert choice["delta"] == {"content": "<thi"}, "that was no thinking"


def test_text_among_parts_is_replaced_and_the_rest_stays() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    message = {"content": [{"type": "text", "text": "a", "own": 1}, image, {"type": "text", "text": "b"}]}
    assert exchange.message_text(message) == "ab"
    exchange.set_text(message, "corrected")
    assert message["content"] == [{"type": "text", "text": "corrected", "own": 1}, image]


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        (["a"], ["b"]),
        ({"type": "text", "text": "a"}, [{"type": "text", "text": "b"}]),
        (
            [{"type": "output_text", "text": {"value": "a", "annotations": []}}],
            [{"type": "output_text", "text": {"value": "b", "annotations": []}}],
        ),
    ],
)
def test_text_is_found_in_every_form(content: Any, changed: Any) -> None:
    message = {"role": "assistant", "content": content}
    held = HeldStream()
    passed = held.take(chat_chunk(message))
    assert passed is not None
    assert passed["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert held.choices[0].text == exchange.message_text(message) == "a"
    said = [chat_chunk(message), chat_chunk({"content": content}), chat_chunk({}, "stop")]
    assert exchange.message_text(folded(said)["choices"][0]["message"]) == "aa"
    exchange.set_text(message, "b")
    assert message["content"] == changed


@pytest.mark.parametrize("part", ["message", "delta"])
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("x", "x"),
        (None, None),
        (["x"], [{"type": "text", "text": "x"}]),
        ([{"type": "text", "text": "x", "raw": "x"}], [{"type": "text", "text": "x"}]),
        ([{"text": {"value": "x", "raw": "x"}}], [{"type": "text", "text": "x"}]),
        ({"type": "output_text", "text": "x", "raw": "x"}, [{"type": "output_text", "text": "x"}]),
        ([{"type": "debug", "raw": "x"}, 7], ""),
        ({"draft": "x"}, ""),
        (7, ""),
        ([{"type": "thinking", "thinking": "x", "raw": "x"}], [{"type": "thinking", "thinking": "x"}]),
        ([{"type": "image_url", "image_url": {"url": "u"}}], [{"type": "image_url", "image_url": {"url": "u"}}]),
    ],
)
def test_of_parts_only_what_is_known_is_kept(content: Any, kept: Any, part: str) -> None:
    answer = {"choices": [{"index": 0, part: {"content": content, "parsed": "x"}}]}
    assert exchange.only_known(answer) == {"choices": [{"index": 0, part: {"content": kept}}]}


@pytest.mark.parametrize("index", ["", "0", 0.5, []])
def test_an_index_is_a_number_or_nothing(index: Any) -> None:
    answer: dict[str, Any] = {"choices": [{"index": None, "message": {}}]}
    assert exchange.check(answer, "message")["choices"] == [{"index": 0, "message": {}}]
    answer["choices"][0]["index"] = index
    with pytest.raises(Malformed):
        exchange.check(answer, "message")


def test_a_part_is_text_whatever_a_server_calls_it_but_for_what_it_has_thought() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    reasoned = {"type": "reasoning", "text": "hm"}
    message = {"content": [thought, reasoned, {"type": "output_text", "text": "a"}]}
    assert exchange.message_text(message) == "a"
    exchange.drop_reasoning(message)
    assert message["content"] == [{"type": "output_text", "text": "a"}]
    held = HeldStream(drop_reasoning=True)
    said = [chat_chunk({"role": "assistant", "content": [thought]}), chat_chunk({"content": [reasoned]})]
    assert [held.take(chunk) for chunk in said][1] is None
    assert held.choices[0].text == ""


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[]", "invalid_request"),
        (dumps({"messages": []}), "missing_model"),
        (dumps({"model": 1, "messages": []}), "missing_model"),
        (dumps({"model": "m"}), "missing_messages"),
        (dumps({"model": "m", "messages": "hi"}), "missing_messages"),
        (dumps({"model": "m", "messages": [], "stream": "yes"}), "invalid_stream"),
        (dumps({"model": "m", "messages": [], "Model": "n"}), "invalid_request"),
        (dumps({"model": "m", "messages": [], "meſſageS": []}), "invalid_request"),
        (dumps({"model": "m", "messages": [], "Modalities": ["audio"]}), "invalid_request"),
    ],
)
def test_what_no_upstream_could_understand(raw: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        exchange.parse(raw, (), "")
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    ("field", "where"),
    [
        (b'"temperature": 1e400', "temperature"),
        (b'"own": {"deep": ["1e400", 1, {"x": -1E+999}]}', "own.deep[2].x"),
        (b'"align": [1e999]', "align[0]"),
    ],
)
def test_a_number_that_no_json_can_say_again(field: bytes, where: str) -> None:
    with pytest.raises(GatewayError) as caught:
        exchange.parse(b'{"model": "m", "messages": [], ' + field + b"}", (), "")
    assert (caught.value.status, caught.value.param) == (400, where)
    assert where in str(caught.value)


def test_numbers_however_large_that_json_can_say() -> None:
    own = {"own": [10**400, 1.5e308, "Infinity"]}
    assert exchange.parse(dumps({"model": "m", "messages": [], **own}), (), "").body["own"] == own["own"]
