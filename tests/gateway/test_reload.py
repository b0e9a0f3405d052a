"""Both files are taken in on save; a broken save changes nothing; nobody notices but by its effect."""

import asyncio
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from corrector.engines import EngineOptions
from gateway.config import read
from gateway.reload import Reloader, changes, in_force
from gateway.telemetry import Metrics
from tests.conftest import OBJECTIVES, Gateway, _Log, correcting, saying, two_services
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, World, improve, soon

BRIEF = OBJECTIVES.replace("sets:", "  brevity: The response should be at most two sentences\nsets:", 1).replace(
    "[helpfulness]", "[brevity]"
)


def told(gw: Gateway, event: str) -> list[dict[str, Any]]:
    return [line for line in gw.lines if line["event"] == event]


async def test_a_new_objective_is_in_force_for_the_next_request(world: World) -> None:
    gw, _, corrector = await world()
    await gw.chat()
    gw.objectives.write_text(BRIEF)
    _, headers, _ = await gw.chat()
    assert headers["X-Align-Objectives"] == "brevity"
    assert "Brevity: The response should be at most two sentences" in corrector.last["prompt"]
    [line] = told(gw, "reload.applied")
    assert line["changed"] == {"objectives": {"added": ["brevity"]}, "sets": {"changed": ["default"]}}


async def metrics(gw: Gateway) -> str:
    async with gw.client.get(f"{gw.url}/metrics") as response:
        return await response.text()


async def test_a_broken_save_changes_nothing_and_says_which_line(world: World) -> None:
    gw, _, _ = await world()
    gw.objectives.write_text(BRIEF.replace("[brevity]", "[brevety]"))
    _, headers, _ = await gw.chat()
    assert headers["X-Align-Objectives"] == "helpfulness"
    [line] = told(gw, "reload.rejected")
    assert line["error"] == f"{gw.objectives}:8: unknown objective 'brevety'; did you mean 'brevity'?"
    async with gw.client.get(f"{gw.url}/readyz") as response:
        assert (await response.json())["configuration"] == "rejected", "anybody may ask; the words are for the log"
        assert response.status == 200, "the last good one is in force"
    assert "metaaligner_configuration_rejected 1.0" in await metrics(gw)
    gw.objectives.write_text(BRIEF)
    _, headers, _ = await gw.chat()
    assert headers["X-Align-Objectives"] == "brevity"
    text = await metrics(gw)
    assert "metaaligner_configuration_rejected 0.0" in text
    assert 'metaaligner_reloads_total{result="rejected"} 1.0' in text
    assert 'metaaligner_reloads_total{result="applied"} 1.0' in text


async def test_a_file_that_is_gone_changes_nothing(world: World) -> None:
    gw, _, _ = await world()
    gw.objectives.unlink()
    assert (await gw.chat())[0] == 200
    assert len(told(gw, "reload.rejected")) == 1
    gw.objectives.write_text(BRIEF)
    assert (await gw.chat())[1]["X-Align-Objectives"] == "brevity"


async def test_a_save_by_renaming_is_seen(world: World) -> None:
    gw, _, _ = await world()
    new = gw.objectives.with_suffix(".new")
    new.write_text(BRIEF)
    os.replace(new, gw.objectives)
    assert (await gw.chat())[1]["X-Align-Objectives"] == "brevity"


async def test_both_files_come_into_force_together(world: World) -> None:
    """A policy that is renamed in one file and named in the other is never half there."""
    gw, policy, corrector = await world()
    gw.policies.write_text(two_services(policy, corrector).replace("  m: {", "  new: {model: m, "))
    gw.objectives.write_text(OBJECTIVES.replace("allow_off: true", "policies: [new]"))
    status, _, body = await gw.chat(model="new")
    assert (status, body["choices"][0]["message"]["content"]) == (200, BETTER)
    assert policy.last["model"] == "m"
    assert (await gw.chat(model="m"))[0] == 404
    [line] = told(gw, "reload.applied")
    assert line["changed"]["policies"] == {"added": ["new"], "removed": ["m"]}


async def test_a_request_in_flight_keeps_the_configuration_it_began_with(world: World) -> None:
    go_on = asyncio.Event()

    async def slow(request: Any, body: dict[str, Any]) -> Any:
        await go_on.wait()
        return await saying(DRAFT)(request, body)

    gw, policy, corrector = await world(slow)
    first = asyncio.create_task(gw.chat())
    while not policy.requests:
        await asyncio.sleep(0.01)
    gw.objectives.write_text(BRIEF)
    second = asyncio.create_task(gw.chat())
    while len(policy.requests) < 2:
        await asyncio.sleep(0.01)
    go_on.set()
    assert (await first)[1]["X-Align-Objectives"] == "helpfulness"
    assert (await second)[1]["X-Align-Objectives"] == "brevity"
    assert len(corrector.requests) == 2


