"""What flows: the request as it came, and the texts inside an answer. Chunks are `streams.py`'s.

Every field that is not known here passes as it is. Knows nothing of alignment.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from corrector.templates import Turn
from gateway.errors import GatewayError
from wire.codec import loads
from wire.errors import Malformed

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
_BEGINS = "<think>"
_ENDS = re.compile(r"</think>(?!(?<=`</think>)`)\s*")  # but not where the answer quotes it
# What an answer is known to have. Other fields pass too, except to who may not see drafts: they may restate one
# (llama.cpp's `__verbose`, vLLM's `token_ids` and `prompt_logprobs`).
KNOWN = frozenset(("id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices"))
_KNOWN_OF_CHOICE = frozenset(("index", "message", "delta", "finish_reason", "logprobs", "stop_reason"))
_KNOWN_OF_MESSAGE = frozenset(
    ("role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio", *REASONING_FIELDS)
)
_KNOWN_PARTS: Mapping[str, frozenset[str]] = {  # beside those that are text
    **dict.fromkeys(_REASONING_PARTS, frozenset(("type", "text", "summary", "data", "signature", *REASONING_FIELDS))),
    "refusal": frozenset(("type", "refusal")),
    "image_url": frozenset(("type", "image_url")),
}

# Fields by which it is decided here who may ask, and what is corrected.
_DECIDING = frozenset(("model", "messages", "stream", "response_format", "modalities", "audio"))
_MAY_BE_INFINITE = (float, dict, list)  # or have in it what is

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A client's request. `headers` have lower-case names; `body` lacks the gateway's own `align`.

    `raw` is the body as it came, None where it held `align`, which no upstream may see; it had `size` bytes. `salt` is
    the tenant's, for engines that keep the prefixes of prompts (vLLM's `cache_salt`). `corrector_headers` go to the
    corrector's.
    """

    raw: bytes | None
    size: int
    body: Json
    align: Any
    headers: Mapping[str, str]
    header_list: tuple[tuple[str, str], ...]
    query: str
    salt: str = ""
    corrector_headers: Mapping[str, str] | None = None

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def include_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))


def parse(raw: bytes, header_list: tuple[tuple[str, str], ...], query: str) -> ChatRequest:
    """Raises `GatewayError` 400 for what no upstream could understand; the rest is the upstream's to judge."""
    try:
        body = loads(raw)
    except ValueError as error:
        raise GatewayError(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise GatewayError(400, "invalid_request", "the body must be a JSON object")
    _refuse_infinity(body)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise GatewayError(400, "missing_model", "`model` must name a policy; see GET /v1/models", param="model")
    if not isinstance(body.get("messages"), list):
        raise GatewayError(400, "missing_messages", "`messages` must be a list", param="messages")
    if body.get("stream") not in (None, True, False):
        raise GatewayError(400, "invalid_stream", "`stream` must be true or false", param="stream")
    # Servers in Go, and so many a proxy, take names in any case: to them `Model` would be another model than ours.
    for name in body:
        if name not in _DECIDING and name.casefold() in _DECIDING:
            raise GatewayError(400, "invalid_request", f"not `{name}`: it is `{name.casefold()}`", param=name)
    as_it_came = None if "align" in body else raw
    align = body.pop("align", None)
    return ChatRequest(as_it_came, len(raw), body, align, dict(header_list), header_list, query)


def _refuse_infinity(body: Json) -> None:
    """Raises `GatewayError` 400 that says where: what 1e400 is read as, no JSON can say again."""
    left: list[tuple[tuple[str | int, ...], Any]] = [((), body)]
    while left:
        path, value = left.pop()
        if not isinstance(value, float):
            named = value.items() if isinstance(value, dict) else enumerate(value)
            left += [((*path, name), one) for name, one in named if isinstance(one, _MAY_BE_INFINITE)]
        elif math.isinf(value):
            where = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).removeprefix(".")
            raise GatewayError(400, "invalid_request", f"`{where}` is too large a number", param=where)


