"""A gateway between a scripted policy and a scripted corrector."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import OBJECTIVES, Gateway, Handler, Service, correcting, saying, two_services

Start = Callable[[Handler], Awaitable[Service]]
Serve = Callable[..., Awaitable[Gateway]]
World = Callable[..., Awaitable[tuple[Gateway, Service, Service]]]

DRAFT = "The sky is blue because of the air. That is all there is to say."
BETTER = DRAFT.replace("the air", "how air scatters light")


def improve(text: str) -> str:
    return text.replace("the air", "how air scatters light")


@pytest.fixture
async def world(service: Start, gateway: Serve) -> World:
    """Starts one: `gw, policy, corrector = await world(saying("..."), correcting(str.upper))`."""

    async def make(
        policy: Handler | None = None, corrector: Handler | None = None, objectives: str = OBJECTIVES, **server: Any
    ) -> tuple[Gateway, Service, Service]:
        answers = await service(policy or saying(DRAFT))
        corrects = await service(corrector or correcting(improve))
        return await gateway(two_services(answers, corrects, **server), objectives), answers, corrects

    return make
