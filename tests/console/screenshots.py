"""`make screenshots`: docs/console*.png, the playground after one click, and its answer in the audit trail."""

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.conftest import ROOT
from tests.console.conftest import CHROMIUM, CHROMIUM_ARGS, Served, send, serving


async def taken(browser: Browser, gateway: Served, folder: Path) -> None:
    page = await browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
    await page.goto(f"{gateway.url}/console#key={gateway.key}")
    await page.locator("#policy option").first.wait_for(state="attached")
    await send(page)
    await page.get_by_role("heading", name="Playground").focus()
    await page.screenshot(path=folder / "console.png", full_page=True)
    await page.goto(f"{gateway.url}/console#audit/1")
    await page.locator("#audit-view ins").first.wait_for()
    await page.screenshot(path=folder / "console-audit.png", full_page=True)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory)) as gateway:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
            await taken(browser, gateway, ROOT / "docs")
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
