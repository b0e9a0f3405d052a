"""Runs the application under uvicorn: one worker, or several that share the engines of their parent."""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from corrector.running import run_dir
from corrector.supervisor import Supervisor
from gateway.admin import made_up_key
from gateway.app import Settings, create_app
from gateway.config import ServerOptions, read
from gateway.http1 import Http1
from gateway.reload import Reloader
from gateway.telemetry import Metrics, configure_logging, forget_dead_workers

_ENVIRONMENT = "METAALIGNER_WORKER_"
_TOLD = ("POLICIES", "OBJECTIVES", "RUN_DIR", "SERVER", "ANONYMOUS", "ANYWHERE")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(policies: Path, objectives: Path, host: str, port: int, workers: int, *, allow_anonymous: bool) -> None:
    """Serve until a signal; then drain, for a bounded time. Raises `ConfigError`, or `OSError` for the port."""
    anonymous = allow_anonymous or is_loopback(host)
    config = read(policies, objectives, anonymous=anonymous)
    key = made_up_key() if is_loopback(host) else None
    configure_logging()
    # uvicorn drains, and then raises the signal anew: to leave by the end of this function, not in the midst of it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if workers == 1 and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with run_dir() as directory, _bound(host, port) as sockets:
        settings = Settings(
            policies, objectives, directory, config.server, anonymous=anonymous, anywhere=allow_anonymous
        )
        options: dict[str, Any] = {
            "host": host,
            "http": Http1,
            "ws": "none",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "lifespan": "on",
            "timeout_graceful_shutdown": config.server.drain_s,
            "timeout_keep_alive": 75,  # clients (OpenAI's SDK 5 s, nginx and ALB 60) give idle connections up first
        }
        model = next(iter(config.policies))
        if workers == 1:
            _Server(uvicorn.Config(create_app(settings), **options), model, key).run(sockets)
        else:
            _serve_many(settings, workers, options, sockets, model, key)


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """A socket at each of the host's addresses, on one port. Raises `OSError`.

    Bound before engines start: a second gateway on the port ends before it has loaded a model beside the first. They do
    not listen yet, so that who asks meanwhile is refused, and does not wait for minutes.
    """
    with contextlib.ExitStack() as held:
        sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in sorted(set(found)):
                one = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address[0], port, *address[2:]))
                sockets.append(one)
                port = one.getsockname()[1]
        except OSError as error:
            absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # as is IPv6, which sorts last
            if not (absent and sockets):
                raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
        yield sockets


def worker_app() -> FastAPI:
    """The application of one worker of several; its parent told it in the environment what to serve."""
    configure_logging()
    forget_dead_workers()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = {name: os.environ[_ENVIRONMENT + name] for name in _TOLD}
    policies, objectives, directory = (Path(told[name]) for name in ("POLICIES", "OBJECTIVES", "RUN_DIR"))
    # As they were when the gateway started: one that replaces another must count and keep as those beside it do.
    server = ServerOptions.model_validate_json(told["SERVER"])
    anonymous, anywhere = told["ANONYMOUS"] == "yes", told["ANYWHERE"] == "yes"
    return create_app(
        Settings(policies, objectives, directory, server, own_engines=False, anonymous=anonymous, anywhere=anywhere)
    )


def _end_with_parent() -> None:
    """However it ended: nobody else would stop this worker, and it holds the port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _serve_many(
    settings: Settings, workers: int, options: dict[str, Any], sockets: list[socket.socket], model: str, key: str | None
) -> None:
    told = {
        "POLICIES": str(settings.policies),
        "OBJECTIVES": str(settings.objectives),
        "RUN_DIR": str(settings.run_dir),
        "SERVER": settings.server.model_dump_json(),
        "ANONYMOUS": "yes" if settings.anonymous else "no",
        "ANYWHERE": "yes" if settings.anywhere else "no",
    }
    os.environ.update({_ENVIRONMENT + name: value for name, value in told.items()})
    metrics_dir = settings.run_dir / "metrics"
    metrics_dir.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)  # before a worker makes its metrics
    config = uvicorn.Config("gateway.serve:worker_app", factory=True, workers=workers, **options)
    with _engines(settings) as loop:
        url = _url(config.host, sockets[0].getsockname()[1])
        asyncio.run_coroutine_threadsafe(_announce(url, model, key), loop)
        Multiprocess(config, sockets=sockets).run()


async def _announce(url: str, model: str, key: str | None) -> None:
    """Says that the workers are ready once one of them answers."""
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/healthz"):
                    break
            await asyncio.sleep(0.05)
    _say(_banner(url, model, key))


@contextlib.contextmanager
def _engines(settings: Settings) -> Iterator[asyncio.AbstractEventLoop]:
    """Runs the engines from a thread of this process, and follows the files for new ones; gives the thread's loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    log = structlog.get_logger().bind(process="parent")
    supervisor = Supervisor(settings.run_dir, log.warning, log.info)
    reloader = Reloader(
        settings.policies, settings.objectives, settings.run_dir, supervisor, Metrics(), log,
        anonymous=settings.anonymous,
    )  # fmt: skip
    try:
        asyncio.run_coroutine_threadsafe(reloader.start(), loop).result()
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(reloader.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class _Server(uvicorn.Server):
    """Says that it is ready once it is."""

    def __init__(self, config: uvicorn.Config, model: str, key: str | None) -> None:
        super().__init__(config)
        self._model = model
        self._key = key

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """While engines start, which may take minutes, there is nothing to drain: the lifespan's end stops them."""
        if self.started:
            super().handle_exit(sig, frame)
            return
        logging.getLogger("uvicorn.error").disabled = True  # it would tell of a start that was cut off, in a traceback
        if sig == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError:  # another gateway was bound to the port too, and listens first
            await self.lifespan.shutdown()
            raise
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            _say(_banner(_url(self.config.host, port), self._model, self._key))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, as of a log that cannot be written
        print(text, flush=True)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _banner(url: str, model: str, key: str | None) -> str:
    """`key`: the admin key, where it was made up for this start and nobody else could tell it."""
    console = f"{url}/console" + (f"#key={key}" if key is not None else "")
    return f"""
metaaligner is ready on {url}. Open {console}, or try:

  curl -s {url}/v1/chat/completions -H 'Content-Type: application/json' -H 'X-Align-Return: draft' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "How do I make tea?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="none")
  for chunk in client.chat.completions.create(
      model="{model}", messages=[{{"role": "user", "content": "How do I make tea?"}}], stream=True):
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")
"""
