"""Live: the gateway's own figures, while somebody looks."""

from typing import Any

from playwright.async_api import Page, expect

from tests.console.conftest import Browse, Served


async def opened(browse: Browse, url: str) -> Page:
    page = await browse(f"{url}/console#live")
    await expect(page.locator("#requests")).to_be_visible()
    return page


async def figure(page: Page, selector: str) -> int:
    return int((await page.locator(selector).inner_text()).replace(",", ""))


async def test_a_request_is_seen(browse: Browse, served: Served) -> None:
    page = await opened(browse, served.url)
    before = await figure(page, "#requests")
    await page.get_by_label("Figures").select_option("opened")
    await served.ask("How do I make tea?", X_Align_Mode="off")
    await served.ask("How do I make tea?")
    await expect(page.locator("#requests")).to_have_text(str(before + 2))
    assert await figure(page, "#per-minute") == 2
    line = page.locator(".sparkline polyline")
    assert len(str(await line.get_attribute("points")).split()) >= 2
    verdicts = page.locator("figure", has_text="Verdicts")
    counts = dict(
        zip(
            await verdicts.locator("dt").all_inner_texts(),
            map(int, await verdicts.locator(".figure").all_inner_texts()),
            strict=True,
        )
    )
    assert sum(counts.values()) == 2
    assert counts["Not corrected"] == 1
    latency = page.get_by_role("table", name="Latency").get_by_role("row", name="Policy, whole")
    p50, p95, count = await latency.get_by_role("cell").all_inner_texts()
    assert count == "2"
    assert p50.endswith("s")
    assert p95.endswith("s")
    assert set(await page.locator(".state").all_inner_texts()) == {"up"}
    await expect(page.get_by_text("Audit trail:")).to_be_visible()


async def test_reloads_and_their_errors(browse: Browse, served: Served) -> None:
    page = await opened(browse, served.url)
    good = served.objectives.read_text()
    try:
        served.objectives.write_text(good.replace("default: [helpfulness", "default: [helpfulnes"))
        await served.ask("How do I make tea?", max_tokens=4)
        await expect(page.locator(".reloads pre").first).to_contain_text("unknown objective 'helpfulnes'")
        await expect(page.locator(".reloads pre").first).to_contain_text("did you mean 'helpfulness'?")
    finally:
        served.objectives.write_text(good)
    await served.ask("How do I make tea?", max_tokens=4)


async def test_it_asks_only_while_it_is_looked_at(browse: Browse, served: Served) -> None:
    page = await opened(browse, served.url)
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.url) if "/live" in request.url else None)
    await page.wait_for_timeout(4500)
    assert 1 <= len(asked) <= 3
    await page.get_by_role("link", name="Audit").click()
    await expect(page.locator("#found")).to_be_attached()
    seen = len(asked)
    await page.wait_for_timeout(3000)
    assert len(asked) == seen
    await page.get_by_role("link", name="Live").click()
    await page.wait_for_timeout(500)
    assert len(asked) == seen + 1
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})"
    await page.evaluate(f"{hide}; document.dispatchEvent(new Event('visibilitychange'))")
    await page.wait_for_timeout(3000)
    assert len(asked) == seen + 1
    await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    await page.wait_for_timeout(500)
    assert len(asked) == seen + 2


async def test_a_gateway_that_is_gone_is_said_and_its_last_figures_stay(browse: Browse, served: Served) -> None:
    page = await opened(browse, served.url)
    await page.route("**/console/api/live", lambda route: route.abort())
    await expect(page.locator("#live-view").get_by_role("alert")).to_be_visible()
    await expect(page.locator("#requests")).to_be_visible()
    await page.unroute("**/console/api/live")
    await expect(page.locator("#live-view").get_by_role("alert")).to_be_hidden()
