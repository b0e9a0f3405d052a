"""One generation: a prompt to the engine, its text as it comes, and what that cost. Knows one OpenAI-compatible URL."""

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corrector.templates import Prompt
from wire.codec import dumps, loads
from wire.endpoint import Endpoint, Opened, json_batches
from wire.errors import Dropped, Malformed, Rejected, TimedOut

Json = dict[str, Any]

_TOO_LONG = re.compile(rb"context|exceed|maximum.{0,20}(?:length|tokens)|too (?:long|large)", re.IGNORECASE)


@dataclass(slots=True)
class Usage:
    """Of all generations of one correction."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    queue_s: float | None = None
    first_token_s: float | None = None
    finish_reason: str | None = None
    gate_s: float = 0.0
    before: tuple[int, int] = (0, 0)  # tokens of the generations that are over


class ContextTooLong(Exception):
    """The engine has no room for the prompt; nothing was generated."""


async def generate(
    endpoint: Endpoint,
    asked: tuple[str, Json],
    timeout_s: float,
    usage: Usage,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[str, None]:
    """The engine's text as it comes, for a `request`. `timeout_s` counts from `usage.started`.

    Raises `WireError`; `ContextTooLong` before any text.
    """
    left_s = timeout_s - (time.monotonic() - usage.started)
    if left_s <= 0:
        raise TimedOut(f"{endpoint.name} has no time left")
    path, body = asked
    usage.finish_reason = None
    usage.before = (usage.prompt_tokens, usage.completion_tokens)
    opened: Opened | None = None
    try:
        opened = await endpoint.post(path, dumps(body), headers, total_s=left_s)
        if usage.queue_s is None:
            usage.queue_s = time.monotonic() - usage.started
        async for events in json_batches(opened) if opened.streamed else _unstreamed(opened):
            if text := "".join([_take(event, usage, endpoint.name) for event in events]):
                if usage.first_token_s is None:
                    usage.first_token_s = time.monotonic() - usage.started
                yield text
    except Rejected as error:
        if error.status in (400, 413, 422) and _TOO_LONG.search(error.body[:2000]):
            raise ContextTooLong from None
        raise
    finally:
        if opened is not None:
            opened.close()
    if usage.finish_reason is None:
        raise Dropped(f"{endpoint.name} ended its answer without a finish_reason")


def request(model: str, prompt: Prompt, max_tokens: int, salt: str = "") -> tuple[str, Json]:
    """Path and body: a text is completed, messages are answered. `salt` is vLLM's `cache_salt`."""
    asked = {"prompt": prompt} if isinstance(prompt, str) else {"messages": prompt}
    path = "/completions" if isinstance(prompt, str) else "/chat/completions"
    body = {
        "model": model,
        **asked,
        **({"cache_salt": salt} if salt else {}),
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return path, body


def as_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


async def _unstreamed(opened: Opened) -> AsyncIterator[list[dict[str, object]]]:
    """Some servers answer in one piece whatever they are asked."""
    try:
        answer = loads(await opened.read())
    except ValueError:
        raise Malformed(f"{opened.name} did not answer in JSON") from None
    yield [_object(answer, opened.name)]


def _take(event: dict[str, object], usage: Usage, name: str) -> str:
    """The text of one event of either API; its usage and finish_reason go to `usage`."""
    if event.get("error"):
        raise Dropped(f"{name} reported an error in its stream")
    spent = event.get("usage")
    if isinstance(spent, dict):
        # Some servers tell so with every event, and what they tell is the sum so far.
        usage.prompt_tokens = usage.before[0] + _count(spent.get("prompt_tokens"))
        usage.completion_tokens = usage.before[1] + _count(spent.get("completion_tokens"))
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices:
        return ""
    choice = _object(choices[0], name)
    usage.finish_reason = choice.get("finish_reason") or usage.finish_reason
    message = _object(choice.get("delta") or choice.get("message") or {}, name)
    text = choice.get("text") or message.get("content") or ""
    return text if isinstance(text, str) else ""


def _count(value: object) -> int:
    """Some servers say null, or nothing that is a number: for that no correction fails."""
    return value if isinstance(value, int) else 0


def _object(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise Malformed(f"{name} did not answer as OpenAI's API does")
    return value