async def test_saves_under_load_fail_no_request(world: World) -> None:
    gw, policy, corrector = await world()
    statuses: list[int] = []
    seen: set[str] = set()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            status, headers, body = await gw.chat()
            statuses.append(status)
            seen.add(headers["X-Align-Objectives"])
            assert body["choices"][0]["message"]["content"] == BETTER

    askers = [asyncio.create_task(ask()) for _ in range(6)]
    for number in range(12):
        text = [BRIEF, OBJECTIVES, "objectives: [broken"][number % 3]
        gw.objectives.write_text(text)
        gw.policies.write_text(two_services(policy, corrector) + "\n" * number)
        await asyncio.sleep(0.15)
    done.set()
    await asyncio.gather(*askers)
    assert set(statuses) == {200}
    assert len(statuses) > 20
    assert seen == {"helpfulness", "brevity"}
    assert told(gw, "reload.applied")
    assert told(gw, "reload.rejected")


async def test_an_unchanged_policy_keeps_its_connections(service: Start, gateway: Serve) -> None:
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    gw = await gateway(two_services(policy, corrector))
    before = (await gw.app.state.reloader.current()).upstreams["m"]
    gw.objectives.write_text(BRIEF)
    assert (await gw.app.state.reloader.current()).upstreams["m"] is before
    gw.policies.write_text(two_services(policy, corrector).replace("timeout_s: 5", "timeout_s: 6"))
    assert (await gw.app.state.reloader.current()).upstreams["m"] is not before


