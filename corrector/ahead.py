"""The corrector's prompt computed ahead, while the policy is still writing.

A correction's prompt begins with the objectives, the conversation and the draft, all of which are there before the
draft is complete. Asked for one token of what there is so far, an engine that keeps the prefixes that it has seen
(vLLM's prefix cache, llama.cpp's slots) has all but the tail behind it when the policy has said its last.

Nothing depends on it: where a request fails, the correction itself will say why.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from corrector.generation import ContextTooLong
from wire.errors import WireError

GROWN_CHARS = 600  # so much more of the draft is worth another request
LOOK_EVERY_S = 0.1
LAST_S = 30.0


class Ahead:
    """Of one draft. At most one request is on its way; `ask` asks for one token of what a correction would ask for."""

    def __init__(self, ask: Callable[[str], AsyncGenerator[str, None]]) -> None:
        self._one_token = ask
        self._asked_chars = 0
        self.started = self._looked = time.monotonic()
        self.ended: float | None = None  # the last of them that has
        self.awaited: tuple[float, float] | None = None  # from when to when the correction waited for it
        self._task = asyncio.create_task(self._ask(""))

    @property
    def due(self) -> bool:
        """Is it time to look how far the draft has come? To join its pieces at every one would cost."""
        return self._task.done() and time.monotonic() - self._looked > LOOK_EVERY_S

    def grow(self, draft: str) -> None:
        """The draft so far: asked with, if it has grown enough and nothing is on its way. Returns at once."""
        self._looked = time.monotonic()
        if self._task.done() and len(draft) >= self._asked_chars + GROWN_CHARS:
            self._asked_chars = len(draft)
            self._task = asyncio.create_task(self._ask(draft))

    async def finish(self) -> None:
        """Let the one that is on its way end, for as long as an engine that lives can take; then the correction begins.

        It computes what the correction needs: given up, or begun a second time beside it, it would be for nothing.
        """
        began = time.monotonic()
        await asyncio.wait({self._task}, timeout=LAST_S)
        self.awaited = began, time.monotonic()
        self._task.cancel()

    def cancel(self) -> None:
        self._task.cancel()

    async def _ask(self, draft: str) -> None:
        asked = self._one_token(draft)
        try:
            async for _ in asked:
                pass
        except (WireError, ContextTooLong):
            return
        finally:
            self.ended = time.monotonic()
            await asked.aclose()
