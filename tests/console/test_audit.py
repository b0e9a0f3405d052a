"""Audit: the trail searched, an answer opened, feedback given, shadow beside sent."""

import re

from playwright.async_api import Page, Route, expect

from tests.console.conftest import Browse, Served


async def opened(browse: Browse, served: Served, fragment: str = "#audit") -> Page:
    page = await browse(f"{served.url}/console{fragment}")
    await expect(page.locator("#found")).to_be_attached()
    return page


async def search(page: Page, text: str) -> None:
    await page.get_by_label("Text or request id").fill(text)
    await page.get_by_role("button", name="Search").click()


async def test_search_and_filters(browse: Browse, served: Served) -> None:
    word = "xylophones"
    request_id = await served.ask(f"What are {word}?", X_Align_Mode="off")
    await served.ask(f"Who made {word}?")
    page = await opened(browse, served)
    await search(page, word)
    await expect(page.locator("#found")).to_have_text("2 answers.")
    await page.locator("#audit-view").get_by_label("Verdict").select_option("skipped")
    await expect(page.locator("#found")).to_have_text("1 answer.")
    await expect(page.locator("#rows .mark")).to_have_text("Not corrected")
    await page.locator("#audit-view").get_by_label("Verdict").select_option("")
    await page.locator("#audit-view").get_by_label("Mode").select_option("full")
    await expect(page.locator("#found")).to_have_text("1 answer.")
    await page.locator("#audit-view").get_by_label("Mode").select_option("")
    await search(page, request_id)
    await expect(page.locator("#found")).to_have_text("1 answer.")
    await page.locator("#audit-view").get_by_label("Since").fill("2099-01-01T00:00")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_text("No such answer is recorded.")).to_be_visible()
    await page.locator("#audit-view").get_by_label("Since").fill("2020-01-01T00:00")
    await page.locator("#audit-view").get_by_label("Tenant").select_option("public")
    await expect(page.locator("#found")).to_have_text("1 answer.")


async def test_a_row_is_opened_and_judged(browse: Browse, served: Served) -> None:
    question = "How do I repair a flat bicycle tyre in the rain?"
    request_id = await served.ask(question, max_tokens=48)
    page = await opened(browse, served)
    await search(page, request_id)
    await expect(page.locator("#found")).to_have_text("1 answer.")
    await page.locator("#rows a").click()
    await expect(page.get_by_role("heading", name="Answer of")).to_be_focused()
    facts = await page.locator("#audit-view .facts").inner_text()
    assert request_id in facts
    assert "harmlessness, helpfulness" in facts
    await expect(page.locator(".conversation")).to_contain_text(question)
    draft, correction = await page.locator(".choice .panes .text").all_inner_texts()
    assert draft
    assert correction
    row = await served.kept(q=request_id)
    if row["verdict"] == "corrected":
        assert await page.locator(".difference ins, .difference del").count() > 0
    else:
        assert draft == correction
    assert await page.locator("#audit-view .bars dt").count() == 4
    await page.get_by_label("By which objective?").select_option("helpfulness")
    await page.get_by_label("Comment").fill("<b>so</b> so")
    await page.get_by_role("button", name="The draft is better").click()
    await expect(page.get_by_text("the draft, by helpfulness: <b>so</b> so")).to_be_visible()
    await page.get_by_role("link", name="Back to the list").click()
    await expect(page.get_by_label("Text or request id")).to_have_value(request_id)
    await expect(page.locator("#rows")).to_contain_text("1 for the draft")


async def test_older_answers(browse: Browse, served: Served) -> None:
    word = "marzipan"
    for verb in ("make", "eat", "sell"):
        await served.ask(f"How do I {verb} {word}?", max_tokens=4, X_Align_Mode="off")

    async def few(route: Route) -> None:
        await route.continue_(url=route.request.url.replace("limit=50", "limit=2"))

    page = await opened(browse, served)
    await page.route(re.compile(r"/console/api/audit\?"), few)
    await search(page, word)
    await expect(page.locator("#found")).to_have_text("2 answers, and there are older ones.")
    await page.get_by_role("button", name="Older answers").click()
    await expect(page.locator("#found")).to_have_text("1 answer.")
    await expect(page.get_by_role("button", name="Older answers")).to_have_count(0)


async def test_shadow_beside_sent(browse: Browse, served: Served) -> None:
    await served.ask("How do I make tea?", max_tokens=24, X_Align_Mode="shadow")
    await served.ask("How do I make tea?", max_tokens=24)
    await served.kept(mode="shadow")
    page = await opened(browse, served)
    arms = page.get_by_role("table", name="Shadow against sent")
    await expect(arms.get_by_role("row", name="shadow: made, not sent")).to_be_visible()
    await expect(arms.get_by_role("row", name="full: sent")).to_be_visible()


async def test_an_answer_that_is_not_there(browse: Browse, served: Served) -> None:
    page = await browse(f"{served.url}/console#audit/999999")
    await expect(page.locator("#audit-view").get_by_role("alert")).to_have_text("no such answer is kept")