@pytest.mark.parametrize("saves", [1, 2])
async def test_a_request_that_outlives_the_drain_keeps_its_connection(world: World, saves: int) -> None:
    """Also where the first snapshot that had the connection is long gone."""
    go_on = asyncio.Event()

    async def slow(request: Any, body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "slow":
            await go_on.wait()
        return await saying(DRAFT)(request, body)

    gw, policy, corrector = await world(slow, drain_s=0)
    if saves == 2:
        gw.objectives.write_text(BRIEF)
        await gw.chat()
    long = asyncio.create_task(gw.chat(messages=[{"role": "user", "content": "slow"}]))
    while not any(body["messages"][0]["content"] == "slow" for _, body in policy.requests):
        await asyncio.sleep(0.01)
    gw.policies.write_text(two_services(policy, corrector, drain_s=0).replace("timeout_s: 5", "timeout_s: 6"))
    assert (await gw.chat())[0] == 200
    await asyncio.sleep(0.3)  # what is retired has been closed by now
    go_on.set()
    assert (await long)[0] == 200


async def test_what_no_request_uses_any_more_is_closed(service: Start, gateway: Serve) -> None:
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    text = two_services(policy, corrector, drain_s=0)
    gw = await gateway(text)
    await gw.chat()
    for seconds in (6, 7, 8):
        gw.policies.write_text(text.replace("timeout_s: 5", f"timeout_s: {seconds}"))
        assert (await gw.chat())[0] == 200
    assert len(told(gw, "reload.applied")) == 3
    for _ in range(100):
        if len({request.transport for request, _ in policy.requests if request.transport}) <= 1:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("old connections stay open")


@pytest.mark.usefixtures("impatient")
async def test_an_engine_that_does_not_start_changes_nothing_and_keeps_nobody_waiting(
    world: World, tmp_path: Path
) -> None:
    gw, policy, corrector = await world()
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    before = two_services(policy, corrector)
    gw.policies.write_text(
        before.replace("policies:", "policies:\n  new: {kind: local, corrector: c, engine: {kind: llamacpp, model: '"
                       f"{tmp_path / 'broken.gguf'}'}}}}", 1)
    )  # fmt: skip
    async with asyncio.timeout(5):  # the engine has a minute to start; nobody waits for it
        for _ in range(30):
            assert (await gw.chat())[0] == 200
    assert (await gw.chat(model="new"))[0] == 404


@pytest.mark.usefixtures("impatient")
async def test_a_save_does_not_wait_for_the_engine_of_the_one_before(world: World) -> None:
    """A key that is taken back must not go on for the ten minutes that an engine has to start."""
    gw, policy, corrector = await world()
    before = two_services(policy, corrector)
    never = "\n  new: {kind: local, corrector: c, engine: {kind: vllm, model: m, executable: /bin/false}}"
    gw.policies.write_text(before.replace("policies:", f"policies:{never}", 1))
    await gw.chat()
    await soon(lambda: any(line["event"] == "engine.died" for line in gw.lines))
    gw.policies.write_text(before)
    gw.objectives.write_text(BRIEF)
    await gw.chat()
    await soon(lambda: bool(told(gw, "reload.applied")))
    assert (await gw.chat())[1]["X-Align-Objectives"] == "brevity"
    [line] = told(gw, "reload.rejected")
    assert line["error"].endswith("saved anew before its engines had started")


NEW = (
    "\n  new: {kind: local, corrector: c, engine: {kind: vllm, model: m, executable: /bin/false, start_timeout_s: %s}}"
)


@pytest.mark.usefixtures("impatient")
async def test_a_save_does_not_wait_for_an_engine_that_was_in_force_already(service: Start, gateway: Serve) -> None:
    """It is down, and a key that is taken back must not go on for as long as it has to start."""
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    gw = await gateway(two_services(policy, corrector).replace("policies:", f"policies:{NEW % 0.5}", 1))
    gw.objectives.write_text(BRIEF)
    await gw.chat()
    await soon(lambda: bool(told(gw, "reload.applied")))
    assert (await gw.chat())[1]["X-Align-Objectives"] == "brevity"
    assert not told(gw, "reload.rejected")


@pytest.mark.usefixtures("impatient")
async def test_a_save_whose_engine_has_not_started_in_time_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw, policy, corrector = await world()
    asked: list[list[str]] = []

    async def ensure(coming: Iterable[EngineOptions]) -> bool:
        asked.append([options.kind for options in coming])
        return len(asked) == 2

    monkeypatch.setattr(gw.app.state.supervisor, "ensure", ensure)
    gw.policies.write_text(two_services(policy, corrector).replace("policies:", f"policies:{NEW % 60}", 1))
    await gw.chat()
    await soon(lambda: bool(told(gw, "reload.rejected")))
    await gw.chat()  # nobody has saved anything since
    await soon(lambda: bool(told(gw, "reload.applied")))
    assert asked == [["vllm"], ["vllm"]], "what is an address needs no start"
    [line] = told(gw, "reload.rejected")
    assert line["error"].endswith("one of its engines did not start")


async def test_a_worker_that_cannot_read_what_is_in_force_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another code than uvicorn has for a start that failed, with which it would end the workers beside it."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise InterruptedError

    lines: list[dict[str, Any]] = []
    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("gateway.reload.WORKER_PAUSE_S", 0)
    files = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
    worker = Reloader(*files, tmp_path / "run", None, Metrics(), _Log(lines))
    with pytest.raises(InterruptedError):
        await worker.start()
    assert codes == [1]
    assert [line["event"] for line in lines] == ["worker.not_started"]
    assert "run/policies.yaml:1: cannot be read" in lines[0]["error"]


async def test_what_workers_begin_with_is_of_one_save(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is replaced before both files have been written: a full disk leaves the pair as it was."""
    gw, policy, corrector = await world()
    run_dir = gw.app.state.reloader._run_dir
    before = [path.read_bytes() for path in in_force(run_dir)]
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name == "objectives.new":
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    gw.policies.write_text(two_services(policy, corrector).replace("timeout_s: 5", "timeout_s: 6"))
    gw.objectives.write_text(BRIEF)
    await gw.chat()
    await soon(lambda: bool(told(gw, "reload.rejected")))
    assert [path.read_bytes() for path in in_force(run_dir)] == before


async def test_ten_thousand_tenants_come_and_are_found(world: World) -> None:
    gw, _, _ = await world()
    rows = [
        f"  t{n}: {{keys: [{{sha256: {hashlib.sha256(b'sk-%d' % n).hexdigest()}}}], objectives: kids}}\n"
        for n in range(10_000)
    ]
    gw.objectives.write_text(OBJECTIVES + "".join(rows))
    while not told(gw, "reload.applied"):
        assert (await gw.chat())[0] == 200, "nobody waits for a long reload to end"
        await asyncio.sleep(0.05)
    _, headers, _ = await gw.chat({"Authorization": "Bearer sk-9999"})
    assert headers["X-Align-Objectives"] == "harmlessness, humour"
    assert (await gw.chat({"Authorization": "Bearer sk-10000"}))[0] == 401


def test_what_changed_is_named(tmp_path: Path) -> None:
    policies = tmp_path / "p.yaml"
    policies.write_text('policies: {m: {kind: openai, base_url: "http://127.0.0.1:1/v1", corrector: none}}\n')
    (tmp_path / "a.yaml").write_text(OBJECTIVES)
    (tmp_path / "b.yaml").write_text(
        OBJECTIVES.replace("cheerful", "funny").replace("allow_off: true", "define: false")
    )
    before, after = read(policies, tmp_path / "a.yaml"), read(policies, tmp_path / "b.yaml")
    assert changes(before, before) == {}
    assert changes(before, after) == {"objectives": {"changed": ["humour"]}, "tenants": {"changed": ["public"]}}


@pytest.mark.parametrize("step", ["read", "build", "changes", "Reloader._engines_missing"])
async def test_what_nobody_foresaw_is_a_rejection_too(step: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gw, _, _ = await world()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inside")

    with monkeypatch.context() as patched:
        patched.setattr(f"gateway.reload.{step}", broken)
        gw.objectives.write_text(OBJECTIVES.replace("cheerful", "very cheerful"))
        assert (await gw.chat())[0] == 200
        await soon(lambda: any(line["event"] == "reload.rejected" for line in gw.lines))
    async with gw.client.get(f"{gw.url}/readyz") as response:
        assert (await response.json())["configuration"] == "rejected"
    assert "ZeroDivisionError" in told(gw, "reload.rejected")[-1]["error"]
    gw.objectives.write_text(OBJECTIVES.replace("cheerful", "quite cheerful"))
    assert (await gw.chat())[0] == 200
    await soon(lambda: any(line["event"] == "reload.applied" for line in gw.lines))
