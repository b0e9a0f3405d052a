"""Every other provider, through the litellm SDK; imported on first use and in this file alone.

(Its import takes seconds and a hundred megabytes, and asks the network for prices unless told not to.)
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.exchange import ChatRequest, Json
from gateway.upstreams import PolicyOptions, Reply, Upstream
from wire import sse
from wire.codec import dumps
from wire.errors import Dropped, Rejected, TimedOut, Unreachable, WireError


class Options(PolicyOptions):
    """`model` is litellm's name, such as `anthropic/claude-sonnet-4-5`."""

    kind: Literal["litellm"]
    model: str
    api_key_env: str | None = None
    base_url: str | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60
    retries: Annotated[int, Field(ge=0, le=10)] = 2


def build(name: str, options: Options, run_dir: Path) -> Upstream:
    return LiteLLMUpstream(name, options)


def sdk() -> Any:
    """The litellm module, set up to keep quiet and to stay off the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    return litellm


class LiteLLMUpstream:
    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options

    async def ask(self, request: ChatRequest) -> Reply:
        litellm = await asyncio.to_thread(sdk)
        try:
            answer = await litellm.acompletion(
                **{
                    **request.body,
                    "model": self._options.model,
                    "api_key": os.environ.get(self._options.api_key_env or ""),
                    "base_url": self._options.base_url,
                    "timeout": self._options.timeout_s,
                    "num_retries": self._options.retries,
                }
            )
        except Exception as error:
            raise translate(error, self._name) from error
        return LiteLLMReply(answer, self._name, streamed=request.stream)

    async def reachable(self) -> bool:
        return True  # a hosted provider is asked only with a question, which costs

    async def aclose(self) -> None:
        return None


class LiteLLMReply:
    def __init__(self, answer: Any, name: str, *, streamed: bool) -> None:
        self._answer = answer
        self._name = name
        self.streamed = streamed
        self.headers: Mapping[str, str] = {}

    async def read(self) -> bytes:
        return dumps(_plain(self._answer))

    async def relay(self) -> AsyncIterator[bytes]:
        async for event in self.events():
            yield sse.encode(event)
        yield sse.DONE

    async def events(self) -> AsyncIterator[Json]:
        try:
            async for chunk in self._answer:
                yield _plain(chunk)
        except Exception as error:
            raise translate(error, self._name) from error

    def close(self) -> None:
        # litellm's stream ends its connection when it is collected; there is no sooner way that all providers share.
        self._answer = None


def translate(error: Exception, name: str) -> WireError:
    """litellm's exceptions (subclasses of openai's, with a `status_code`) in our own terms."""
    litellm = sdk()
    if isinstance(error, litellm.Timeout):
        return TimedOut(f"{name} did not answer in time")
    if isinstance(error, litellm.APIConnectionError):
        return Unreachable(f"{name} cannot be reached")
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        body = {"error": {"message": str(error), "type": type(error).__name__, "param": None, "code": str(status)}}
        return Rejected(f"{name} answered {status}", status, dict(headers), dumps(body))
    return Dropped(f"{name} failed: {type(error).__name__}")


def _plain(answer: Any) -> Json:
    """litellm's model as the JSON that OpenAI would send: without the SDK's own fields."""
    plain: Json = answer.model_dump(mode="json", exclude_unset=False, exclude_none=False)
    for choice in plain.get("choices") or []:
        for part in (choice.get("message"), choice.get("delta")):
            for key in ("provider_specific_fields", "function_call", "tool_calls", "audio"):
                if isinstance(part, dict) and part.get(key) is None:
                    part.pop(key, None)
    return {key: value for key, value in plain.items() if value is not None or key == "usage"}
