"""An answer's chunks: held back, folded into one, or made of one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.streams import Fold, HeldStream, as_chunks
from tests.conftest import chat_chunk, chat_reply
from wire.errors import Dropped, Malformed

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    fold = Fold()
    for chunk in chunks:
        fold.take(chunk)
    return fold.reply()


@given(st.text(max_size=60), st.integers(1, 7), st.booleans())
def test_a_stream_folds_to_the_answer_that_it_spells(text: str, size: int, call: bool) -> None:
    whole = chat_reply(text)
    chunks = [chat_chunk({"role": "assistant", "content": "", "refusal": None, "annotations": []})]
    chunks += [chat_chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    if call:
        whole["choices"][0]["message"]["tool_calls"] = [CALL]
        arguments = CALL["function"]["arguments"]  # type: ignore[index]
        first = {**CALL, "index": 0, "function": {"name": "f", "arguments": ""}}
        chunks.append(chat_chunk({"tool_calls": [first]}))
        chunks += [chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": char}}]}) for char in arguments]
    chunks += [
        {**chat_chunk({}, "stop"), "service_tier": "default"},
        {**chat_chunk({}), "choices": [], "usage": whole["usage"]},
    ]
    assert folded(chunks) == whole


@given(st.text(max_size=60))
def test_an_answer_cut_into_chunks_folds_back(text: str) -> None:
    whole = chat_reply(text)
    whole["choices"][0]["message"]["tool_calls"] = [{**CALL}]
    usage = whole.pop("usage")
    assert {**folded(list(as_chunks(whole, include_usage=False))), "usage": usage} == {**whole, "usage": usage}


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}


OTHER = {**CALL, "id": "call_2"}


def named(arguments: str, **call: Any) -> dict[str, Any]:
    return {**CALL, **call, "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (
            [{"content": [{"type": "text", "text": "one "}]}, {"content": [{"type": "text", "text": "two"}]}],
            {"content": [{"type": "text", "text": "one two"}]},
        ),
        (
            [{"content": ""}, {"content": [THOUGHT]}, {"content": "one "}, {"content": "two"}],
            {"content": [THOUGHT, {"type": "text", "text": "one two"}]},
        ),
        (
            [{"tool_calls": [{**CALL, "index": None}]}, {"tool_calls": [OTHER]}],
            {"tool_calls": [CALL, OTHER]},
        ),
        (
            [
                {"tool_calls": [named('{"a"', index=None)]},
                {"tool_calls": [{"index": None, "function": {"arguments": ": 1}"}}]},
                {"tool_calls": None},
            ],
            {"tool_calls": [CALL]},
        ),
        (
            [{"tool_calls": [{**OTHER, "index": 10**5}]}, {"tool_calls": [{**CALL, "index": 3}]}],
            {"tool_calls": [CALL, OTHER]},
        ),
        (
            [{"annotations": [1], "reasoning_details": [{"text": "a"}]}, {"annotations": [2], "reasoning_details": []}],
            {"annotations": [1, 2], "reasoning_details": [{"text": "a"}]},
        ),
    ],
    ids=["parts", "text after parts", "no index", "null index", "huge index", "lists"],
)
def test_a_stream_folds_whatever_its_deltas_are(deltas: list[dict[str, Any]], message: dict[str, Any]) -> None:
    [choice] = folded([chat_chunk({"role": "assistant"}), *map(chat_chunk, deltas), chat_chunk({}, "stop")])["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, **message}


def test_what_is_said_beside_the_text_folds_too() -> None:
    """Lists go on, and what is judged in each chunk anew holds as it was judged last."""
    chunks = [chat_chunk({"content": "one "}), chat_chunk({"content": "two"}), chat_chunk({}, "stop")]
    for at, chunk in enumerate(chunks[:2]):
        chunk["choices"][0] |= {
            "logprobs": {"content": [{"token": at}], "refusal": None},
            "token_ids": [at],
            "content_filter_results": {"hate": {"severity": "safe"}},
        }
    [choice] = folded(chunks)["choices"]
    assert choice["logprobs"] == {"content": [{"token": 0}, {"token": 1}], "refusal": None}
    assert choice["token_ids"] == [0, 1]
    assert choice["content_filter_results"] == {"hate": {"severity": "safe"}}
    assert chunks[0]["choices"][0]["logprobs"]["content"] == [{"token": 0}], "what came stays as it came"


@pytest.mark.parametrize("calls", [{"0": CALL}, [1], "f"])
def test_tool_calls_that_are_none_do_not_fold(calls: Any) -> None:
    with pytest.raises(Malformed):
        folded([chat_chunk({"tool_calls": calls})])


@pytest.mark.parametrize("reasons", [("stop", "stop", "stop"), ("", "", "tool_calls")])
def test_a_reason_in_every_chunk_loses_nothing(reasons: tuple[str, ...]) -> None:
    """Ollama's and SGLang's "", and proxies that say "stop" from the first chunk on."""
    held = HeldStream()
    deltas: tuple[dict[str, Any], ...] = (
        {"tool_calls": [{"index": 0, **CALL}]},
        {"tool_calls": [{"index": 1, **CALL}]},
        {},
    )
    passed = [held.take(chat_chunk(delta, reason)) for delta, reason in zip(deltas, reasons, strict=True)]
    shown = [choice for chunk in passed if chunk for choice in chunk["choices"]]
    assert [choice["delta"]["tool_calls"][0]["index"] for choice in shown] == [0, 1]
    assert {choice["finish_reason"] for choice in shown} == {None}
    (choice,) = held.choices.values()
    assert choice.finish is not None
    assert (choice.finish["delta"], choice.finish["finish_reason"]) == ({}, reasons[-1])


def test_held_back_are_text_ends_and_usage_only() -> None:
    held = HeldStream()
    passed = [
        held.take(chunk)
        for chunk in [
            {**chat_chunk({"role": "assistant", "content": "", "refusal": None}), "usage": None},
            chat_chunk({"content": "one "}),
            chat_chunk({"tool_calls": [{"index": 0, **CALL}]}),
            {**chat_chunk({"content": "two"}, "stop"), "extra": 1},
            {**chat_chunk({}), "choices": [], "usage": {"total_tokens": 3}},
        ]
    ]
    assert passed[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}  # type: ignore[index]
    assert passed[1] is None
    assert passed[2]["choices"][0]["delta"]["tool_calls"][0]["id"] == "call_1"  # type: ignore[index]
    assert passed[3] is None
    assert passed[4] is None
    assert held.ended
    assert held.choices[0].text == "one two"
    assert held.choices[0].finish_event["extra"] == 1
    assert held.usage_events[0]["usage"] == {"total_tokens": 3}


def test_usage_beside_an_empty_delta_after_the_end_is_kept() -> None:
    held = HeldStream()
    end, late = (
        chat_chunk({}, "stop"),
        {**chat_chunk({"role": "assistant", "content": ""}), "usage": {"total_tokens": 3}},
    )
    early = {**chat_chunk({"content": "two"}), "usage": {"total_tokens": 1}}
    assert [held.take(chunk) for chunk in (chat_chunk({"content": "one "}), early, end, late)][1:] == [None] * 3
    assert [(event["choices"], event["usage"]) for event in held.usage_events] == [([], {"total_tokens": 3})]


def test_a_role_comes_first_even_where_the_upstream_has_none() -> None:
    passed = HeldStream().take(chat_chunk({"content": "hi"}))
    assert passed is not None
    assert passed["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_what_the_first_chunk_alone_has_is_told_once() -> None:
    """Fields that a client finds in each chunk it finds in each, and others where they stood."""
    held = HeldStream()
    chunks = [chat_chunk({"content": word}) | {"provider": "p", "obfuscation": word} for word in ("one ", "two ", "3")]
    chunks[0] |= {"prompt_token_ids": [1, 2], "nothing": None}
    first = held.take(chunks[0])
    assert first is not None
    assert (first["prompt_token_ids"], first["provider"], first["nothing"]) == ([1, 2], "p", None)
    assert [held.take(chunk) for chunk in chunks[1:]] == [None, None]
    said = held.text_chunk(held.choices[0], "corrected")
    assert said.keys() == {"id", "object", "created", "model", "system_fingerprint", "choices", "provider"}


def test_a_delta_that_says_nothing_but_its_text_does_not_pass() -> None:
    """vLLM and SGLang have every field in every delta."""
    held = HeldStream()
    nothing: dict[str, Any] = {"reasoning_content": None, "tool_calls": [], "refusal": ""}
    assert held.take(chat_chunk({"role": "assistant", "content": "", **nothing})) is not None
    assert held.take(chat_chunk({"content": "x", **nothing})) is None
    assert held.take(chat_chunk({"content": None, **nothing, "reasoning_content": " "})) is not None
    assert held.text_chunk(held.choices[0], "")["choices"][0]["delta"] == {"content": ""}


def test_a_stream_that_begins_with_its_end() -> None:
    held = HeldStream()
    passed = held.take(chat_chunk({"role": "assistant", "content": "hi"}, "stop"))
    assert passed is not None
    assert passed["choices"][0]["finish_reason"] is None
    assert held.ended
    assert held.choices[0].text == "hi"


@pytest.mark.parametrize("had", [False, True])
def test_done_is_an_end_that_says_no_reason(had: bool) -> None:
    held = HeldStream()
    said = chat_chunk({"content": "hi"})
    if not had:
        del said["choices"][0]["logprobs"]
    else:
        said["choices"][0]["logprobs"] = {"content": []}
    held.take(said)
    held.take(chat_chunk({"content": "ho"}, "stop", index=1))
    with pytest.raises(Dropped):
        held.end(done=False)
    [choice] = held.end(done=True)
    assert choice.finish == {"index": 0, "delta": {}, "finish_reason": None, **({"logprobs": None} if had else {})}
    assert held.ended
    with pytest.raises(Dropped):
        HeldStream().end(done=True)


def test_a_stream_without_a_choice_ends_with_done_only() -> None:
    held = HeldStream()
    held.take({**chat_chunk({}), "choices": []})
    with pytest.raises(Dropped):
        held.end(done=False)
    assert held.end(done=True) == []


def test_what_an_unstreamed_choice_has_is_told_once_in_a_stream_of_it() -> None:
    whole = chat_reply("hi")
    whole["choices"][0] |= {"logprobs": {"content": [{"token": "hi"}]}, "own": 1}
    second = {**whole["choices"][0]}
    del second["index"]
    whole["choices"].append(second)
    chunks = [chunk["choices"][0] for chunk in as_chunks(whole, include_usage=False)]
    assert [("logprobs" in one, "own" in one) for one in chunks] == [(True, True), (False, False)] * 2
    assert [one["index"] for one in chunks] == [0, 0, 1, 1]
    assert chunks[1] == {"index": 0, "delta": {}, "finish_reason": "stop"}
