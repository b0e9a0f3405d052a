"""The gateway's own time: what is left of a request's when nobody waits for its policy or its corrector."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from corrector.correction import Correction
from gateway import report
from gateway.record import Record
from tests.conftest import Gateway, correcting, saying
from tests.gateway.conftest import DRAFT, Serve, Start, World, ask, improve, soon
from tests.gateway.test_ahead import ahead, writing
from tests.gateway.test_segment_mode import PARAGRAPHS, SEGMENT


async def logged(gw: Gateway) -> dict[str, Any]:
    """The line of the one request there was."""
    await soon(lambda: any(line["event"] == "request" for line in gw.lines))
    (line,) = [line for line in gw.lines if line["event"] == "request"]
    return line


def test_what_goes_on_at_the_same_time_is_not_taken_off_twice() -> None:
    began = time.monotonic() - 10
    record = Record(started=began, received_s=1, asked_s=2, policy_s=6, mode="segment")
    record.corrections = {
        0: Correction("", "corrected", "", started=began + 4, total_s=4),
        1: Correction("", "skipped", "empty_draft"),
    }
    assert record.own_s() == pytest.approx(3, abs=0.9)


async def test_while_the_policy_writes_a_corrector_hides_no_delay_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw, _, _ = await world(writing("".join(PARAGRAPHS), 0.2), correcting(improve, pause_s=0.01))
    told = report.align

    def late(*args: Any) -> Any:
        time.sleep(0.5)
        return told(*args)

    monkeypatch.setattr("gateway.report.align", late)
    await gw.stream(SEGMENT)
    line = await logged(gw)
    assert line["policy_ms"] + line["corrector_ms"] > line["total_ms"], "they were at work at the same time"
    assert 500 <= line["own_ms"] <= line["total_ms"] - line["corrector_ms"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_is_still_computed_is_the_correctors_time(
    service: Start, gateway: Serve, stream: bool
) -> None:
    async def slow(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(1.0 if body["max_tokens"] == 1 else 0.3)
        return await correcting(improve)(request, body)

    gw = await gateway(ahead(await service(saying(DRAFT)), await service(slow)))
    await ask(gw, stream=stream)
    line = await logged(gw)
    assert line["verdict"] == "corrected"
    assert 0 < line["own_ms"] <= line["total_ms"] - 1000


async def test_a_correction_that_came_to_nothing_says_nothing_of_our_own_time(world: World) -> None:
    """Whoever hangs up on a slow corrector must not make the gateway look slow."""

    async def hanging(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    gw, _, corrector = await world(corrector=hanging)
    asking = asyncio.create_task(gw.chat())
    await soon(lambda: len(corrector.requests) == 1)
    asking.cancel()
    line = await logged(gw)
    assert (line["error"], line["own_ms"]) == ("client_gone", None)
    async with gw.client.get(f"{gw.url}/metrics") as response:
        assert "metaaligner_overhead_seconds_count 0.0" in await response.text()
