"""An answer whose content is parts: their texts are corrected, and none restates a draft that may not be seen."""

import json
from typing import Any

import pytest

from tests.conftest import OBJECTIVES, chat_chunk, chat_reply, correcting
from tests.gateway.conftest import BETTER, DRAFT, World, improve, replying, sending
from tests.gateway.test_required import REQUIRED, texts

DRAFTS_IN_PARTS: list[Any] = [
    [DRAFT],
    [{"type": "text", "text": DRAFT, "raw": DRAFT}],
    [{"type": "output_text", "text": {"value": DRAFT}}],
    {"type": "text", "text": DRAFT},
    [{"type": "text", "text": DRAFT}, {"type": "debug", "value": DRAFT}, {"raw": DRAFT}],
]


@pytest.mark.parametrize("mode", ["full", "segment"])
@pytest.mark.parametrize("content", DRAFTS_IN_PARTS)
async def test_no_part_restates_a_draft_that_may_not_be_seen(world: World, content: Any, mode: str) -> None:
    whole = chat_reply(None)
    whole["choices"][0]["message"]["content"] = content
    gw, policy, _ = await world(replying(whole), correcting(improve), REQUIRED)
    _, _, body = await gw.chat({"X-Align-Mode": mode})
    assert DRAFT not in json.dumps(body)
    assert [part["text"] for part in body["choices"][0]["message"]["content"]] == [BETTER]
    policy.handler = sending(chat_chunk({"role": "assistant", "content": content}), chat_chunk({}, "stop"))
    events = await gw.stream({"X-Align-Mode": mode})
    assert texts(events) == BETTER
    assert DRAFT not in "".join(events)


async def test_a_text_among_them_is_corrected_whatever_its_form(world: World) -> None:
    """Where drafts may be seen, what else there is stays."""
    whole = chat_reply(None)
    whole["choices"][0]["message"]["content"] = [{"type": "text", "text": DRAFT, "own": 1}, "and more"]
    gw, _, _ = await world(replying(whole), correcting(improve), OBJECTIVES)
    _, _, body = await gw.chat()
    assert body["choices"][0]["message"]["content"] == [{"type": "text", "text": f"{BETTER}and more", "own": 1}]
