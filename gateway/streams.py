"""An answer's chunks: its text held back while everything else passes, folded into one answer, or made of one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.exchange import KNOWN, Json, drop_reasoning, message_text, part_text, parts_of
from wire.errors import Dropped, Malformed

_SAYS_NOTHING: tuple[Any, ...] = (None, "", [], {})
_TOLD_WHOLE = ("role", "id", "type")  # every other string of a delta is a piece of one


@dataclass(slots=True)
class StreamedChoice:
    """One choice of a stream, so far: its text held back, and its last chunk once that has come."""

    index: int
    texts: list[str] = field(default_factory=list)
    finish: Json | None = None
    finish_event: Json = field(default_factory=dict)
    annotations: list[Any] = field(default_factory=list)  # of the text, by its places: they wait for it
    had_logprobs: bool = False  # or a null in their place
    called_tools: bool = False
    given: int = 0  # how many of the texts `news` has given

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def news(self) -> str:
        """What has come since it was last asked for."""
        since, self.given = self.given, len(self.texts)
        return "".join(self.texts[since:])


class HeldStream:
    """Takes a stream's chunks, keeps the text and the ends back, and lets everything else pass.

    The role goes out first and once; an end (`finish_reason`) and usage wait for the corrected text.
    """

    def __init__(self, *, drop_reasoning: bool = False) -> None:
        self.choices: dict[int, StreamedChoice] = {}
        self.answered = False  # be it without any choice
        self.usage_events: list[Json] = []
        self.envelope: Json = {}  # of every chunk
        self._told_once: Json = {}  # so far
        self._drop_reasoning = drop_reasoning

    @property
    def ended(self) -> bool:
        """Has every choice that began come to its end?"""
        return bool(self.choices) and all(choice.finish is not None for choice in self.choices.values())

    def take(self, event: Json) -> Json | None:
        """What of the chunk may go to the client now."""
        choices = event.get("choices")
        self.answered |= choices is not None
        if not isinstance(choices, list) or not choices:
            if event.get("usage") is None:
                return event
            self.usage_events.append(event)
            return None
        top = {key: value for key, value in event.items() if key != "choices"}
        said = {key: value for key, value in top.items() if key != "usage" or value is None}
        self._learn(said)
        passing: list[Json] = []
        ends = [choice for choice in choices if choice.get("finish_reason")]
        # Usage in the chunk of an end goes with that end, the last if there are several, and not with what passes.
        for choice in choices:
            passing.extend(self._take_choice(choice, top if ends and choice is ends[-1] else said))
        if self.ended and not ends and not passing and top.get("usage") is not None:
            self.usage_events = [{**top, "choices": []}]  # OpenRouter: after the end, beside an empty delta
        return {**(said if ends else top), "choices": passing} if passing else None

    def _learn(self, said: Json) -> None:
        """Which fields every chunk has: those that are known, and of others what the second chunk says alike.

        Clients look for OpenRouter's `provider` in each chunk; vLLM's `prompt_token_ids` stand in the first alone, and
        OpenAI's `obfuscation` is another one every time.
        """
        if not self.envelope:
            self.envelope = {key: value for key, value in said.items() if key in KNOWN}
            self._told_once = {key: value for key, value in said.items() if key not in KNOWN}
        elif self._told_once:
            again = {key: value for key, value in said.items() if key in self._told_once}
            self.envelope |= {key: value for key, value in again.items() if value == self._told_once[key]}
            self._told_once = {}

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
            others = [part for part in parts_of(content) if not isinstance(part, str) and not part_text(part)]
            if others:
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
        if "logprobs" in choice:
            state.had_logprobs = True
            shown["logprobs"] = None
        if first:
            shown["delta"] = {"role": role or "assistant", **({"content": ""} if had_text else {}), **delta}
        if any(value not in _SAYS_NOTHING for value in shown["delta"].values()):
            yield shown
        if ends:
            state.finish = {**shown, "delta": {}, "finish_reason": choice["finish_reason"]}
            state.finish_event = top

    def end(self, *, done: bool) -> list[StreamedChoice]:
        """The stream is over, with a `[DONE]` or without: the choices that have no other end, which says no reason.

        Raises `Dropped` where such a choice, or an answer without one, has no `[DONE]` either.
        """
        unended = [choice for choice in self.choices.values() if choice.finish is None]
        if not self.answered or ((unended or not self.choices) and not done):
            raise Dropped("the policy's stream ended before its answer did")
        for choice in unended:
            choice.finish = self._blank(choice)
            choice.finish_event = self.envelope
        return unended

    def text_chunk(self, choice: StreamedChoice, text: str) -> Json:
        """A chunk in the stream's own envelope that says a piece of text."""
        return {**self.envelope, "choices": [{**self._blank(choice), "delta": {"content": text}}]}

    def _blank(self, choice: StreamedChoice) -> Json:
        blank: Json = {"index": choice.index, "delta": {}, "finish_reason": None}
        return {**blank, "logprobs": None} if choice.had_logprobs else blank


