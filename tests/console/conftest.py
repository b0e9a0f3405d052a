"""The console as people use it: in Debian's Chromium, on `metaaligner serve` with the embedded model."""

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.conftest import ROOT
from tests.gateway.conftest import world  # noqa: F401  # a fixture here as well

METAALIGNER = str(Path(sys.executable).parent / "metaaligner")
CHROMIUM = shutil.which("chromium")
# Nothing but the page: no sandbox in a container, and no errand of Chromium's own into the network.
CHROMIUM_ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 90_000  # two models on two cores, and whatever else runs there
KEY = "a key of the strict tenant"
TENANTS = f"""
tenants:
  public: {{keys: none, objectives: default, allow_off: true, audit: full}}
  strict:
    keys:
      - sha256: "{hashlib.sha256(KEY.encode()).hexdigest()}"
    objectives: [helpfulness]
    required: [harmlessness]
    define: false
"""

expect.set_options(timeout=PATIENCE_MS)

Browse = Callable[..., Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that runs: its URL, the admin key that it has made up, and its file of objectives."""

    url: str
    key: str
    objectives: Path

    async def ask(self, question: str, max_tokens: int = 16, **headers: str) -> str:
        """One request, as a client makes it; gives its id."""
        body = {"model": "smollm2", "messages": [{"role": "user", "content": question}], "max_tokens": max_tokens}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as client, client.post(url, json=body, headers=named) as response:
            assert response.status == 200, await response.text()
            return response.headers["X-Request-Id"]

    async def kept(self, **filters: str) -> Any:
        """The newest row of the trail, once there is one: it is written when its answer has left."""
        for _ in range(100):
            if rows := (await self.get("audit", **filters))["rows"]:
                return rows[0]
            await asyncio.sleep(0.1)
        raise AssertionError(f"no answer is kept for {filters}")

    async def get(self, path: str, **parameters: str) -> Any:
        url, admin = f"{self.url}/console/api/{path}", {"X-Admin-Key": self.key}
        async with aiohttp.ClientSession() as client, client.get(url, params=parameters, headers=admin) as response:
            return await response.json()


@contextmanager
def serving(directory: Path) -> Iterator[Served]:
    """`metaaligner serve` with the shipped models and objectives, and tenants of these tests."""
    objectives = directory / "objectives.yaml"
    shipped, _, _ = (ROOT / "objectives.yaml").read_text().partition("\ntenants:")
    objectives.write_text(shipped + TENANTS)
    environment = os.environ | {"XDG_STATE_HOME": str(directory / "state")}
    environment.pop("METAALIGNER_ADMIN_KEY", None)
    argv = [
        METAALIGNER,
        "serve",
        "--port",
        "0",
        "--policies",
        str(ROOT / "policies.yaml"),
        "--objectives",
        str(objectives),
    ]
    log = directory / "log"
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=environment) as process:
        try:
            yield Served(*_address(process, log), objectives)
        finally:
            process.terminate()
            process.wait(40)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> tuple[str, str]:
    """Of the link that it prints: the address, and the key."""
    for _ in range(1200):
        if ready := re.search(r"Open (http://\S+)/console#key=(\S+),", log.read_text()):
            return ready[1], ready[2]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("console")) as gateway:
        yield gateway


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: on Debian and Ubuntu, apt install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield started
        await started.close()


@pytest.fixture
async def browse(browser: Browser, served: Served) -> AsyncIterator[Browse]:
    """Opens pages: `page = await browse(url)`, with the key of `served` unless `admin=False`.

    What a page throws, or what its CSP refuses, fails the test.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    async def open_page(url: str, *, admin: bool = True, **options: Any) -> Page:
        context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if admin:
            await context.add_init_script(f"sessionStorage.setItem('metaaligner.admin-key', '{served.key}')")
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        await page.goto(url)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    # That the gateway answered with an error is what some tests are about; Chromium logs each.
    assert not [said for said in complaints if not said.startswith("Failed to load resource")]


@pytest.fixture
async def playground(browse: Browse, served: Served) -> Page:
    """The page as it is on a first visit."""
    page = await browse(f"{served.url}/console")
    await expect(page.locator("#policy option")).not_to_have_count(0)
    return page


async def send(page: Page, question: str | None = None, tokens: int | None = None) -> None:
    """Asks what stands in the form, or this, and waits for the last of the answer."""
    if question is not None:
        await page.get_by_label("Question").fill(question)
    if tokens is not None:
        await page.get_by_text("System message, length, temperature").click()
        await page.get_by_label("Longest answer, in tokens").fill(str(tokens))
    await page.get_by_role("button", name="Send", exact=True).click()
    await answered(page)


async def answered(page: Page) -> None:
    await expect(page.locator("#answer .facts")).to_be_visible()
