"""Annotations of a text that was corrected."""

import json
from typing import Any

import pytest

from gateway.citations import moved
from tests.conftest import chat_chunk, chat_reply, correcting
from tests.gateway.conftest import BETTER, DRAFT, World, improve, replying, sending

URL = "https://example.org/sky"
CITED = f"{DRAFT} ({URL})"


def cites(start: int, end: int) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": URL, "title": "Sky"},
    }


def place(annotation: dict[str, Any]) -> tuple[int, int]:
    cited = annotation["url_citation"]
    return cited["start_index"], cited["end_index"]


@pytest.mark.parametrize(
    ("before", "start", "end", "after", "found"),
    [
        ("one two three", 4, 7, "two", ["two"]),
        ("a two, a two", 9, 12, "one two and then, a two", ["two"]),
        (f"See (this {URL})", 5, 9 + len(URL), f"Look at that: {URL}", [URL]),
        ("one two three", 4, 7, "three", []),
    ],
)
def test_they_follow_what_they_cite(before: str, start: int, end: int, after: str, found: list[str]) -> None:
    told = [place(one) for one in moved([cites(start, end)], before, after)]
    assert [after[first:last] for first, last in told] == found


def test_the_nearest_of_several_is_meant() -> None:
    (one,) = moved([cites(9, 12)], "a two, a two", "so a two, a two")
    assert place(one) == (12, 15)


@pytest.mark.parametrize(
    "odd", ["x", {"type": "file_citation"}, cites(3, 999), cites(0, 0), {"url_citation": {"start_index": "1"}}]
)
def test_what_has_no_place_stays_as_it_is(odd: Any) -> None:
    assert moved([odd], "one two", "two") == [odd]


async def test_an_answer_that_was_changed_has_them_where_they_belong(world: World) -> None:
    reply = chat_reply(CITED)
    at = CITED.index(URL)
    reply["choices"][0]["message"]["annotations"] = [cites(at, at + len(URL))]
    gw, _, _ = await world(replying(reply), correcting(improve))
    _, _, body = await gw.chat()
    message = body["choices"][0]["message"]
    start, end = place(message["annotations"][0])
    assert message["content"] == CITED.replace(DRAFT, BETTER)
    assert message["content"][start:end] == URL


async def test_in_a_stream_they_come_with_its_end(world: World) -> None:
    at = CITED.index(URL)
    deltas: tuple[dict[str, Any], ...] = ({"content": CITED}, {"annotations": [cites(at, at + len(URL))]})
    gw, _, _ = await world(sending(*map(chat_chunk, deltas), chat_chunk({}, "stop")), correcting(improve))
    *told, _ = await gw.stream()
    shown = [choice["delta"] for event in told for choice in json.loads(event)["choices"]]
    said = "".join(delta.get("content") or "" for delta in shown)
    ((annotation,),) = [delta["annotations"] for delta in shown if delta.get("annotations")]
    start, end = place(annotation)
    assert said[start:end] == URL
