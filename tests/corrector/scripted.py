"""A corrector on a scripted model behind a real HTTP endpoint, and what its tests correct."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from corrector.correction import Correction, Task
from corrector.corrector import Corrector, CorrectorOptions
from corrector.objectives import Objective
from corrector.templates import Turn
from tests.conftest import Handler, Service, streaming
from wire import sse
from wire.endpoint import Endpoint

Start = Callable[[Handler], Awaitable[Service]]
HELPFUL = (Objective(key="helpfulness", name="Helpfulness", description="The response should be useful"),)
ASKED = (Turn("user", "How do I make tea?"),)
DRAFT = (
    "First of all, boil the water well. Then warm the pot. Put in one spoon of leaves for each cup. "
    "Let it stand for four minutes. At the end pour it through a strainer. Some like a slice of lemon in it."
)


@pytest.fixture
async def corrector(service: Start) -> AsyncIterator[Callable[..., Awaitable[tuple[Corrector, Service]]]]:
    endpoints = []

    async def make(handler: Handler, context: int = 4096, **options: Any) -> tuple[Corrector, Service]:
        upstream = await service(handler)
        endpoint = Endpoint("the corrector c", [upstream.url])
        endpoints.append(endpoint)
        made = Corrector("c", CorrectorOptions(**options), endpoint, model="aligner", context_tokens=context)
        return made, upstream

    yield make
    for endpoint in endpoints:
        await endpoint.aclose()


async def corrected(corrector: Corrector, draft: str, **options: Any) -> tuple[list[str], Correction]:
    """The pieces sent, and what became of the draft."""
    options = {"context": ASKED, "objectives": HELPFUL, **options}
    *pieces, told = [piece async for piece in corrector.correct(Task(draft=draft, **options)) if piece]
    assert isinstance(told, Correction)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert "".join(texts) == told.text, "what is told is what was sent"
    return texts, told


def saying(*pieces: str, finish_reason: str | None = "stop", pause_s: float = 0.0) -> Handler:
    """A corrector that says this whatever it is asked."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        events: list[dict[str, Any]] = [{"choices": [{"index": 0, "text": piece}]} for piece in pieces]
        if finish_reason:
            events.append({"choices": [{"index": 0, "text": "", "finish_reason": finish_reason}]})
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE], pause_s)

    return handler


def answer_in(body: dict[str, Any]) -> str:
    return str(body["prompt"]).rpartition(" | Answer: ")[2].removesuffix(" | Edit: ")
