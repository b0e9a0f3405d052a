"""Every other provider, through the litellm SDK; imported on first use and in this file alone.

(Its import takes seconds and a hundred megabytes, and asks the network for prices unless told not to.)
"""

import asyncio
import importlib.util
import json
import logging
import os
import traceback
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import aiohttp
from pydantic import Field, model_validator

from corrector.strictyaml import Variable, secret
from gateway.exchange import ChatRequest, Json
from gateway.upstreams import LONGEST_ANSWER_S, PolicyOptions, Reply, Upstream
from wire import sse
from wire.codec import dumps
from wire.endpoint import retry_wait_s
from wire.errors import Dropped, Malformed, Rejected, TimedOut, Unreachable, WireError

# OpenAI's own fields, and those that several providers share. The SDK's call takes far more from its caller
# (`api_base`, `mock_response`, `extra_headers` ...): a client that could set those could have our key sent anywhere.
FIELDS = frozenset(
    """
    model messages stream stream_options temperature top_p top_k min_p n stop max_tokens max_completion_tokens
    presence_penalty frequency_penalty repetition_penalty logit_bias logprobs top_logprobs seed user metadata store
    response_format tools tool_choice parallel_tool_calls functions function_call modalities audio prediction
    reasoning_effort thinking verbosity web_search_options service_tier safety_identifier prompt_cache_key
    prompt_cache_retention
    """.split()  # noqa: SIM905 - a table of names reads better as words
)

# The SDK's functions that read a provider's answer: what fails in one is no fault of the request.
_READING = ("transform_response", "transform_parsed_response", "convert_to_model_response")


class Options(PolicyOptions):
    """`model` is litellm's name, such as `anthropic/claude-sonnet-4-5`."""

    kind: Literal["litellm"]
    model: str
    api_key_env: Variable | None = None
    base_url: str | None = None
    timeout_s: Annotated[float, Field(gt=0)] = LONGEST_ANSWER_S
    retries: Annotated[int, Field(ge=0, le=10)] = 2

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if importlib.util.find_spec("litellm") is None:
            raise ValueError("this kind needs litellm: .venv/bin/pip install -c constraints.txt -e '.[litellm]'")
        return self


def build(name: str, options: Options, run_dir: Path) -> Upstream:
    return LiteLLMUpstream(name, options)


