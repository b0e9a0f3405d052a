"""What the console's page asks: for anybody who may call, and for admins."""

import asyncio
import json
import os
from typing import Any

import pytest

from gateway.admin import KEY_ENV, Admin, made_up_key
from tests.conftest import OBJECTIVES, Gateway, correcting, saying
from tests.gateway.conftest import BETTER, DRAFT, World
from wire import sse

ADMIN = {"X-Admin-Key": "secret"}
FULL = OBJECTIVES.replace("allow_off: true}", "allow_off: true, audit: full}")


@pytest.fixture(autouse=True)
def _admin_key(_own_state: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "secret")


async def ask(
    gw: Gateway, path: str, method: str = "GET", *, headers: dict[str, str] | None = None, **body: Any
) -> Any:
    """Status and JSON."""
    url, told = f"{gw.url}{path}", ADMIN if headers is None else headers
    async with gw.client.request(method, url, json=body if method != "GET" else None, headers=told) as response:
        return response.status, await response.json()


async def events(gw: Gateway, path: str, **body: Any) -> list[dict[str, Any]]:
    decoder, found = sse.Decoder(), []
    async with gw.client.post(f"{gw.url}{path}", json=body, headers=ADMIN) as response:
        assert response.content_type == "text/event-stream"
        found = decoder.feed(await response.read()) + decoder.close()
    assert found.pop().data == "[DONE]"
    return [json.loads(event.data) for event in found]