def check(answer: Json, part: Literal["message", "delta"]) -> Json:
    """The answer with its choices' `message`s, or the chunk of one with their `delta`s, and not with the other.

    Some servers send in a stream, beside what is new, all that has been said so far: whoever corrects, or cuts, the one
    would leave it in the other. A choice without an `index`, or with null, gets its place for one. Raises `Malformed`
    for a shape that cannot be worked on.
    """
    choices = answer.get("choices")
    if not (choices is None or (isinstance(choices, list) and all(_is_choice(choice, part) for choice in choices))):
        raise Malformed("the policy's answer does not have the shape of a chat completion")
    for at, choice in enumerate(choices or ()):
        if choice.get("index") is None:
            choice["index"] = at
    other = "delta" if part == "message" else "message"
    if choices and any(other in choice for choice in choices):
        choices = [{name: value for name, value in choice.items() if name != other} for choice in choices]
        return {**answer, "choices": choices}
    return answer


def _is_choice(choice: Any, part: str) -> bool:
    return (
        isinstance(choice, dict)
        and isinstance(choice.get("index"), int | None)
        and isinstance(choice.get(part) or {}, dict)
    )


def conversation(messages: list[Any]) -> tuple[Turn, ...]:
    """The turns that led to the answer, as text. What the system says stands before the first turn."""
    turns: list[Turn] = []
    system: list[str] = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        role, text = message.get("role"), text_of(message.get("content"))
        if not text:
            continue
        if role in ("system", "developer"):
            system.append(text)
        elif role == "assistant":
            turns.append(Turn("assistant", text))
        else:
            turns.append(Turn("user", text if role == "user" else f"[{role}] {text}"))
    if system:
        instructions = "\n".join(system)
        first = turns[0] if turns and turns[0].role == "user" else None
        turns[: 1 if first else 0] = [Turn("user", f"{instructions}\n\n{first.text}" if first else instructions)]
    return tuple(turns)


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list, other parts named."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            text = part.get("text")
            texts.append(text if isinstance(text, str) else f"[{str(part.get('type', 'part')).split('_')[0]}]")
    return "\n".join(texts)


def drop_reasoning(message: Json) -> None:
    """Out of a message or a delta, its fields and its parts alike."""
    for name in REASONING_FIELDS:
        message.pop(name, None)
    if not isinstance(content := message.get("content"), str | None):
        message["content"] = [part for part in parts_of(content) if not _is_reasoning(part)] or ""


def only_known(answer: Json) -> Json:
    """The answer, or the chunk of one, without fields that may restate its text."""
    known = _kept(answer, KNOWN)
    if isinstance(known.get("choices"), list):
        known["choices"] = [_kept(choice, _KNOWN_OF_CHOICE) for choice in known["choices"]]
        for choice in known["choices"]:
            for part in ("message", "delta"):
                if choice.get(part):
                    message = choice[part] = _kept(choice[part], _KNOWN_OF_MESSAGE)
                    if not isinstance(content := message.get("content"), str | None):
                        message["content"] = list(_known_parts(parts_of(content))) or ""
    return known


def _kept(plain: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in plain.items() if name in names}


def _known_parts(parts: Iterable[Any]) -> Iterator[Json]:
    for part in parts:
        kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
        if kind in _KNOWN_PARTS:
            yield _kept(part, _KNOWN_PARTS[kind])
        elif text := part_text(part):
            yield {"type": kind, "text": text}


def split_thinking(text: str, *, closed: bool = False) -> tuple[str, str]:
    """What a server left in the text of `<think>...</think>` before an answer, and the answer proper.

    DeepSeek-R1's and QwQ's templates write `<think>` into the prompt: then all up to `</think>` is thinking. What
    begins and is not closed is all thinking, or with `closed` all answer.
    """
    opened, end = text.lstrip().startswith(_BEGINS), _ENDS.search(text)
    if end is None:
        cut = len(text) if opened and not closed else 0
    else:
        cut = end.end() if opened or _BEGINS not in text[: end.start()] else 0
    return text[:cut], text[cut:]


def drop_thinking(choice: Json) -> None:
    """Out of an unstreamed choice: fields, parts, and what `split_thinking` finds in the text."""
    message = choice.get("message") or {}
    drop_logprobs(choice)
    drop_reasoning(message)
    thinking, said = split_thinking(message_text(message))
    if thinking:
        set_text(message, said)


