"""An answer's chunks: its text held back while everything else passes, folded into one answer, or made of one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.exchange import Json, drop_reasoning, message_text, part_text


@dataclass(slots=True)
class StreamedChoice:
    """One choice of a stream, so far: its text held back, and its last chunk once that has come."""

    index: int
    texts: list[str] = field(default_factory=list)
    finish: Json | None = None
    finish_event: Json = field(default_factory=dict)
    annotations: list[Any] = field(default_factory=list)  # of the text, by its places: they wait for it
    had_logprobs: bool = False
    called_tools: bool = False
    told: int = 0  # how many of the texts `news` has given

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def news(self) -> str:
        """What has come since it was last asked for."""
        since, self.told = self.told, len(self.texts)
        return "".join(self.texts[since:])


class HeldStream:
    """Takes a stream's chunks, keeps the text and the ends back, and lets everything else pass.

    The role goes out first and once; an end (`finish_reason`) and usage wait for the corrected text.
    """

    def __init__(self, *, drop_reasoning: bool = False) -> None:
        self.choices: dict[int, StreamedChoice] = {}
        self.usage_events: list[Json] = []
        self.envelope: Json = {}
        self._drop_reasoning = drop_reasoning

    @property
    def ended(self) -> bool:
        """Has every choice that began come to its end?"""
        return bool(self.choices) and all(choice.finish is not None for choice in self.choices.values())

    def take(self, event: Json) -> Json | None:
        """What of the chunk may go to the client now."""
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            if event.get("usage") is None:
                return event
            self.usage_events.append(event)
            return None
        top = {key: value for key, value in event.items() if key != "choices"}
        said = {key: value for key, value in top.items() if key != "usage" or value is None}
        self.envelope = self.envelope or said
        passing: list[Json] = []
        for choice in choices:
            passing.extend(self._take_choice(choice, top))
        # Usage in the chunk of an end goes with that end, and not with what passes before it.
        ends = any(choice.get("finish_reason") for choice in choices)
        if self.ended and not ends and not passing and top.get("usage") is not None:
            self.usage_events = [{**top, "choices": []}]  # OpenRouter: after the end, beside an empty delta
        return {**(said if ends else top), "choices": passing} if passing else None

    def _take_choice(self, choice: Json, top: Json) -> Iterator[Json]:
        index = choice.get("index", 0)
        state = self.choices.get(index)
        first = state is None
        if state is None:
            state = self.choices[index] = StreamedChoice(index)
        delta = dict(choice.get("delta") or {})
        state.texts.append(message_text(delta))
        had_text = delta.get("content") is not None
        if had_text:
            content = delta.pop("content")
            if isinstance(content, list) and (others := [part for part in content if not part_text(part)]):
                delta["content"] = others
        role = delta.pop("role", None)
        if self._drop_reasoning:
            drop_reasoning(delta)
            if delta.get("content") == "":  # it was all thinking
                del delta["content"]
        state.called_tools |= bool(delta.get("tool_calls") or delta.get("function_call"))
        if isinstance(delta.get("annotations"), list) and delta["annotations"]:
            state.annotations += delta.pop("annotations")
        # Some servers have a reason in every chunk, or "" in all but the last: an end is told once, and has no news.
        ends = bool(choice.get("finish_reason"))
        shown = {**choice, "delta": delta, "finish_reason": None}
        if choice.get("logprobs") is not None:
            state.had_logprobs = True
            shown["logprobs"] = None
        if first:
            shown["delta"] = {"role": role or "assistant", **({"content": ""} if had_text else {}), **delta}
        if shown["delta"]:
            yield shown
        if ends:
            state.finish = {**shown, "delta": {}, "finish_reason": choice["finish_reason"]}
            state.finish_event = top

    def text_chunk(self, choice: StreamedChoice, text: str) -> Json:
        """A chunk in the stream's own envelope that says a piece of text."""
        said: Json = {"index": choice.index, "delta": {"content": text}, "finish_reason": None}
        if choice.had_logprobs:
            said["logprobs"] = None
        return {**self.envelope, "choices": [said]}


def as_chunks(reply: Json, *, include_usage: bool) -> Iterator[Json]:
    """An unstreamed answer as chunks, for a client that asked for a stream of an upstream that cannot."""
    top = {key: value for key, value in reply.items() if key not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    for choice in reply.get("choices") or []:
        rest = {key: value for key, value in choice.items() if key not in ("message", "finish_reason")}
        message = dict(choice.get("message") or {})
        if message.get("tool_calls"):
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(message["tool_calls"])]
        yield {**top, "choices": [{**rest, "delta": message, "finish_reason": None}]}
        yield {**top, "choices": [{**rest, "delta": {}, "finish_reason": choice.get("finish_reason")}]}
    if include_usage and reply.get("usage") is not None:
        yield {**top, "choices": [], "usage": reply["usage"]}


class Fold:
    """Chunks to the unstreamed answer that they spell, for an upstream that streams unasked."""

    def __init__(self) -> None:
        self._top: Json = {}
        self._choices: dict[int, Json] = {}

    def take(self, event: Json) -> None:
        self._top.update({key: value for key, value in event.items() if key != "choices" and value is not None})
        for chunk in event.get("choices") or []:
            choice = self._choices.setdefault(
                chunk.get("index", 0),
                {"index": chunk.get("index", 0), "message": {"role": "assistant", "content": None}},
            )
            for key, value in chunk.items():
                if key not in ("delta", "index") and (value is not None or key not in choice):
                    choice[key] = value
            _merge(choice["message"], chunk.get("delta") or {})

    def reply(self) -> Json:
        return {
            **self._top,
            "object": "chat.completion",
            "choices": [self._choices[index] for index in sorted(self._choices)],
        }


def _merge(message: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for call in value or []:
                while len(calls) <= call.get("index", 0):
                    calls.append({})
                _merge(calls[call.get("index", 0)], {name: part for name, part in call.items() if name != "index"})
        elif isinstance(value, dict) and isinstance(message.get(key), dict):
            _merge(message[key], value)
        elif isinstance(value, str) and isinstance(message.get(key), str) and key not in ("role", "id", "type"):
            message[key] += value
        elif value is not None or key not in message:
            message[key] = dict(value) if isinstance(value, dict) else value