async def test_the_page_and_its_files(world: World) -> None:
    gw, _, _ = await world()
    for path, kind in (("/", "text/html"), ("/console", "text/html"), ("/console/static/main.js", "text/javascript")):
        async with gw.client.get(f"{gw.url}{path}") as response:
            assert (response.status, response.content_type) == (200, kind)
            assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
            tag = response.headers["ETag"]
    async with gw.client.get(f"{gw.url}/console/static/main.js", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    for missing in ("none.js", "..%2Fcli.py"):
        status, body = await ask(gw, f"/console/static/{missing}")
        assert (status, body["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(("path", "target"), [("/", "console"), ("/console/", "../console")])
async def test_the_way_to_the_page_names_no_host(world: World, path: str, target: str) -> None:
    """Which a proxy knows by another name, as it may the path before it and the scheme."""
    gw, _, _ = await world()
    async with gw.client.get(f"{gw.url}{path}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, target)


async def test_what_a_tenant_may_choose(world: World) -> None:
    objectives = OBJECTIVES.replace("allow_off: true", "required: [harmlessness], allow: [kids], define: false")
    gw, _, _ = await world(objectives=objectives)
    _, told = await ask(gw, "/v1/objectives")
    assert {one["id"]: (one["required"], one["default"]) for one in told["data"]} == {
        "harmlessness": (True, False), "helpfulness": (False, True), "humour": (False, False),
    }  # fmt: skip
    assert told["sets"] == {"default": ["helpfulness"], "kids": ["harmlessness", "humour"]}
    assert told["may"] == {"define": False, "off": False, "draft": False}
    assert (told["tenant"], told["audit"], told["mode"]) == ("public", "off", "full")


async def test_two_texts_are_compared(world: World) -> None:
    gw, _, _ = await world()
    _, told = await ask(gw, "/console/api/diff", "POST", before="It is blue.", after="It is very blue.")
    assert told["diff"] == [["=", "It is"], ["+", " very"], ["=", " blue."]]
    assert told["changed"] == pytest.approx(1 / 7, abs=1e-4)
    status, _ = await ask(gw, "/console/api/diff", "POST", before="a" * 400_001, after="")
    assert status == 413


def test_a_key_that_is_given_is_not_made_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made_up_key() is None
    monkeypatch.delenv(KEY_ENV)
    assert Admin.of_environment().state == "off"
    made = made_up_key()
    assert made is not None
    assert len(made) > 20
    assert made == os.environ[KEY_ENV]
    assert Admin.of_environment().state == "key"


ADMINS = [
    ("GET", "/console/api/live"),
    ("GET", "/console/api/audit"),
    ("GET", "/console/api/audit/compare"),
    ("GET", "/console/api/audit/1"),
    ("POST", "/console/api/audit/1/feedback"),
    ("GET", "/console/api/objectives"),
    ("POST", "/console/api/objectives/preview"),
    ("PUT", "/console/api/objectives/length"),
]


async def test_nothing_of_an_admins_is_anybody_elses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gw, _, _ = await world(objectives=FULL)
    for method, path in ADMINS:
        for wrong in ({}, {"X-Admin-Key": "secre"}, {"Authorization": "Bearer secret"}):
            status, body = await ask(gw, path, method, headers=wrong)
            assert (status, body["error"]["code"]) == (401, "admin_key_required"), path
    assert (await ask(gw, "/console/api/about"))[1]["admin"] == "key"
    status, told = await ask(gw, "/console/api/objectives")
    assert (status, told["writable"]) == (200, True)
    console = [route.path for route in gw.app.routes if route.path.startswith("/console/api/")]
    known = {"/console/api/about", "/console/api/diff"}
    assert len(set(console) - known) == len(ADMINS)


async def test_without_a_key_nobody_is_admin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV)
    gw, _, _ = await world(objectives=FULL)
    for method, path in ADMINS:
        status, body = await ask(gw, path, method)
        assert (status, body["error"]["code"]) == (403, "admin_off"), path
    assert (await ask(gw, "/console/api/about"))[1]["admin"] == "off"


async def test_what_is_going_on(world: World) -> None:
    gw, _, _ = await world(objectives=FULL)
    await gw.chat()
    await gw.chat({"X-Align-Mode": "off"})
    gw.objectives.write_text("objectives: [")
    await gw.chat()
    await gw.app.state.trail.flush()
    _, told = await ask(gw, "/console/api/live")
    assert told["requests"] == 3
    assert told["verdicts"] == {"corrected": 2, "skipped": 1}
    assert told["statuses"] == {"200": 3}
    assert told["engines"] == {"corrector c": "up"}
    assert told["audit"] == {"written": 3, "dropped": 0, "queued": 0}
    assert told["latency"]["policy"]["count"] == 3
    buckets = told["latency"]["corrector"]["buckets"]
    assert buckets[-1] == [None, 2]
    assert [n for _, n in buckets] == sorted(n for _, n in buckets)
    assert told["reloads"]["rejected"] == 1
    assert "objectives.yaml" in told["reloads"]["last"][-1]["error"]


async def test_the_trail_is_looked_through(world: World) -> None:
    gw, _, _ = await world(objectives=FULL)
    for number in range(3):
        await gw.chat({"X-Request-Id": f"r{number}"})
    _, page = await ask(gw, "/console/api/audit?limit=2&verdict=corrected&tenant=public&q=sky")
    assert [row["request_id"] for row in page["rows"]] == ["r2", "r1"]
    assert (page["tenants"], page["policies"]) == (["public"], ["m"])
    _, rest = await ask(gw, f"/console/api/audit?limit=2&before={page['next']}")
    assert ([row["request_id"] for row in rest["rows"]], rest["next"]) == (["r0"], None)
    _, row = await ask(gw, f"/console/api/audit/{page['rows'][0]['id']}")
    assert row["context"] == [{"role": "user", "text": "Why?"}]
    (choice,) = row["choices"]
    assert (choice["index"], choice["draft"], choice["correction"]) == (0, DRAFT, BETTER)
    assert "".join(text for kind, text in choice["diff"] if kind != "-") == BETTER
    for bad in ("before=x", "limit=0", "since=yesterday"):
        status, body = await ask(gw, f"/console/api/audit?{bad}")
        assert (status, body["error"]["code"]) == (400, "invalid_request"), bad
    assert (await ask(gw, "/console/api/audit/99999999999999999999"))[0] == 404


async def test_an_admin_says_which_is_better(world: World) -> None:
    gw, _, _ = await world(objectives=FULL)
    await gw.chat()
    await gw.chat({"X-Align-Mode": "shadow"})
    await asyncio.sleep(0.1)
    _, page = await ask(gw, "/console/api/audit")
    id_ = page["rows"][-1]["id"]
    _, told = await ask(gw, f"/console/api/audit/{id_}/feedback", "POST", choice="draft", comment="shorter")
    assert [(one["choice"], one["by"], one["comment"]) for one in told["feedback"]] == [("draft", "console", "shorter")]
    assert (await ask(gw, "/console/api/audit/999/feedback", "POST", choice="draft"))[0] == 404
    _, told = await ask(gw, "/console/api/audit/compare?tenant=public")
    full, shadow = told["arms"]
    assert (full["mode"], full["answers"], full["feedback"]["draft"]) == ("full", 1, 1)
    assert (shadow["mode"], shadow["answers"], shadow["verdicts"]) == ("shadow", 1, {"corrected": 1})


async def test_a_change_is_tried_on_the_last_answers(world: World) -> None:
    gw, _, corrector = await world(objectives=FULL)
    await gw.chat()
    corrector.handler = correcting(lambda text: text.replace("sky", "heaven"))
    told = await events(gw, "/console/api/objectives/preview", key="helpfulness", description="Be poetic", count=2)
    (one,) = told
    assert (one["index"], one["of"], one["question"], one["tenant"]) == (0, 1, "Why?", "public")
    assert (one["draft"], one["before"]) == (DRAFT, {"text": BETTER, "verdict": "corrected"})
    assert one["after"]["text"] == DRAFT.replace("sky", "heaven")
    assert "Helpfulness: Be poetic | " in corrector.last["prompt"]
    assert gw.app.state.reloader.snapshot.config.objectives.objectives["helpfulness"].description != "Be poetic"


async def test_a_change_is_tried_with_as_little_left_as_the_answers_other_objectives_allow(world: World) -> None:
    brief = "humour: {name: Humour, description: The response should be one joke, min_ratio: 0.1}\nsets:"
    objectives = FULL.replace("humour: The response should be cheerful and amusing\nsets:", brief)
    long = saying(
        f"{DRAFT} Others say that it is for quite another reason. Nobody has yet asked the sky what it thinks."
    )
    gw, _, _ = await world(long, correcting(lambda text: text.partition(". ")[0] + "."), objectives)
    gw.policies.write_text(gw.policies.read_text().replace("template:", "gate: {min_ratio: 0.6}, template:"))
    change = {"key": "rhyme", "description": "Rhyme"}
    for asked, reason in (("helpfulness", "too_short"), ("humour", "rewritten")):
        await gw.chat({"X-Align-Objectives": asked})
        (one,) = await events(gw, "/console/api/objectives/preview", **change, count=1)
        assert one["after"]["reason"] == reason


async def test_a_change_is_tried_on_what_the_page_has_shown_where_nothing_is_kept(world: World) -> None:
    gw, _, corrector = await world()
    assert await events(gw, "/console/api/objectives/preview", key="rhyme", description="Rhyme") == [{"of": 0}]
    shown = {
        "messages": [{"role": "user", "content": "Why?"}],
        "draft": DRAFT,
        "correction": DRAFT,
        "verdict": "unchanged",
    }
    answers = [{**shown, "objectives": ["humour"], "policy": "m"}, {"draft": 7}, {**shown, "policy": "none"}]
    (one,) = await events(gw, "/console/api/objectives/preview", key="rhyme", description="Rhyme", answers=answers)
    assert one["after"]["text"] == BETTER
    assert "Humour: " in corrector.last["prompt"]
    assert "Rhyme: Rhyme | " in corrector.last["prompt"]


async def test_a_description_is_saved_and_in_force_at_once(world: World) -> None:
    gw, _, corrector = await world(objectives="# ours\n" + FULL.lstrip())
    _, told = await ask(gw, "/console/api/objectives")
    change = {"description": "Be poetic", "version": told["version"]}
    _, shown = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change, dry_run=True)
    assert "+  helpfulness: Be poetic" in shown["diff"]
    assert "Be poetic" not in gw.objectives.read_text()
    _, saved = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change)
    assert saved["diff"] == shown["diff"]
    assert gw.objectives.read_text().startswith("# ours\n")
    await gw.chat()
    assert "Helpfulness: Be poetic | " in corrector.last["prompt"]
    status, body = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change)
    assert (status, body["error"]["code"]) == (409, "changed_meanwhile")


