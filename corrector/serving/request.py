"""What a request may ask for; for everything else a refusal in OpenAI's words: nothing is passed over in silence."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

Zero = Annotated[float, Field(ge=0, le=0)]


class Refused(Exception):
    """A request that cannot be served. The message is for the client."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        told = {"message": str(self), "type": "invalid_request_error", "param": self.param, "code": self.code}
        return {"error": told}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(_Model):
    include_usage: bool = False


class CompletionRequest(_Model):
    """What both APIs have in common. A `Literal` field is one of which this engine knows only what changes nothing."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    stop: str | Annotated[tuple[str, ...], Field(max_length=16)] | None = None

    n: Literal[1] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    user: str | None = None  # says nothing of what is to be generated, as the next three
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | tuple[str, ...] | None) -> tuple[str, ...]:
        return tuple(filter(None, (stop,) if isinstance(stop, str) else stop or ()))

    @property
    def stops(self) -> tuple[str, ...]:
        assert not isinstance(self.stop, str)
        return self.stop or ()

    @property
    def with_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class Completion(CompletionRequest):
    """`/v1/completions`: a text to go on with, or its tokens."""

    prompt: str | list[str] | list[int] | list[list[int]]
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: Literal[""] | None = None

    @field_validator("prompt")
    @classmethod
    def _one(cls, prompt: str | list[Any]) -> str | list[Any]:
        if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
            if len(prompt) > 1:
                raise ValueError("one prompt a request")
            prompt = prompt[0]
        return prompt


class ResponseFormat(_Model):
    type: Literal["text"]


class Message(BaseModel):
    """One turn, as the chat template will see it: fields of it that are unknown here may be known there."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str
    content: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, content: object) -> object:
        if not isinstance(content, list):
            return content
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise ValueError("only parts of text can be read")
        return "".join(part["text"] for part in content)


class Chat(CompletionRequest):
    """`/v1/chat/completions`: messages to answer, in the model's own chat template."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _one_limit(self) -> "Chat":
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ")
        return self


Kind = TypeVar("Kind", Completion, Chat)


def read(kind: type[Kind], body: object) -> Kind:
    """The request. Raises `Refused`."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"][:1])) or None
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "this engine does not know it"
        elif first["type"] in ("literal_error", "none_required", "too_long"):
            what = f"this engine cannot do that: {what}"
        raise Refused(f"{param}: {what}" if param else what, param) from None