def sdk() -> Any:
    """The litellm module, set up to keep quiet and to stay off the network."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True  # their warnings quote what was asked
    return litellm


class LiteLLMUpstream:
    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options

    async def ask(self, request: ChatRequest) -> Reply:
        unknown = sorted(name for name, value in request.body.items() if name not in FIELDS and value is not None)
        if unknown:
            raise _rejected(self._name, 400, f"a policy of kind litellm does not take {', '.join(unknown)}", unknown[0])
        try:
            litellm = await asyncio.to_thread(sdk)
        except ImportError as error:
            raise WireError(f"{self._name} cannot be asked: {error}") from error
        ours = {
            "model": self._options.model,
            "api_key": secret(self._options.api_key_env) or None,
            "base_url": self._options.base_url,
            "timeout": self._options.timeout_s,
            "num_retries": 0,  # ours are the same for every provider, and know Retry-After
            "max_retries": 0,
            "_skip_mcp_handler": True,  # tools are the client's to run, and the handler wants a package more
        }
        attempt = 0
        while True:
            try:
                answer = await litellm.acompletion(**{**request.body, **ours})
                return LiteLLMReply(answer, self._name, streamed=request.stream)
            except Exception as error:
                failure = translate(error, self._name)
                wait_s = retry_wait_s(failure, attempt)
                if wait_s is None or attempt == self._options.retries:
                    raise failure from error
            attempt += 1
            await asyncio.sleep(wait_s)

    async def reachable(self) -> bool:
        return True  # a hosted provider is asked only with a question, which costs

    async def aclose(self) -> None:
        return None


class LiteLLMReply:
    done = False  # nobody can tell: the SDK keeps it to itself, and says a `finish_reason` in any case

    def __init__(self, answer: Any, name: str, *, streamed: bool) -> None:
        self._answer = answer
        self._name = name
        self.streamed = streamed
        self.headers: Mapping[str, str] = {}

    async def read(self) -> bytes:
        return dumps(_plain(self._answer))

    async def relay(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.events()) as events:
            async for event in events:
                yield sse.encode(event)
        yield sse.DONE

    async def events(self) -> AsyncGenerator[Json, None]:
        answer = self._answer
        try:
            async for chunk in answer:
                yield _plain(chunk)
        except Exception as error:
            raise translate(error, self._name, answering=True) from error
        finally:
            await answer.aclose()  # also where nobody wants the rest: that stops the provider

    def close(self) -> None:
        self._answer = None  # a stream that nobody has begun to read ends its connection when it is collected


def translate(error: Exception, name: str, *, answering: bool = False) -> WireError:
    """litellm's exceptions (subclasses of openai's, with a `status_code`) in our own terms.

    `answering`: has the provider begun its answer?
    """
    import httpx  # litellm's own

    litellm = sdk()
    if isinstance(error, litellm.Timeout):
        return TimedOut(f"{name} did not answer in time")
    if any(isinstance(cause, httpx.ConnectError) for cause in _causes(error)):
        return Unreachable(f"{name} cannot be reached")  # most providers' files call that a 500
    if isinstance(error, litellm.APIConnectionError):
        return _unmapped(error, name, answering)
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and 400 <= status < 600:
        headers = getattr(error, "litellm_response_headers", None)
        headers = headers or getattr(getattr(error, "response", None), "headers", None) or {}
        return _rejected(name, status, _message(str(error)), None, type(error).__name__, dict(headers))
    return Dropped(f"{name} failed: {type(error).__name__}")


def _unmapped(error: Exception, name: str, answering: bool) -> WireError:
    """An `APIConnectionError`: the SDK's name for whatever it does not know, its own faults and refusals too."""
    import httpx

    causes = list(_causes(error))
    if any(isinstance(cause, (httpx.TransportError, aiohttp.ClientError, OSError)) for cause in causes):
        return Unreachable(f"{name} cannot be reached")
    if missing := next((cause for cause in causes if isinstance(cause, ImportError)), None):
        return WireError(f"{name} cannot be asked: {missing}")  # what a provider needs is no need of the others
    if answering or any(_of_the_answer(cause) for cause in causes):
        return Malformed(f"{name} sent an answer that litellm cannot read")
    first, _, _ = str(error).partition("\n")  # a traceback follows
    said = _message(first).removeprefix("litellm.APIConnectionError: ")
    return _rejected(name, 400, f"litellm refuses the request: {said}", None)


def _of_the_answer(cause: BaseException) -> bool:
    status = getattr(cause, "status_code", None)
    if isinstance(status, int) and status < 300:
        return True
    return any(frame.name.startswith(_READING) for frame in traceback.extract_tb(cause.__traceback__))


def _message(said: str) -> str:
    """What the provider says of it. The SDK's own text quotes the whole body, which may hold what its model wrote."""
    before, brace, _ = said.partition("{")
    if not brace:
        return said
    try:
        body, _ = json.JSONDecoder().raw_decode(said, len(before))
    except ValueError:
        return before.rstrip(" -:")
    told = body.get("error", body) if isinstance(body, dict) else None
    message = told.get("message") if isinstance(told, dict) else told
    return f"{before}{message}" if isinstance(message, str) else before.rstrip(" -:")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # the SDK raises again what it has caught: a ring at times
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _rejected(
    name: str,
    status: int,
    message: str,
    param: str | None,
    kind: str = "invalid_request_error",
    headers: Mapping[str, str] | None = None,
) -> Rejected:
    body = {"error": {"message": message, "type": kind, "param": param, "code": str(status)}}
    return Rejected(f"{name} answered {status}", status, headers or {}, dumps(body))


def _plain(answer: Any) -> Json:
    """litellm's model as the JSON that OpenAI would send: without the SDK's own fields."""
    plain: Json = answer.model_dump(mode="json", exclude_unset=False, exclude_none=False)
    for choice in plain.get("choices") or []:
        for part in (choice.get("message"), choice.get("delta")):
            if isinstance(part, dict):
                part.pop("provider_specific_fields", None)  # thinking stands in them once more
                for key in ("function_call", "tool_calls", "audio"):
                    if part.get(key) is None:
                        part.pop(key, None)
    return {key: value for key, value in plain.items() if value is not None or key == "usage"}
