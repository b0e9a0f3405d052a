"""From an answer to the trail: what is kept of it, and that nothing waits for it."""

import asyncio
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.entries import row_of
from gateway.audit.search import Wanted
from gateway.audit.trail import Trail, expired
from gateway.config import AuditOptions
from gateway.exchange import ChatRequest
from gateway.record import Record
from gateway.telemetry import Metrics
from tests.conftest import OBJECTIVES, Gateway, chat_chunk, chat_reply, correcting, saying
from tests.gateway.audit.conftest import row
from tests.gateway.conftest import BETTER, DRAFT, World, improve, replying, sending, soon

ASKED = "Write to ada@example.org, will you?"


def auditing(level: str, **more: Any) -> str:
    told = {"keys": "none", "objectives": "default", "allow_off": True, "audit": level, **more}
    return OBJECTIVES.replace("{keys: none, objectives: default, allow_off: true}", json.dumps(told))


async def kept(gw: Gateway) -> list[dict[str, Any]]:
    """The trail's rows whole, the oldest first."""
    trail = gw.app.state.trail
    await trail.flush()
    store = await trail.store()
    return [row async for row in store.each(Wanted())]


def asking(text: str = ASKED, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_leaves_its_figures(world: World, stream: bool) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    headers = {"X-Request-Id": "mine"}
    await (gw.stream(headers, **asking()) if stream else gw.chat(headers, **asking()))
    (row,) = await kept(gw)
    told = {name: row[name] for name in ("request_id", "tenant", "policy", "served_by", "corrector", "mode", "stream")}
    assert told == {
        "request_id": "mine", "tenant": "public", "policy": "m", "served_by": "m", "corrector": "c", "mode": "full",
        "stream": stream,
    }  # fmt: skip
    assert (row["status"], row["verdict"], row["reason"], row["error"]) == (200, "corrected", "rewritten", None)
    assert row["objectives"] == ["helpfulness"]
    assert row["configuration"] == hashlib.sha256(gw.policies.read_bytes() + gw.objectives.read_bytes()).hexdigest()
    assert 0 < row["changed"] < 1
    assert 0 < row["policy_ms"] < row["total_ms"]
    assert row["corrector_ms"] > 0
    assert row["corrector_tokens"] == 3
    assert (row["context"], row["descriptions"], row["choices"]) == (None, None, [])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tenant_that_says_so_keeps_the_texts(world: World, stream: bool) -> None:
    gw, _, _ = await world(objectives=auditing("full"))
    await (gw.stream(**asking()) if stream else gw.chat(**asking()))
    (row,) = await kept(gw)
    assert row["context"] == [{"role": "user", "text": ASKED}]
    assert row["descriptions"] == {
        "helpfulness": ["Helpfulness", "The response should provide useful resources and suggestions to the user"]
    }
    (choice,) = row["choices"]
    assert (choice["draft"], choice["correction"], choice["verdict"]) == (DRAFT, BETTER, "corrected")


async def test_nothing_is_kept_unless_the_tenant_says_so(world: World) -> None:
    gw, _, _ = await world()
    await gw.chat()
    await asyncio.sleep(0.05)
    assert await kept(gw) == []


async def test_what_is_to_be_taken_out_is_taken_out(world: World) -> None:
    draft = "Ask ada@example.org about Project Bluebird, in the air."
    redact = ["email", {"pattern": "(?i)project \\w+"}]
    gw, _, _ = await world(saying(draft), objectives=auditing("full", redact=redact))
    _, _, body = await gw.chat(**asking())
    assert "ada@example.org" in body["choices"][0]["message"]["content"]
    (row,) = await kept(gw)
    assert row["context"][0]["text"] == "Write to [redacted], will you?"
    assert row["choices"][0]["draft"] == "Ask [redacted] about [redacted], in the air."
    assert "example.org" not in json.dumps(row["choices"] + row["context"])


@pytest.mark.parametrize("stream", [False, True])
async def test_turning_alignment_off_does_not_get_round_the_trail(world: World, stream: bool) -> None:
    gw, _, _ = await world(objectives=auditing("full"))
    headers = {"X-Align-Mode": "off"}
    await (gw.stream(headers) if stream else gw.chat(headers))
    (row,) = await kept(gw)
    assert (row["mode"], row["verdict"], row["reason"]) == ("off", "skipped", "mode_off")
    (choice,) = row["choices"]
    assert (choice["draft"], choice["correction"]) == (DRAFT, None)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_shadow_leaves_what_would_have_been_sent(world: World, stream: bool) -> None:
    gw, _, _ = await world(objectives=auditing("full"))
    headers = {"X-Align-Mode": "shadow"}
    await (gw.stream(headers) if stream else gw.chat(headers))
    await soon(lambda: gw.app.state.trail.queued > 0)
    (row,) = await kept(gw)
    assert (row["mode"], row["verdict"], row["reason"]) == ("shadow", "corrected", "rewritten")
    assert row["corrector_ms"] > 0
    (choice,) = row["choices"]
    assert (choice["draft"], choice["correction"]) == (DRAFT, BETTER)


async def test_a_failure_is_kept_too(world: World) -> None:
    gw, _, _ = await world(replying({"error": {"message": "no"}}, 400), objectives=auditing("full"))
    await gw.chat()
    (row,) = await kept(gw)
    assert (row["status"], row["error"], row["verdict"]) == (400, "upstream_error", "-")
    assert row["choices"] == []


async def test_a_wish_that_is_refused_is_kept_too(world: World) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    await gw.chat({"X-Align-Objectives": "nonsense"})
    (row,) = await kept(gw)
    assert (row["tenant"], row["status"], row["error"]) == ("public", 400, "unknown_objective")


async def test_every_choice_is_kept(world: World) -> None:
    body = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "x",
        "choices": [
            {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for n, text in enumerate([DRAFT, "Clouds are white."])
        ],
    }  # fmt: skip
    gw, _, _ = await world(replying(body), objectives=auditing("full"))
    await gw.chat()
    (row,) = await kept(gw)
    assert [(one["choice"], one["draft"], one["verdict"]) for one in row["choices"]] == [
        (0, DRAFT, "corrected"),
        (1, "Clouds are white.", "unchanged"),
    ]


async def test_a_text_that_a_database_cannot_hold_is_kept_as_far_as_it_can(world: World) -> None:
    gw, _, _ = await world(saying("a \x00 b"), correcting(str), objectives=auditing("full"))
    await gw.chat(**asking("half \ud83d of a smile \x00"))
    (row,) = await kept(gw)
    assert row["choices"][0]["draft"] == "a \ufffd b"
    assert row["context"][0]["text"] == "half ? of a smile \ufffd"


async def test_an_orderly_stop_loses_nothing(world: World, tmp_path: Path) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    await asyncio.gather(*[gw.chat() for _ in range(20)])
    assert gw.app.state.trail.queued > 0
    await gw.app.state.trail.aclose(5)
    assert gw.app.state.trail.queued == 0
    assert len(await kept(gw)) == 20


class Log:
    def __init__(self) -> None:
        self.events: list[str] = []

    def error(self, event: str, **told: Any) -> None:
        self.events.append(event)

    warning = info = error


def entry(gw: Gateway, request_id: str = "r") -> Record:
    made = Record(request_id=request_id)
    made.rules = gw.app.state.reloader.snapshot.config.objectives.tenants["public"]
    return made


async def test_what_the_queue_has_no_room_for_is_dropped_and_counted(world: World, tmp_path: Path) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    metrics = Metrics()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/few.db", queue=3), metrics, Log())
    for number in range(5):
        trail.settle(entry(gw, f"r{number}"))
    await trail.flush()
    rows = await (await trail.store()).search(Wanted())
    assert [row["request_id"] for row in rows] == ["r2", "r1", "r0"]
    told = metrics.exposition().decode()
    assert 'metaaligner_audit_rows_total{result="dropped"} 2.0' in told
    assert 'metaaligner_audit_rows_total{result="written"} 3.0' in told
    await trail.aclose(1)


async def test_what_a_row_does_not_keep_takes_no_place_of_others(world: World, tmp_path: Path) -> None:
    """A request of pictures, of which the row says that it came."""
    gw, _, _ = await world(objectives=auditing("metadata"))
    (tmp_path / "away").write_text("")
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/away/audit.db"), Metrics(), Log())
    for number in range(50):
        made = entry(gw, f"r{number}")
        made.asked = ChatRequest(b"", 2_000_000, {"model": "m", "messages": []}, None, {}, (), "")
        trail.settle(made)
    assert trail.queued == 50
    await trail.aclose(0.05)


async def test_what_is_lost_at_a_stop_is_said(world: World, tmp_path: Path) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    (tmp_path / "away").write_text("")
    log = Log()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/away/audit.db"), Metrics(), log)
    trail.settle(entry(gw))
    await trail.aclose(0.05)
    assert log.events[-1] == "audit.lost"


@pytest.mark.parametrize(("named", "left"), [(True, ["d", "c"]), (False, ["d", "c", "b"])])
async def test_what_is_older_than_its_tenant_says_goes(world: World, named: bool, left: list[str]) -> None:
    gw, _, _ = await world(objectives=auditing("metadata", retention_days=7))
    store = await gw.app.state.trail.store()
    old = [row("a", tenant="public", days_ago=8), row("b", tenant="gone", days_ago=31)]
    await store.write([*old, row("c", tenant="public", days_ago=6), row("d", tenant="gone", days_ago=29)])
    await expired(store, gw.app.state.reloader.snapshot.config.objectives.tenants, named=named)
    assert [one["request_id"] for one in await store.search(Wanted())] == left


@pytest.mark.parametrize("named", [False, True])
async def test_a_file_that_nobody_has_named_may_be_another_gateways_too(
    world: World, tmp_path: Path, named: bool
) -> None:
    """Which keeps the answers of its tenant `acme` for a year; there is no tenant of that name here."""
    options = AuditOptions(url=f"sqlite:///{tmp_path}/mine.db") if named else AuditOptions()
    trail = Trail(options, Metrics(), Log())
    store = await trail.store()
    await store.write([row("theirs", tenant="acme", days_ago=40), row("old", tenant="public", days_ago=40)])
    gw, _, _ = await world()
    tenants = gw.app.state.reloader.snapshot.config.objectives.tenants
    async with trail.purging(lambda: tenants):
        while "old" in (left := [one["request_id"] for one in await store.search(Wanted())]):
            await asyncio.sleep(0.01)
    left = [one["request_id"] for one in await store.search(Wanted())]
    assert left == ([] if named else ["theirs"])
    await trail.aclose(1)


@pytest.mark.parametrize("level", ["metadata", "full"])
async def test_what_a_client_calls_its_objectives_is_a_text(world: World, level: str) -> None:
    gw, _, _ = await world(objectives=auditing(level))
    await gw.chat({"X-Align-Define": "my-secret=The response should rhyme"})
    (row,) = await kept(gw)
    assert row["objectives"] == ["helpfulness", "my-secret" if level == "full" else "(defined)"]


async def test_who_hangs_up_leaves_the_draft_that_he_has_read(world: World) -> None:
    gw, _, _ = await world(corrector=correcting(improve, pause_s=0.05), objectives=auditing("full"))
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    async with gw.client.post(f"{gw.url}/v1/chat/completions", json=body) as response:
        async for chunk in response.content.iter_any():
            if b"sky" in chunk:
                break
    await soon(lambda: gw.app.state.trail.queued > 0)
    (row,) = await kept(gw)
    assert (row["status"], row["error"]) == (499, "client_gone")
    assert [choice["draft"] for choice in row["choices"]] == [DRAFT]


@pytest.mark.parametrize("mode", ["full", "shadow", "off"])
@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_is_no_draft(world: World, mode: str, stream: bool) -> None:
    gw, _, _ = await world(saying(f"<think>hm</think>{DRAFT}"), objectives=auditing("full", reasoning="drop"))
    headers = {"X-Align-Mode": mode}
    await (gw.stream(headers) if stream else gw.chat(headers))
    await soon(lambda: gw.app.state.trail.queued > 0)
    (row,) = await kept(gw)
    assert [choice["draft"] for choice in row["choices"]] == [DRAFT]


async def test_choices_of_a_stream_keep_their_numbers(world: World) -> None:
    events = [chat_chunk({"content": DRAFT}, index=0), chat_chunk({"content": "Short."}, index=1)]
    events += [chat_chunk({}, "stop", index=1), chat_chunk({}, "stop", index=0)]
    gw, _, _ = await world(sending(*events), objectives=auditing("full"))
    await gw.stream()
    (row,) = await kept(gw)
    assert [(choice["choice"], choice["draft"]) for choice in row["choices"]] == [(0, DRAFT), (1, "Short.")]


async def test_a_count_that_no_database_holds_stops_no_trail(world: World) -> None:
    gw, policy, _ = await world(objectives=auditing("metadata"))
    policy.handler = replying({**chat_reply(DRAFT), "usage": {"completion_tokens": 10**30}})
    await gw.chat()
    await gw.chat({"X-Request-Id": "after"})
    rows = await kept(gw)
    assert [row["policy_tokens"] for row in rows] == [2**31 - 1] * 2


async def test_a_row_that_nobody_can_keep_is_dropped_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))

    def poisoned(record: Record) -> dict[str, Any]:
        told = row_of(record)
        return {**told, "total_ms": object()} if record.request_id == "r1" else told

    monkeypatch.setattr("gateway.audit.trail.row_of", poisoned)
    log = Log()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/some.db"), Metrics(), log)
    for number in range(3):
        trail.settle(entry(gw, f"r{number}"))
    await trail.flush()
    assert [row["request_id"] for row in await (await trail.store()).search(Wanted())] == ["r2", "r0"]
    assert log.events == ["audit.refused"]
    await trail.aclose(1)


async def test_what_comes_after_the_end_is_counted_as_dropped(world: World, tmp_path: Path) -> None:
    gw, _, _ = await world(objectives=auditing("metadata"))
    metrics = Metrics()
    trail = Trail(AuditOptions(url=f"sqlite:///{tmp_path}/some.db"), metrics, Log())
    await trail.aclose(1)
    trail.settle(entry(gw))
    assert 'metaaligner_audit_rows_total{result="dropped"} 1.0' in metrics.exposition().decode()


async def test_retention_goes_on_where_nothing_is_kept_any_more(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And on: not only when it starts."""
    monkeypatch.setattr("gateway.audit.trail.PURGE_EVERY_S", 0.05)
    trail = Trail(AuditOptions(), Metrics(), Log())
    assert not trail.keeps
    store = await trail.store()
    await store.write([row(days_ago=31, tenant="public")])
    gw, _, _ = await world()

    def purged(times: int) -> bool:
        return [line["event"] for line in gw.lines].count("audit.purged") == times

    for times in (1, 2):
        await soon(partial(purged, times))
        await store.write([row(f"r{times}", days_ago=31, tenant="public")])
    await trail.aclose(1)
