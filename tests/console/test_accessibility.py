"""For everybody: axe finds nothing, in light, in dark and on a phone; the keyboard reaches everything."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import Browse, Served, send

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}


def _axe() -> str:
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None
    assert found.origin is not None
    return next(Path(found.origin).parent.rglob("axe.min.js")).read_text()


async def violations(page: Page) -> list[str]:
    told = await page.evaluate(_axe() + "; axe.run()")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in told["violations"]
        for node in one["nodes"]
    ]


async def fits(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("look", LOOKS)
async def test_nothing_that_axe_would_find(browse: Browse, served: Served, look: str) -> None:
    await served.ask("How do I make tea?", max_tokens=24, X_Align_Mode="shadow")
    # Its own policy of contents keeps axe out as it keeps out everything else.
    page = await browse(f"{served.url}/console", bypass_csp=True, **LOOKS[look])
    await expect(page.locator("#policy option")).not_to_have_count(0)
    assert await violations(page) == []
    await page.get_by_role("button", name="Write an objective").click()
    await page.get_by_role("button", name="Remove").click()
    await send(page, tokens=100)
    await page.get_by_role("button", name="Copy as Python").click()
    await page.get_by_text("Compare with other objectives on this draft").click()
    await page.locator("#compare").get_by_role("button", name="Compare on this draft").click()
    await expect(page.locator("#comparison .pane")).to_have_count(2)
    assert await violations(page) == []
    assert await fits(page)

    await page.get_by_role("link", name="Objectives").click()
    await page.get_by_role("button", name="Edit readability").click()
    await page.get_by_label("What the corrector reads").fill("The response should rhyme")
    await page.get_by_role("button", name="Show the change to the file").click()
    await page.get_by_role("button", name="Try on the last answers").click()
    await expect(page.locator(".trial")).not_to_have_count(0)
    assert await violations(page) == []
    assert await fits(page)

    await page.get_by_role("link", name="Live").click()
    await expect(page.locator("#requests")).to_be_visible()
    assert await violations(page) == []
    assert await fits(page)

    await page.get_by_role("link", name="Audit").click()
    await expect(page.locator("#arms")).to_be_visible()
    assert await violations(page) == []
    assert await fits(page)
    await page.locator("#rows a").first.click()
    await expect(page.get_by_role("heading", name="Feedback")).to_be_visible()
    assert await violations(page) == []
    assert await fits(page)


async def test_a_view_that_is_gone_to_takes_the_focus(playground: Page) -> None:
    await playground.get_by_role("link", name="Live").press("Enter")
    await expect(playground.get_by_role("heading", name="Live", level=1)).to_be_focused()
    await expect(playground.get_by_role("link", name="Live")).to_have_attribute("aria-current", "page")
    assert await playground.title() == "Live · metaaligner"
    await playground.go_back()
    await expect(playground.get_by_role("heading", name="Playground", level=1)).to_be_focused()


async def test_the_keyboard_begins_with_a_way_past_the_head(playground: Page) -> None:
    await playground.keyboard.press("Tab")
    await expect(playground.get_by_role("link", name="Skip to the content")).to_be_focused()
    await playground.keyboard.press("Enter")
    await expect(playground.locator("#main")).to_be_focused()
    await playground.keyboard.press("Tab")
    await expect(playground.get_by_label("Question")).to_be_focused()
    assert await playground.get_by_label("Question").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"


async def test_what_goes_on_is_told_without_noise(playground: Page) -> None:
    """A screen reader hears a few sentences of the status, not every word of the stream."""
    await playground.evaluate(
        "window.heard = []; new MutationObserver(() => heard.push(document.querySelector('#progress').textContent))"
        ".observe(document.querySelector('#progress'), {childList: true, characterData: true, subtree: true})"
    )
    await send(playground, tokens=60)
    heard = await playground.evaluate("heard")
    assert heard[0] == "Asking the policy…"
    assert len(heard) <= 5


async def test_no_motion_for_who_wants_none(browse: Browse, served: Served) -> None:
    page = await browse(f"{served.url}/console", reduced_motion="reduce")
    await page.get_by_role("button", name="Send", exact=True).click()
    busy = "getComputedStyle(document.querySelector('#correction-text'), '::after').animationName"
    assert await page.evaluate(busy) == "none"
    await page.get_by_role("button", name="Stop").click()
