"""What flows: the request as it came, and the texts inside an answer. Chunks are `streams.py`'s.

Every field that is not known here passes as it is. Knows nothing of alignment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from corrector.templates import Turn
from gateway.errors import GatewayError
from wire.codec import loads
from wire.errors import Malformed

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
_THINKING = re.compile(r"\s*<think>.*?(?P<end></think>\s*|\Z)", re.DOTALL)
# What an answer is known to have. Other fields pass too, except to who may not see drafts: they may restate one
# (llama.cpp's `__verbose`, vLLM's `token_ids` and `prompt_logprobs`).
KNOWN = frozenset(("id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "choices"))
_KNOWN_OF_CHOICE = frozenset(("index", "message", "delta", "finish_reason", "logprobs", "stop_reason"))
_KNOWN_OF_MESSAGE = frozenset(
    ("role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio", *REASONING_FIELDS)
)

# Fields by which it is decided here who may ask, and what is corrected.
_DECIDING = frozenset(("model", "messages", "stream", "response_format", "modalities", "audio"))

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


def check(answer: Json, part: Literal["message", "delta"]) -> Json:
    """The answer with its choices' `message`s, or the chunk of one with their `delta`s, and not with the other.

    Some servers send in a stream, beside what is new, all that has been said so far: whoever corrects, or cuts, the one
    would leave it in the other. Raises `Malformed` for a shape that cannot be worked on.
    """
    choices = answer.get("choices")
    if not (choices is None or (isinstance(choices, list) and all(_is_choice(choice, part) for choice in choices))):
        raise Malformed("the policy's answer does not have the shape of a chat completion")
    other = "delta" if part == "message" else "message"
    if choices and any(other in choice for choice in choices):
        choices = [{name: value for name, value in choice.items() if name != other} for choice in choices]
        return {**answer, "choices": choices}
    return answer


def _is_choice(choice: Any, part: str) -> bool:
    return (
        isinstance(choice, dict)
        and isinstance(choice.get("index", 0), int)
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
        told = "\n".join(system)
        first = turns[0] if turns and turns[0].role == "user" else None
        turns[: 1 if first else 0] = [Turn("user", f"{told}\n\n{first.text}" if first else told)]
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
    if isinstance(content := message.get("content"), list):
        message["content"] = [part for part in content if not _is_reasoning(part)] or ""


def only_known(answer: Json) -> Json:
    """The answer, or the chunk of one, without fields that may restate its text."""
    known = _kept(answer, KNOWN)
    if isinstance(known.get("choices"), list):
        known["choices"] = [_kept(choice, _KNOWN_OF_CHOICE) for choice in known["choices"]]
        for choice in known["choices"]:
            for part in ("message", "delta"):
                if choice.get(part):
                    choice[part] = _kept(choice[part], _KNOWN_OF_MESSAGE)
    return known


def _kept(plain: Json, names: frozenset[str]) -> Json:
    return {name: value for name, value in plain.items() if name in names}


def split_thinking(text: str, *, closed: bool = False) -> tuple[str, str]:
    """A leading `<think>...</think>` that a server left in the text, and the answer proper.

    One that is not closed is all thinking, or with `closed` all answer.
    """
    match = _THINKING.match(text)
    cut = match.end() if match and (match["end"] or not closed) else 0
    return text[:cut], text[cut:]


class ThinkingSplit:
    """A stream's text without a leading `<think>...</think>`, in pieces cut anywhere; `split_thinking`, streamed."""

    def __init__(self, *, closed: bool = False) -> None:
        self.thinking = ""  # once it is over
        self._closed = closed
        self._held = ""
        self._looked = 0  # how far `</think>` has been looked for
        self._over = False

    def feed(self, piece: str) -> str:
        """What is certain to be no thinking."""
        if self._over:
            return piece
        self._held += piece
        start = self._held.lstrip()[:7] if self._looked == 0 else "<think>"
        if "<think>".startswith(start):  # so far it may be one, or is
            if start == "<think>":
                at = self._held.find("</think>", max(0, self._looked - len("</think>")))
                self._looked = len(self._held)
                if at >= 0 and self._held[at + len("</think>") :].strip():
                    return self.finish()
                self._looked = at if at >= 0 else self._looked
            return ""
        return self.finish()

    def finish(self) -> str:
        """The rest, at the end: nothing if the text was all thinking."""
        if self._over:
            return ""
        self._over = True
        self.thinking, said = split_thinking(self._held, closed=self._closed)
        return said

    def drop(self, message: Json, *, ends: bool) -> None:
        """Takes the thinking out of a message, or of a delta; at its end, what was held back comes, if it is none.

        Some servers tell an end in every chunk: thinking that is not over goes on.
        """
        text = message_text(message)
        said = self.feed(text)
        if ends and not self._held.lstrip().startswith("<think>"):
            said += self.finish()
        if said != text:
            with_text(message, said)


def message_text(message: Json) -> str:
    """The text that a reply's message says, tool calls and refusals aside."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part_text(part) for part in content)
    return content if isinstance(content, str) else ""


def texts(reply: Json) -> dict[int, str]:
    """What an unstreamed reply says, by the place of its choices."""
    return {at: message_text(choice.get("message") or {}) for at, choice in enumerate(reply["choices"])}


def with_text(message: Json, text: str) -> None:
    """Puts a corrected text in the place of the message's own; parts that are not text stay."""
    content = message.get("content")
    if not isinstance(content, list):
        message["content"] = text
        return
    first = next((index for index, part in enumerate(content) if part_text(part)), len(content))
    message["content"] = [
        {**part, "text": text} if index == first else part
        for index, part in enumerate(content)
        if index <= first or not part_text(part)
    ]


def part_text(part: Any) -> str:
    """Whatever a server calls its text; what it has thought is no text."""
    text = part.get("text") if isinstance(part, dict) and not _is_reasoning(part) else None
    return text if isinstance(text, str) else ""


def _is_reasoning(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _REASONING_PARTS
