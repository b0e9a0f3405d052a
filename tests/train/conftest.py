"""What tests of training share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from corrector.engines import socket_path
from corrector.engines.llamacpp import Options, base_urls
from corrector.running import run_dir
from corrector.supervisor import Supervisor
from wire.codec import dumps, loads
from wire.endpoint import Endpoint


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where base models are unpacked: once, for it takes most of a minute."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def unpacked(work: Path) -> Path:
    """The embedded model, as transformers loads it."""
    from train.model import base

    return base("smollm2-135m-instruct", work)


@asynccontextmanager
async def served(adapter: Path | None) -> AsyncIterator[Endpoint]:
    options = Options(kind="llamacpp", model="smollm2-135m-instruct", adapter=str(adapter) if adapter else None)
    with run_dir() as directory:
        supervisor = Supervisor(directory, lambda event, **told: None)
        endpoint = Endpoint("engine", base_urls(options, socket_path(directory, options)))
        try:
            assert await supervisor.ensure([options])
            yield endpoint
        finally:
            await endpoint.aclose()
            await supervisor.aclose()


async def ask(endpoint: Endpoint, path: str, body: dict[str, Any]) -> Any:
    opened = await endpoint.post(path, dumps(body))
    try:
        return loads(await opened.read())
    finally:
        opened.close()
