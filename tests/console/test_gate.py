"""The way into the admin views: open on this machine, by the admin key, or off."""

import pytest
from playwright.async_api import expect

from tests.console.conftest import Browse
from tests.gateway.conftest import World

VIEWS = {"objectives": "In force is", "live": "Requests a minute", "audit": "Text or request id"}


@pytest.mark.parametrize("view", VIEWS)
async def test_with_an_admin_key(browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "open sesame")
    gateway, _, _ = await world()
    page = await browse(f"{gateway.url}/console#{view}")
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
async def test_off_for_who_comes_from_elsewhere(browse: Browse, world: World, view: str) -> None:
    gateway, _, _ = await world()
    page = await browse(f"{gateway.url}/console#{view}", extra_http_headers={"X-Forwarded-For": "203.0.113.9"})
    told = page.locator(f"#{view}-view .notice")
    await expect(told).to_contain_text("The admin views are off")
    await expect(told).to_contain_text("METAALIGNER_ADMIN_KEY")
    await page.get_by_role("link", name="Playground").click()
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
