"""What litellm itself refuses, cannot read or cannot do, and what it says of that."""

import logging
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import respx

from gateway.exchange import ChatRequest, parse
from gateway.upstreams.litellm import LiteLLMReply, LiteLLMUpstream, Options, sdk, translate
from tests.gateway.upstreams.test_litellm import MESSAGES, claude
from wire.codec import dumps, loads
from wire.endpoint import retry_wait_s
from wire.errors import Malformed, Rejected, Unreachable, WireError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # litellm's own


def asked(messages: list[Any]) -> ChatRequest:
    return parse(dumps({"model": "claude", "messages": messages}), (), "")


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LiteLLMUpstream:
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude")
    monkeypatch.setattr(sdk(), "disable_aiohttp_transport", True)  # respx sees httpx only
    return claude(tmp_path, retries=2)


async def test_what_the_sdk_refuses_is_the_requests_fault(upstream: LiteLLMUpstream) -> None:
    with respx.mock(assert_all_called=False) as mock, pytest.raises(Rejected) as caught:
        await upstream.ask(asked(["no message"]))
    assert not mock.calls
    assert (caught.value.status, caught.value.of_the_request) == (400, True)
    message = loads(caught.value.body)["error"]["message"]
    assert message == "litellm refuses the request: 'str' object has no attribute 'get'"


@pytest.mark.parametrize("answer", [{"text": "<html>what it wrote"}, {"json": {"content": [{"type": "text"}]}}])
async def test_an_answer_that_it_cannot_read_is_not(upstream: LiteLLMUpstream, answer: dict[str, Any]) -> None:
    with respx.mock as mock, pytest.raises(Malformed) as caught:
        mock.post(MESSAGES).mock(return_value=httpx.Response(200, **answer))
        await upstream.ask(asked([{"role": "user", "content": "Why?"}]))
    assert "what it wrote" not in str(caught.value)


async def test_a_chunk_that_it_cannot_read_is_not_either() -> None:
    class Answer:
        def __aiter__(self) -> "Answer":
            return self

        async def __anext__(self) -> None:
            raise sdk().APIConnectionError("what it wrote", "p", "m")

        async def aclose(self) -> None:
            return None

    with pytest.raises(Malformed):
        async for _ in LiteLLMReply(Answer(), "claude", streamed=True).events():
            pass


@pytest.mark.parametrize(
    "cause", [httpx.ReadError("x"), aiohttp.ClientPayloadError("x"), ConnectionResetError("x")], ids=repr
)
def test_a_connection_that_breaks_is_told_as_one(cause: Exception) -> None:
    error = sdk().APIConnectionError("gone", "p", "m")
    error.__context__ = KeyError("between")
    error.__context__.__cause__ = cause
    assert isinstance(translate(error, "claude"), Unreachable)


def test_causes_in_a_ring_are_looked_at_once() -> None:
    error, other = sdk().APIConnectionError("gone", "p", "m"), KeyError("x")
    error.__context__, other.__cause__ = other, error
    assert isinstance(translate(error, "claude"), Rejected)


async def test_a_provider_that_needs_more_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried again, and a fallback is asked."""

    async def needs_more(**_: Any) -> None:
        try:
            raise ModuleNotFoundError("No module named 'boto3'")
        except ModuleNotFoundError as error:
            raise sdk().APIConnectionError("no", "p", "m") from error

    monkeypatch.setattr(sdk(), "acompletion", needs_more)
    upstream = LiteLLMUpstream("claude", Options(kind="litellm", model="bedrock/x", corrector="none"))
    with pytest.raises(WireError, match="claude cannot be asked: No module named 'boto3'") as caught:
        await upstream.ask(asked([]))
    assert not isinstance(caught.value, Rejected)
    assert retry_wait_s(caught.value, 0) is None


async def test_without_litellm_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = LiteLLMUpstream("claude", Options(kind="litellm", model="m", corrector="none"))

    def absent() -> None:
        raise ModuleNotFoundError("No module named 'litellm'")

    monkeypatch.setattr("gateway.upstreams.litellm.sdk", absent)
    with pytest.raises(WireError, match="claude cannot be asked: No module named 'litellm'"):
        await upstream.ask(asked([]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs litellm: .*'\.\[litellm\]'"):
        Options(kind="litellm", model="m", corrector="none")


def test_its_warnings_quote_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sdk()
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).warning("Image fetch of http://secret")
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
