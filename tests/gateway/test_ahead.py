"""The corrector's prompt computed ahead: while the policy writes, bounded, and never in an answer's way."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Handler, Service, chat_chunk, correcting, saying, streaming, two_services
from tests.gateway.conftest import BETTER, DRAFT, Serve, Start, improve, soon
from wire import sse

LONG = " ".join(f"Sentence number {n} of an answer that takes its time." for n in range(40))


def writing(text: str, pause_s: float) -> Handler:
    """A policy that takes its time over every hundred characters."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        pieces = [text[at : at + 100] for at in range(0, len(text), 100)]
        events = [chat_chunk({"role": "assistant", "content": ""}), *(chat_chunk({"content": one}) for one in pieces)]
        encoded = [sse.encode(event) for event in [*events, chat_chunk({}, "stop")]]
        return await streaming(request, [*encoded, sse.DONE], pause_s)

    return handler


def ahead(policy: Service, corrector: Service, below: int = 4) -> str:
    return two_services(policy, corrector).replace(
        "template: ultrafeedback", f"template: ultrafeedback, prefill_ahead: {below}"
    )


def asked(corrector: Service) -> tuple[list[str], list[str]]:
    """The prompts asked ahead, and those of corrections."""
    bodies = [body for _, body in corrector.requests]
    early = [body["prompt"] for body in bodies if body["max_tokens"] == 1]
    return early, [body["prompt"] for body in bodies if body["max_tokens"] != 1]


async def test_the_prompt_grows_with_the_draft(service: Start, gateway: Serve) -> None:
    policy, corrector = await service(writing(LONG, 0.04)), await service(correcting(str.upper))
    gw = await gateway(ahead(policy, corrector))
    assert await gw.stream()
    early, (whole,) = asked(corrector)
    assert 3 <= len(early) <= 6, "bounded: one at a time, and only when the draft has grown"
    drafts = [prompt.rpartition(" | Answer: ")[2].removesuffix(" | Edit: ") for prompt in early]
    assert drafts[0] == ""
    assert [len(draft) for draft in drafts] == sorted({len(draft) for draft in drafts})
    assert all(whole.startswith(prompt.removesuffix(" | Edit: ")) for prompt in early), "a prefix of what is asked then"
    assert len(drafts[-1]) > len(LONG) / 2


async def test_it_begins_before_the_policy_does(service: Start, gateway: Serve) -> None:
    corrector = await service(correcting(improve))

    async def late(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await soon(lambda: len(corrector.requests) == 1)
        return await saying(DRAFT)(request, body)

    gw = await gateway(ahead(await service(late), corrector))
    status, _, answer = await gw.chat()
    assert (status, answer["choices"][0]["message"]["content"]) == (200, BETTER)
    early, corrections = asked(corrector)
    assert (len(early), len(corrections)) == (1, 1)


async def test_it_is_off_unless_asked_for(service: Start, gateway: Serve) -> None:
    policy, corrector = await service(writing(LONG, 0.0)), await service(correcting(str.upper))
    gw = await gateway(two_services(policy, corrector))
    await gw.stream()
    assert len(corrector.requests) == 1


@pytest.mark.parametrize("header", [{"X-Align-Mode": "off"}, {"X-Align-Mode": "shadow"}])
async def test_not_for_an_answer_that_goes_out_as_it_is(service: Start, gateway: Serve, header: dict[str, str]) -> None:
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    gw = await gateway(ahead(policy, corrector))
    await gw.chat(headers=header)
    await asyncio.sleep(0.05)
    assert not asked(corrector)[0]


async def test_what_fails_ahead_fails_nothing(service: Start, gateway: Serve) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body["max_tokens"] == 1:
            return web.json_response({"error": {"message": "no"}}, status=500)
        return await correcting(improve)(request, body)

    gw = await gateway(ahead(await service(saying(DRAFT)), await service(handler)))
    _, _, answer = await gw.chat()
    assert answer["align"]["verdict"] == "corrected"


async def test_what_hangs_is_given_up(service: Start, gateway: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("corrector.ahead.LAST_S", 0.05)
    given_up = []

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body["max_tokens"] == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                given_up.append(True)
                raise
        return await correcting(improve)(request, body)

    gw = await gateway(ahead(await service(saying(DRAFT)), await service(handler)))
    _, _, answer = await gw.chat()
    assert answer["align"]["verdict"] == "corrected"
    await soon(lambda: bool(given_up))


async def test_it_ends_with_its_request(service: Start, gateway: Serve) -> None:
    given_up = []

    async def hanging(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append(body.get("max_tokens"))
            raise
        raise AssertionError

    policy, corrector = await service(hanging), await service(hanging)
    gw = await gateway(ahead(policy, corrector))
    asking = asyncio.create_task(gw.chat())
    await soon(lambda: len(corrector.requests) == 1 and len(policy.requests) == 1)
    asking.cancel()
    await soon(lambda: len(given_up) == 2)


async def test_under_load_there_is_no_room_for_it(service: Start, gateway: Serve) -> None:
    going = asyncio.Event()

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body["max_tokens"] != 1:
            await going.wait()
        return await correcting(improve)(request, body)

    policy, corrector = await service(saying(DRAFT)), await service(handler)
    gw = await gateway(ahead(policy, corrector, below=1))
    first = asyncio.create_task(gw.chat())
    await soon(lambda: len(asked(corrector)[1]) == 1)
    second = asyncio.create_task(gw.chat())
    await soon(lambda: len(asked(corrector)[1]) == 2)
    going.set()
    await asyncio.gather(first, second)
    assert len(asked(corrector)[0]) == 1, "the second request found one on its way"