@pytest.mark.parametrize(
    ("key", "description", "fault"),
    [
        ("helpfulness", "", "description"),
        ("helpfulness", "a; b", "the description of 'helpfulness' may not hold ';'"),
        ("helpfulness", "x" * 2001, "the description of 'helpfulness' must have 1 to 2000 characters"),
        ("a%20b", "x", "letters, digits"),
    ],
)
async def test_what_would_not_be_valid_is_not_saved(world: World, key: str, description: str, fault: str) -> None:
    gw, _, _ = await world()
    before = gw.objectives.read_bytes()
    _, told = await ask(gw, "/console/api/objectives")
    change = {"description": description, "version": told["version"]}
    status, body = await ask(gw, f"/console/api/objectives/{key}", "PUT", **change)
    assert (status, body["error"]["code"]) == (400, "invalid_objectives")
    assert body["error"]["param"] in (None, "description"), "a field of this request"
    assert fault in body["error"]["message"]
    assert gw.objectives.read_bytes() == before


async def test_what_a_file_may_say_can_be_saved_here_too(world: World) -> None:
    gw, _, _ = await world()
    _, told = await ask(gw, "/console/api/objectives")
    change = {"description": "x" * 2000, "version": told["version"]}
    assert (await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change))[0] == 200


async def test_nothing_is_saved_that_would_not_be_in_force(world: World) -> None:
    """A file that is broken beside it keeps every save out, and what it shows is not what the file says."""
    gw, _, _ = await world()
    good = gw.policies.read_text()
    gw.policies.write_text(good.replace("policies:", "policys:"))
    _, told = await ask(gw, "/console/api/objectives")
    change = {"description": "x", "version": told["version"]}
    before = gw.objectives.read_bytes()
    status, body = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change)
    assert (status, body["error"]["code"], "policys" in body["error"]["message"]) == (400, "invalid_objectives", True)
    assert gw.objectives.read_bytes() == before
    gw.objectives.write_bytes(before.replace(b"cheerful", b"cheery"))  # by hand, and not in force either
    _, again = await ask(gw, "/console/api/objectives")
    assert again["version"] == told["version"], "of what is shown"
    status, body = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change)
    assert (status, "policys" in body["error"]["message"]) == (409, True)
    gw.policies.write_text(good)
    _, now = await ask(gw, "/console/api/objectives")
    status, _ = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **{**change, "version": now["version"]})
    assert status == 200


async def test_what_is_read_only_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gw, _, _ = await world()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    _, told = await ask(gw, "/console/api/objectives")
    assert (told["writable"], told["why_not"]) == (False, f"{gw.objectives} is read-only here")
    change = {"description": "x", "version": told["version"]}
    status, body = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change)
    assert (status, body["error"]["code"]) == (403, "read_only")
    touched = gw.objectives.parent.stat().st_mtime_ns
    status, body = await ask(gw, "/console/api/objectives/helpfulness", "PUT", **change, dry_run=True)
    assert (status, body["backup"]) == (200, None)
    assert "+  helpfulness: x" in body["diff"]
    assert gw.objectives.parent.stat().st_mtime_ns == touched, "nothing is put there for a moment either"
