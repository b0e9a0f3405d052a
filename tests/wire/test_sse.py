"""Events in and out, whatever the network does to their bytes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import sse
from wire.codec import loads
from wire.sse import Decoder, Event

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=40)


def decoded(chunks: list[bytes]) -> list[Event]:
    decoder = Decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.close()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(borders)]


@given(
    st.lists(st.tuples(st.sampled_from(["data: ", "data:", ": ", "event: ", "id: ", ""]), TEXT), max_size=20),
    st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=20, max_size=20),
    st.lists(st.integers(min_value=0), max_size=12),
)
def test_cut_anywhere_the_events_are_the_same(lines: list[tuple[str, str]], ends: list[str], places: list[int]) -> None:
    stream = "".join(name + text + end for (name, text), end in zip(lines, ends, strict=False)).encode()
    assert decoded(cut(stream, places)) == decoded([stream])


def test_one_byte_at_a_time() -> None:
    stream = "data: grün\r\n\r\ndata: 👋\r\rdata: x\n\n".encode()
    assert decoded([stream[i : i + 1] for i in range(len(stream))]) == [Event("grün"), Event("👋"), Event("x")]


@pytest.mark.parametrize("text", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\ufeff"])
def test_only_line_ends_end_lines(text: str) -> None:
    assert decoded([f"data: a{text}b\n\n".encode()]) == [Event(f"a{text}b")]


def test_comments_ids_and_retries_are_not_events() -> None:
    assert decoded([b": hello\n\nid: 3\nretry: 10\n\ndata: x\nid: 4\n\n"]) == [Event("x")]


def test_several_data_lines_are_one_event() -> None:
    assert decoded([b"data: a\ndata: b\nevent: note\n\n"]) == [Event("a\nb")]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_a_mark_of_the_byte_order_is_taken_off_once(size: int) -> None:
    mark = "\ufeff".encode()
    stream = mark + b"data: x\n\n" + mark + b"data: no event\n\ndata: " + mark + b"y\n\n"
    assert decoded(cut(stream, list(range(0, len(stream), size)))) == [Event("x"), Event("\ufeffy")]
    assert decoded(cut(mark + b"data: x", list(range(0, 10, size)))) == [Event("x")]


def test_only_one_space_is_taken_off() -> None:
    assert decoded([b"data:  two\n\ndata:none\n\n"]) == [Event(" two"), Event("none")]


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert decoded([b"data: x\n\ndata: [DONE]"]) == [Event("x"), Event("[DONE]")]


@given(st.dictionaries(TEXT, TEXT | st.integers() | st.none()))
def test_what_is_encoded_comes_out(value: dict[str, object]) -> None:
    [event] = decoded([sse.encode(value)])
    assert loads(event.data) == value
