"""One generation: a prompt to the engine, its text as it comes, and what that cost. Knows one OpenAI-compatible URL."""

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from corrector.gate import ENDINGS
from corrector.segments import tokens
from corrector.templates import Prompt
from wire.codec import dumps, loads
from wire.endpoint import Endpoint, Opened, json_batches
from wire.errors import Dropped, Malformed, Rejected, Reported, TimedOut, WireError

Json = dict[str, Any]

# How OpenAI, llama.cpp, vLLM, SGLang, TGI and LiteLLM say that a prompt is too long; no more of a message is read than
# they need for it, since some repeat what they were sent.
_TOO_LONG = re.compile(
    r"context[ _]?(?:length|size|window)|maximum (?:context|model length|input length|number of tokens)"
    r"|longer than the (?:model|maximum)|too[ _](?:long|large)|max_new_tokens\W{0,2} must be <="
    r"|must have less than \d+ tokens",
    re.IGNORECASE,
)
_READ_CHARS = 400
# llama.cpp gives up every answer in flight when all of them together want more memory than there is for their tokens.
_FULL = re.compile(r"context size has been exceeded", re.IGNORECASE)
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.25, 4.0
LIMITS = ("max_tokens", "max_completion_tokens")  # what says how long an answer may be


@dataclass(slots=True)
class Usage:
    """Of all generations of one correction. Tokens that an engine did not come to tell are estimated."""

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


class _Full(Exception):
    """The engine has no room for the prompt beside the others; nothing was generated."""


async def generate(
    endpoint: Endpoint,
    asked: tuple[str, Json],
    timeout_s: float,
    usage: Usage,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[str, None]:
    """The engine's text as it comes, for a `request`. `timeout_s` counts from `usage.started`.

    Raises `WireError`; `ContextTooLong` before any text. What the others leave no room for is asked again later.
    """
    deadline = usage.started + timeout_s
    wait_s = SHORTEST_WAIT_S
    while True:
        try:
            async with aclosing(_generate(endpoint, asked, deadline, usage, headers)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except _Full:
            pause_s = wait_s * (0.5 + random.random())  # noqa: S311 - they were given up together, and shall not meet again
            if time.monotonic() + pause_s >= deadline:
                raise TimedOut(f"{endpoint.name} had no room beside others in time") from None
        await asyncio.sleep(pause_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


async def _generate(
    endpoint: Endpoint, asked: tuple[str, Json], deadline: float, usage: Usage, headers: Mapping[str, str] | None
) -> AsyncGenerator[str, None]:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimedOut(f"{endpoint.name} has no time left")
    path, body = asked
    usage.finish_reason = None
    usage.before = (usage.prompt_tokens, usage.completion_tokens)
    opened: Opened | None = None
    written = ""
    try:
        opened = await endpoint.post(path, dumps(body), headers, total_s=left_s)
        if usage.queue_s is None:
            usage.queue_s = time.monotonic() - usage.started
        async for events in json_batches(opened) if opened.streamed else _unstreamed(opened):
            if text := "".join([_take(event, usage, endpoint.name) for event in events]):
                if usage.first_token_s is None:
                    usage.first_token_s = time.monotonic() - usage.started
                written += text
                yield text
    except (Rejected, Reported) as error:
        meant = error if written else _meant(error)
        raise meant from None
    finally:
        if opened is not None:
            opened.close()
        if written and usage.before == (usage.prompt_tokens, usage.completion_tokens):
            # An engine tells in its last event, which a generation that is cut never comes to.
            usage.prompt_tokens += tokens(as_text(body.get("prompt") or body.get("messages", "")))
            usage.completion_tokens += tokens(written)
    if usage.finish_reason is None:
        raise Dropped(f"{endpoint.name} ended its answer without a finish_reason")
    if usage.finish_reason not in ENDINGS:
        raise Dropped(f"{endpoint.name} gave its answer up: finish_reason {str(usage.finish_reason)[:40]!r}")


def _meant(error: Rejected | Reported) -> WireError | ContextTooLong | _Full:
    """What an error that came before any text says of the prompt's length, if it is about that."""
    status = error.status if isinstance(error, Rejected) else None  # None: it came as an answer
    said = _said(error)
    if status in (None, 500, 503) and _FULL.search(said):
        return _Full()
    if status == 413 or (status in (None, 400, 422) and _TOO_LONG.search(said)):
        return ContextTooLong()
    return error


def _said(error: Rejected | Reported) -> str:
    """An error's message, code and type: OpenAI's object, old vLLM's without a name, or TGI's string."""
    try:
        told: Any = error.body if isinstance(error, Reported) else loads(error.body)
    except ValueError:
        return ""
    told = told.get("error", told) if isinstance(told, dict) else None
    parts = [told.get(name) for name in ("code", "type", "message")] if isinstance(told, dict) else [told]
    return " ".join(part[:_READ_CHARS] for part in parts if isinstance(part, str))


def request(
    model: str, prompt: Prompt, max_tokens: int, salt: str = "", fields: Mapping[str, Any] | None = None
) -> tuple[str, Json]:
    """Path and body: a text is completed, messages are answered.

    `salt` is vLLM's `cache_salt`; a vLLM is also told not to mind what is repeated, as some checkpoints have it do: a
    correction repeats its prompt. `fields` stand above all that; one that is None is left out.
    """
    path = "/completions" if isinstance(prompt, str) else "/chat/completions"
    body = {
        "model": model,
        "prompt" if isinstance(prompt, str) else "messages": prompt,
        **({"cache_salt": salt, "repetition_penalty": 1.0} if salt else {}),
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **(fields or {}),
    }
    return path, {name: value for name, value in body.items() if value is not None}


def as_text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


async def _unstreamed(opened: Opened) -> AsyncGenerator[list[dict[str, object]], None]:
    """Some servers answer in one piece whatever they are asked."""
    try:
        answer = loads(await opened.read())
    except ValueError:
        raise Malformed(f"{opened.name} did not answer in JSON") from None
    yield [_object(answer, opened.name)]


def _take(event: dict[str, object], usage: Usage, name: str) -> str:
    """The text of one event of either API; its usage and finish_reason go to `usage`."""
    if event.get("error"):
        raise Reported(f"{name} reported an error in its stream", event)
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
