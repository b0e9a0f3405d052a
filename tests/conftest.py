"""A real local upstream and a real gateway, both on loopback, for every test that wants them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from hypothesis import settings

from corrector.running import run_dir
from gateway.app import Settings, create_app
from gateway.config import read
from gateway.http1 import Http1
from wire import sse

ROOT = Path(__file__).parent.parent
# The same examples on every machine, and none of them timed.
settings.register_profile("house", deadline=None, derandomize=True, database=None, max_examples=150)
settings.load_profile("house")

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the audit trail of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("METAALIGNER_ADMIN_KEY", raising=False)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to anything beyond this machine."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@dataclass
class Service:
    """A scripted HTTP service on loopback. Set `handler`; what came is in `requests`, newest last."""

    handler: Handler
    url: str = ""
    requests: list[tuple[web.Request, dict[str, Any]]] = field(default_factory=list)
    cancelled: int = 0

    @property
    def last(self) -> dict[str, Any]:
        return self.requests[-1][1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"status": "ok"})
        body = await request.json()
        self.requests.append((request, body))
        try:
            return await self.handler(request, body)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def chat_reply(text: str | None, **extra: Any) -> dict[str, Any]:
    """A body as OpenAI sends it, with fields that no gateway knows."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "upstream-model",
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        **extra,
    }


def chat_chunk(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "upstream-model",
        "system_fingerprint": "fp_1",
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def saying(text: str) -> Handler:
    """A policy that says this text, streamed word by word if asked so."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response(chat_reply(text), headers={"x-ratelimit-remaining-requests": "9"})
        words = [word + " " for word in text.split(" ")]
        words[-1] = words[-1][:-1]
        events = [chat_chunk({"role": "assistant", "content": "", "refusal": None})]
        events += [chat_chunk({"content": word}) for word in words]
        events.append(chat_chunk({}, "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
            events = [{**event, "usage": None} for event in events]
            events.append({**chat_chunk({}), "choices": [], "usage": usage})
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE])

    return handler


async def streaming(request: web.Request, chunks: list[bytes], pause_s: float = 0.0) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
        if pause_s:
            await asyncio.sleep(pause_s)
    await response.write_eof()
    return response


def correcting(change: Callable[[str], str], *, finish_reason: str = "stop", pause_s: float = 0.0) -> Handler:
    """A corrector for the `ultrafeedback` template that rewrites the answer in its prompt by a function."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        answer = body["prompt"].rpartition(" | Answer: ")[2].removesuffix(" | Edit: ")
        text = change(answer)
        pieces = [text[i : i + 5] for i in range(0, len(text), 5)]
        events: list[dict[str, Any]] = [{"choices": [{"index": 0, "text": piece}]} for piece in pieces]
        events.append({"choices": [{"index": 0, "text": "", "finish_reason": finish_reason}]})
        events.append({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}})
        return await streaming(request, [sse.encode(event) for event in events] + [sse.DONE], pause_s)

    return handler


@pytest.fixture
async def service() -> AsyncIterator[Callable[[Handler], Awaitable[Service]]]:
    """Starts scripted services: `policy = await service(saying("..."))`."""
    runners = []

    async def start(handler: Handler) -> Service:
        made = Service(handler)
        app = web.Application(client_max_size=64_000_000, handler_args={"handler_cancellation": True})
        app.router.add_route("*", "/{path:.*}", made.handle)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return made

    yield start
    for runner in runners:
        await runner.cleanup()


@dataclass
class Gateway:
    """A running gateway: its URL, its files, its log lines, and a plain HTTP client."""

    url: str
    policies: Path
    objectives: Path
    lines: list[dict[str, Any]]
    client: aiohttp.ClientSession
    app: Any

    async def chat(self, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, Any, Any]:
        """Status, headers and JSON of one unstreamed request."""
        body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], **body}
        async with self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as response:
            return response.status, response.headers, await response.json()

    async def stream(self, headers: dict[str, str] | None = None, **body: Any) -> list[str]:
        """The data of every event of one streamed request, `[DONE]` included."""
        body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True, **body}
        decoder, events = sse.Decoder(), []
        async with self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as response:
            async for chunk in response.content.iter_any():
                events += decoder.feed(chunk)
        return [event.data for event in [*events, *decoder.close()]]


class _Log:
    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self._lines = lines

    def _note(self, event: str, **told: Any) -> None:
        self._lines.append({"event": event, **told})

    info = warning = error = exception = _note


OBJECTIVES = """
objectives:
  harmlessness: The response should avoid content that is offensive, discriminatory, or harmful
  helpfulness: The response should provide useful resources and suggestions to the user
  humour: The response should be cheerful and amusing
sets:
  default: [helpfulness]
  kids: [harmlessness, humour]
tenants:
  public: {keys: none, objectives: default, allow_off: true}
"""


def two_services(policy: Service, corrector: Service, **server: Any) -> str:
    """policies.yaml for a scripted policy `m` and a scripted corrector `c`."""
    return f"""
server: {{heartbeat_s: {server.pop("heartbeat_s", 5)}, drain_s: {server.pop("drain_s", 1)}, {
        ", ".join(f"{key}: {value}" for key, value in server.items())
    }}}
policies:
  m: {{kind: openai, base_url: "{policy.url}", corrector: c, retries: 0, timeout_s: 5}}
correctors:
  c: {{engine: {{kind: endpoint, base_url: "{corrector.url}", model: aligner}}, template: ultrafeedback}}
"""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Starts gateways: `gw = await gateway(policies_yaml, objectives_yaml)`."""
    started: list[tuple[uvicorn.Server, asyncio.Task[None], aiohttp.ClientSession]] = []
    with run_dir() as directory:

        async def start(policies: str, objectives: str = OBJECTIVES) -> Gateway:
            policies_path, objectives_path = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
            policies_path.write_text(policies)
            objectives_path.write_text(objectives)
            lines: list[dict[str, Any]] = []
            server_options = read(policies_path, objectives_path).server
            app = create_app(Settings(policies_path, objectives_path, directory, server_options), _Log(lines))
            config = uvicorn.Config(
                app, port=0, http=Http1, ws="none", log_config=None, access_log=False, lifespan="on",
                timeout_graceful_shutdown=server_options.drain_s,
            )  # fmt: skip
            server = uvicorn.Server(config)
            server.capture_signals = nullcontext  # type: ignore[assignment]  # two that overlap leave theirs behind
            task = asyncio.create_task(server.serve())
            while not server.started:
                if task.done():
                    await task
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            client = aiohttp.ClientSession()
            started.append((server, task, client))
            return Gateway(f"http://127.0.0.1:{port}", policies_path, objectives_path, lines, client, app)

        yield start
        for server, task, client in started:
            await client.close()
            server.should_exit = True
            await task