def as_chunks(reply: Json, *, include_usage: bool) -> Iterator[Json]:
    """An unstreamed answer as chunks, for a client that asked for a stream of an upstream that cannot.

    Raises `Malformed` for tool calls that are no list of objects.
    """
    top = {key: value for key, value in reply.items() if key not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    if not reply.get("choices"):
        yield {**top, "choices": []}
    for at, choice in enumerate(reply.get("choices") or []):
        index = choice.get("index", at)
        rest = {key: value for key, value in choice.items() if key not in ("message", "finish_reason")}
        message = dict(choice.get("message") or {})
        if message.get("tool_calls"):
            calls = _objects(message["tool_calls"])
            message["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
        yield {**top, "choices": [{"index": index, **rest, "delta": message, "finish_reason": None}]}
        yield {**top, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}]}
    if include_usage and reply.get("usage") is not None:
        yield {**top, "choices": [], "usage": reply["usage"]}


class Fold:
    """Chunks to the unstreamed answer that they spell, for an upstream that streams unasked."""

    def __init__(self) -> None:
        self.answered = False  # be it without any choice
        self._top: Json = {}
        self._choices: dict[int, Json] = {}

    def take(self, event: Json) -> None:
        """Raises `Malformed` for tool calls that are no list of objects."""
        self.answered |= event.get("choices") is not None
        self._top.update({key: value for key, value in event.items() if key != "choices" and value is not None})
        for chunk in event.get("choices") or []:
            index = chunk.get("index", 0)
            choice = self._choices.setdefault(
                index, {"index": index, "message": {"role": "assistant", "content": None}}
            )
            rest = {key: value for key, value in chunk.items() if key not in ("delta", "index")}
            _merge(choice, rest, pieces=False)  # Azure judges each chunk anew: "safe" is no piece of a word
            _say(choice["message"], chunk.get("delta") or {})

    def reply(self) -> Json:
        choices = [self._choices[index] for index in sorted(self._choices)]
        return {**self._top, "object": "chat.completion", "choices": [_unstreamed(choice) for choice in choices]}


def _say(message: Json, delta: Json) -> None:
    """Adds a delta to the message so far."""
    rest = dict(delta)
    if "content" in rest:
        message["content"] = _content(message["content"], rest.pop("content"))
    if rest.get("tool_calls"):
        message["tool_calls"] = _calls(message.get("tool_calls") or [], rest.pop("tool_calls"))
    _merge(message, rest)


def _merge(whole: Json, more: Json, *, pieces: bool = True) -> None:
    """Adds what is new: lists go on, and so do strings, if they are `pieces`; of anything else the last one holds."""
    for key, value in more.items():
        known = whole.get(key)
        if isinstance(value, dict):
            if not isinstance(known, dict):
                known = whole[key] = {}
            _merge(known, value, pieces=pieces)
        elif isinstance(value, list):
            if not isinstance(known, list):
                known = whole[key] = []
            known.extend(value)
        elif pieces and isinstance(value, str) and isinstance(known, str) and key not in _TOLD_WHOLE:
            whole[key] = known + value
        elif value is not None or key not in whole:
            whole[key] = value


def _content(known: Any, more: Any) -> Any:
    """A text, or parts where a server has such; Mistral thinks in parts, and then answers in a text."""
    if isinstance(known, str) and isinstance(more, str):
        return known + more
    if not isinstance(known, list | dict) and not isinstance(more, list | dict):
        return known if more is None else more
    parts, new = _parts(known), _parts(more)
    if parts and new and _same_but_for_text(parts[-1], new[0]):
        parts[-1] = {**parts[-1], "text": parts[-1]["text"] + new.pop(0)["text"]}
    return parts + new


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(parts_of(content))


def _same_but_for_text(one: Any, other: Any) -> bool:
    if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in (one, other)):
        return False
    return {**one, "text": ""} == {**other, "text": ""}


def _calls(calls: list[Json], more: Any) -> list[Json]:
    """The tool calls so far, with what a delta adds to them."""
    for said in _objects(more):
        _merge(_call(calls, said), {key: value for key, value in said.items() if key != "index"})
    return calls


def _objects(calls: Any) -> list[Json]:
    if not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise Malformed("the policy's answer has tool calls that are none")
    return calls


def _call(calls: list[Json], said: Json) -> Json:
    """The one that a delta goes on with, or a new one: by index; where a server has none, by id, or else the last."""
    index = said.get("index") if isinstance(said.get("index"), int) else None
    if index is not None:
        same = [call for call in calls if call["index"] == index]
    elif said.get("id"):
        same = [call for call in calls if call.get("id") == said["id"]]
    else:
        same = calls[-1:]
    if not same:
        calls.append({"index": len(calls) if index is None else index})
        same = calls[-1:]
    return same[0]


def _unstreamed(choice: Json) -> Json:
    """Places of tool calls are a stream's own."""
    message = choice["message"]
    if not message.get("tool_calls"):
        return choice
    calls = sorted(message["tool_calls"], key=lambda call: call["index"])
    calls = [{key: value for key, value in call.items() if key != "index"} for call in calls]
    return {**choice, "message": {**message, "tool_calls": calls}}
