"""A corrected stream that is closed: what it is made of has ended by then, and not when it is collected."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

from gateway.pipeline import Pipeline
from gateway.record import Record
from tests.conftest import chat_chunk
from tests.gateway.conftest import DRAFT

TENANT = SimpleNamespace(required=(), release="live", reasoning="pass", may_see_draft=True)
PLAN = SimpleNamespace(
    tenant=TENANT, keeps_draft=False, drops_thinking=False, objectives=(), required=(), defined=(), salt=""
)


class Endless:
    """A policy's reply, and a corrector that does not end before it is closed."""

    streamed = done = True

    def __init__(self) -> None:
        self.running: list[str] = []

    async def events(self) -> AsyncGenerator[dict[str, Any], None]:
        yield chat_chunk({"content": DRAFT}, "stop")

    async def correct(self, task: Any) -> AsyncGenerator[str, None]:
        self.running.append("corrector")
        try:
            while True:
                yield "better "
                await asyncio.sleep(0.01)
        finally:
            self.running.remove("corrector")

    def close(self) -> None:
        """As a policy's reply is; what comes of it is not looked at here."""


async def test_nothing_goes_on_after_a_stream_was_closed() -> None:
    both: Any = Endless()
    unused: Any = None
    todo: Any = SimpleNamespace(mode="full", live_draft=False, **vars(PLAN))
    request: Any = SimpleNamespace(body={"messages": []}, include_usage=False, corrector_headers={})
    stream = Pipeline(unused, unused)._correct_stream(both, todo, both, request, Record())
    async for chunk in stream:
        if b"better" in chunk:
            break
    assert "corrector" in both.running
    await stream.aclose()
    assert both.running == []
