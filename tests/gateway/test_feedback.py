"""What people think of an answer: of their own tenant's only."""

import asyncio
from typing import Any

import pytest

from gateway.audit.search import Wanted
from gateway.audit.trail import Trail
from tests.conftest import OBJECTIVES, Gateway
from tests.gateway.conftest import World

TENANTS = """
  public: {keys: none, objectives: default, audit: metadata, redact: [email]}
  acme: {keys: [{env: ACME_KEY}], audit: full}
  silent: {keys: [{env: SILENT_KEY}]}
"""
AUDITED = OBJECTIVES.partition("  public:")[0] + TENANTS.lstrip("\n")
ACME, SILENT = {"Authorization": "Bearer acme-key"}, {"Authorization": "Bearer silent-key"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "acme-key")
    monkeypatch.setenv("SILENT_KEY", "silent-key")


async def say(gw: Gateway, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, Any]:
    async with gw.client.post(f"{gw.url}/v1/feedback", json=body, headers=headers) as response:
        return response.status, await response.json()


async def judged(gw: Gateway) -> list[dict[str, Any]]:
    store = await gw.app.state.trail.store()
    return [one async for row in store.each(Wanted()) for one in row["feedback"]]


async def test_feedback_on_ones_own_answer_is_kept(world: World) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    _, headers, _ = await gw.chat()
    told: dict[str, Any] = {"choice": "correction", "objective": "helpfulness", "comment": "Ask ada@example.org"}
    status, body = await say(gw, request_id=headers["X-Request-Id"], **told)
    assert (status, body["object"]) == (200, "feedback")
    (one,) = await judged(gw)
    assert (one["choice"], one["objective"], one["by"]) == ("correction", "helpfulness", "client")
    assert one["comment"] == "Ask [redacted]"


async def test_feedback_on_somebody_elses_answer_is_not(world: World) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    _, headers, _ = await gw.chat(ACME)
    status, body = await say(gw, request_id=headers["X-Request-Id"], choice="tie")
    assert (status, body["error"]["code"]) == (404, "unknown_request")
    assert await judged(gw) == []


async def test_where_nothing_is_kept_there_is_no_feedback(world: World) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    _, headers, _ = await gw.chat(SILENT)
    status, body = await say(gw, SILENT, request_id=headers["X-Request-Id"], choice="tie")
    assert (status, body["error"]["code"]) == (404, "unknown_request")


@pytest.mark.parametrize(
    ("told", "param"),
    [
        ({}, "choice"),
        ({"choice": "better"}, "choice"),
        ({"choice": "tie", "objective": "humour"}, "objective"),
        ({"choice": "tie", "comment": 7}, "comment"),
        ({"choice": "tie", "comment": "x" * 2001}, "comment"),
        ({"choice": "tie", "rating": 5}, None),
        ({"choice": "tie", "request_id": 7}, "request_id"),
    ],
    ids=str,
)
async def test_what_it_cannot_say_is_told(world: World, told: dict[str, Any], param: str | None) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    _, headers, _ = await gw.chat()
    status, body = await say(gw, **{"request_id": headers["X-Request-Id"], **told})
    assert (status, body["error"]["param"]) == (400, param)
    assert await judged(gw) == []


async def test_a_database_that_hangs_keeps_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("gateway.surfaces.feedback.TRAIL_S", 0.05)
    monkeypatch.setattr(Trail, "settled", hangs)
    gw, _, _ = await world(objectives=AUDITED, max_in_flight=1)
    status, body = await say(gw, request_id="x", choice="tie")
    assert (status, body["error"]["code"]) == (503, "audit_unavailable")
    assert (await gw.chat())[0] == 200


async def test_nobody_judges_without_a_key(world: World) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    status, body = await say(gw, {"Authorization": "Bearer wrong"}, request_id="x", choice="tie")
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")


async def test_an_id_that_no_database_can_hold_is_unknown(world: World) -> None:
    gw, _, _ = await world(objectives=AUDITED)
    status, body = await say(gw, request_id="\ud800 \x00", choice="tie")
    assert (status, body["error"]["code"]) == (404, "unknown_request")