def drop_logprobs(choice: Json) -> None:
    """They are of all that was written, thinking and all."""
    if choice.get("logprobs") is not None:
        choice["logprobs"] = None


class ThinkingSplit:
    """A stream's text without the thinking before it, in pieces cut anywhere; `split_thinking`, streamed.

    Any text may yet turn out to be thinking without its `<think>`. With `waits` it is held back until that is known, to
    its end if need be; else it is text, unless all of the thinking comes in one piece.
    """

    def __init__(self, *, closed: bool = False, waits: bool = False) -> None:
        self.thinking = ""  # once it is over
        self._closed = closed
        self._waits = waits
        self._held: list[str] = []
        self._tail = ""  # of what is held, so much as has not been looked through
        self._opened: bool | None = None  # does it begin with `<think>`?
        self._over = False

    def feed(self, piece: str) -> str:
        """What is certain to be no thinking."""
        if self._over:
            return piece
        self._held.append(piece)
        self._tail += piece
        return self.finish() if self._decided() else ""

    def _decided(self) -> bool:
        """Is it known by now where the answer begins?"""
        if self._opened is None:
            start = self._tail.lstrip()[: len(_BEGINS)]
            if start != _BEGINS and _BEGINS.startswith(start):
                return False
            self._opened = start == _BEGINS
        if not self._opened and not self._waits:
            return True
        end = _ENDS.search(self._tail)
        if not self._opened and _BEGINS in self._tail[: end.start() if end else None]:
            return True
        if end is not None and end.end() < len(self._tail):
            return True
        self._tail = self._tail[max(0, end.start() - 1) :] if end else self._tail[-len("`</think") :]
        return False

    def finish(self) -> str:
        """The rest, at the end: nothing if the text was all thinking."""
        if self._over:
            return ""
        self._over = True
        self.thinking, said = split_thinking("".join(self._held), closed=self._closed)
        return said

    def drop(self, choice: Json, *, last: bool = False) -> None:
        """`drop_thinking`, of a chunk's choice. At its end, or with the `last` of it, what was held back comes.

        Some servers tell an end in every chunk: thinking that has begun, and is not over, goes on.
        """
        delta = choice.get("delta") or {}
        drop_logprobs(choice)
        drop_reasoning(delta)
        text = message_text(delta)
        said = self.feed(text)
        if (last or choice.get("finish_reason")) and not self._opened:
            said += self.finish()
        if said != text:
            set_text(delta, said)
        if delta:  # what was held back may come where the policy said nothing
            choice["delta"] = delta


def message_text(message: Json) -> str:
    """The text that a reply's message says, tool calls and refusals aside."""
    return "".join(map(part_text, parts_of(message.get("content"))))


def parts_of(content: Any) -> list[Any]:
    """A message's content as parts: it may be a list of them, a single one, a text, or nothing."""
    if isinstance(content, list):
        return content
    return [content] if isinstance(content, str | dict) else []


def texts(reply: Json) -> dict[int, str]:
    """What an unstreamed reply says, by the place of its choices."""
    return {at: message_text(choice.get("message") or {}) for at, choice in enumerate(reply["choices"])}


def set_text(message: Json, text: str) -> None:
    """Puts a text in the place of the message's own; parts that are not text stay."""
    content = message.get("content")
    if not isinstance(content, list | dict):
        message["content"] = text
        return
    parts = parts_of(content)
    first = next((index for index, part in enumerate(parts) if part_text(part)), len(parts))
    message["content"] = [
        _with_text(part, text) if index == first else part
        for index, part in enumerate(parts)
        if index <= first or not part_text(part)
    ]


def _with_text(part: Any, text: str) -> Any:
    if isinstance(part, str):
        return text
    said = part["text"]
    return {**part, "text": {**said, "value": text} if isinstance(said, dict) else text}


def part_text(part: Any) -> str:
    """Whatever a server calls its text, be it a string or `{"value": ...}`; what it has thought is no text."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) and not _is_reasoning(part) else None
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def _is_reasoning(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _REASONING_PARTS
