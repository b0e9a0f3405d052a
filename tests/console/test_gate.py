"""The way into the admin views: by the admin key, or not at all."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Browse, Served
from tests.gateway.conftest import World

VIEWS = {"objectives": "In force is", "live": "Requests a minute", "audit": "Text or request id"}


@pytest.mark.parametrize("view", VIEWS)
async def test_with_an_admin_key(browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "open sesame")
    gateway, _, _ = await world()
    page = await browse(f"{gateway.url}/console#{view}", admin=False)
    gate = page.locator(f"#{view}-view")
    await gate.get_by_label("Admin key").fill("open barley")
    await gate.get_by_role("button", name="Enter").click()
    await expect(gate.get_by_role("alert")).to_contain_text("send the admin key")
    await gate.get_by_label("Admin key").fill("open sesame")
    await gate.get_by_role("button", name="Enter").click()
    await expect(gate.get_by_text(VIEWS[view])).to_be_visible()
    await expect(gate.get_by_label("Admin key")).to_have_count(0)
    await page.reload()
    await expect(gate.get_by_text(VIEWS[view])).to_be_visible()


@pytest.mark.parametrize("view", VIEWS)
async def test_off_without_a_key(browse: Browse, world: World, view: str) -> None:
    gateway, _, _ = await world()
    page = await browse(f"{gateway.url}/console#{view}", admin=False)
    told = page.locator(f"#{view}-view .notice")
    await expect(told).to_contain_text("The admin views are off")
    await expect(told).to_contain_text("METAALIGNER_ADMIN_KEY")
    await page.get_by_role("link", name="Playground").click()
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()


async def test_the_link_that_the_gateway_prints_opens_them(browse: Browse, served: Served) -> None:
    page = await browse(f"{served.url}/console#key={served.key}", admin=False)
    await expect(page).to_have_url(f"{served.url}/console")
    await page.get_by_role("link", name="Live").click()
    await expect(page.locator("#live-view").get_by_text(VIEWS["live"])).to_be_visible()
