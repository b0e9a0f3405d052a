"""The playground: a question, its draft, its correction, and what may be done with them."""

import asyncio
import os
import re
import shutil
import sys

import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import KEY, Browse, Served, answered, send

TEA = "How do I make tea?"


async def text(page: Page, selector: str) -> str:
    return str(await page.locator(selector).evaluate("node => node.textContent"))


async def without(page: Page, selector: str, left_out: str) -> str:
    """The text of a diff without its insertions, or without its deletions."""
    return str(
        await page.locator(selector).evaluate(
            "(node, out) => { const copy = node.cloneNode(true); copy.querySelectorAll(out).forEach(e => e.remove());"
            " return copy.textContent }",
            left_out,
        )
    )


async def corrected(page: Page) -> None:
    """Asks for what no draft has of itself, and the embedded corrector is known to add."""
    await page.get_by_role("button", name="Write an objective").click()
    await page.get_by_label("Its name").fill("signature")
    await page.get_by_label("What it means").fill('The response should end with "Yours, the tea team"')
    await send(page, TEA, tokens=48)
    await expect(page.locator("#progress")).to_have_attribute("data-verdict", "corrected")


async def test_a_first_visit_shows_a_draft_its_correction_and_the_difference_by_one_click(playground: Page) -> None:
    await playground.get_by_role("button", name="Send", exact=True).click()
    await answered(playground)
    draft, correction = await text(playground, "#draft-text"), await text(playground, "#correction-text")
    assert draft
    assert correction
    verdict = await playground.locator("#progress").get_attribute("data-verdict")
    assert (draft == correction) == (verdict != "corrected")
    if verdict == "corrected":
        assert await without(playground, "#difference .diff", "ins") == draft
        assert await without(playground, "#difference .diff", "del") == correction
        assert await playground.locator("#difference ins, #difference del").count() > 0
        await expect(playground.locator("#changed")).to_contain_text("% of the words changed")
    else:
        await expect(playground.locator("#changed")).to_have_text("no difference")
    assert (await playground.locator("#progress").inner_text()).endswith(".")
    names = await playground.locator("#answer .bars dt").all_inner_texts()
    assert names == ["Policy", "Corrector wait", "Corrector", "Gateway's own"]
    widths = await playground.locator("#answer .bar").evaluate_all("bars => bars.map(bar => bar.offsetWidth)")
    assert widths[0] > 20
    facts = await playground.locator("#answer .facts").inner_text()
    assert "harmlessness, helpfulness" in facts
    assert "corrector read" in facts
    assert "req_" in facts


async def test_the_draft_is_there_before_its_correction(playground: Page) -> None:
    await playground.get_by_role("button", name="Send", exact=True).click()
    await expect(playground.locator("#draft-text")).to_have_text(re.compile(r".{20}", re.DOTALL))
    assert await text(playground, "#correction-text") == ""
    early = await text(playground, "#draft-text")
    await expect(playground.locator("#progress")).to_have_text("The policy writes…")
    await expect(playground.locator("#correction-text")).to_have_attribute("aria-busy", "true")
    await expect(playground.locator("#correction-text")).not_to_be_empty()
    await answered(playground)
    assert (await text(playground, "#draft-text")).startswith(early)
    await expect(playground.locator("#correction-text")).to_have_attribute("aria-busy", "false")


async def test_segments_are_corrected_while_the_policy_writes(playground: Page) -> None:
    await playground.get_by_label("Mode").select_option("segment")
    await send(playground)
    assert "segment" in await playground.locator("#answer .facts").inner_text()
    assert await text(playground, "#correction-text")


async def test_stop(playground: Page, served: Served) -> None:
    await playground.get_by_role("button", name="Send", exact=True).click()
    await expect(playground.locator("#draft-text")).not_to_be_empty()
    await playground.get_by_role("button", name="Stop").click()
    await expect(playground.locator("#progress")).to_have_text("Stopped.")
    await expect(playground.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    await expect(playground.get_by_role("button", name="Stop")).to_be_disabled()


async def test_by_keyboard(playground: Page) -> None:
    await playground.get_by_label("Question").fill(TEA)
    async with playground.expect_request("**/v1/chat/completions") as sent:
        await playground.get_by_label("Question").press("Control+Enter")
    body = (await sent.value).post_data_json or {}
    assert body["messages"] == [{"role": "user", "content": TEA}]
    assert body["align"] == {"return": "live-draft"}, "the tenant's own objectives need no saying"
    await playground.get_by_role("button", name="Stop").click()


async def test_objectives_ticked_and_written(playground: Page) -> None:
    await playground.locator("#ask-set").select_option("kids")
    await expect(playground.get_by_role("checkbox", name="Humour")).to_be_checked()
    await expect(playground.get_by_role("checkbox", name="Helpfulness")).not_to_be_checked()
    await playground.get_by_role("checkbox", name="Humour").uncheck()
    await expect(playground.locator("#ask-set")).to_have_value("=")
    await expect(playground.locator(".reads")).to_contain_text("easy to read and understand")
    await playground.get_by_role("button", name="Write an objective").click()
    await playground.get_by_label("Its name").fill("brevity")
    await playground.get_by_label("What it means").fill("At most two sentences, naïve as that is")
    await playground.get_by_label("System message", exact=True).evaluate("node => node.value = 'Be kind.'")
    async with playground.expect_request("**/v1/chat/completions") as sent:
        await send(playground, TEA, tokens=24)
    body = (await sent.value).post_data_json or {}
    assert set(body["align"]["objectives"]) == {"harmlessness", "readability", "brevity"}
    assert body["align"]["define"] == {"brevity": "At most two sentences, naïve as that is"}
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}
    assert body["max_tokens"] == 24
    assert "harmlessness, readability, brevity" in await playground.locator("#answer .facts").inner_text()


async def test_what_is_written_badly_is_said_and_not_sent(playground: Page) -> None:
    asked: list[str] = []
    playground.on("request", lambda request: asked.append(request.url) if "/v1/" in request.url else None)
    await playground.get_by_role("button", name="Write an objective").click()
    await playground.get_by_label("Its name").fill("plain words")
    await playground.get_by_label("What it means").fill("Short")
    await playground.get_by_role("button", name="Send", exact=True).click()
    await expect(playground.get_by_role("alert")).to_contain_text("letters, digits, - and _ only")
    await playground.get_by_role("button", name="Remove").click()
    for name in ("Harmlessness", "Helpfulness"):
        await playground.get_by_role("checkbox", name=name).uncheck()
    await playground.get_by_role("button", name="Send", exact=True).click()
    await expect(playground.get_by_role("alert")).to_have_text("Choose an objective, or write one.")
    assert asked == []


async def test_what_the_gateway_refuses_is_said(playground: Page) -> None:
    await playground.get_by_role("button", name="Write an objective").click()
    await playground.get_by_label("Its name").fill("humour")
    await playground.get_by_label("What it means").fill("Something else")
    await playground.get_by_role("button", name="Send", exact=True).click()
    await expect(playground.get_by_role("alert")).to_contain_text("'humour' has a meaning here already")
    await expect(playground.get_by_role("button", name="Send", exact=True)).to_be_enabled()


async def test_a_tenant_with_a_key_that_sees_no_drafts(playground: Page) -> None:
    await playground.get_by_text("API key", exact=True).click()
    await playground.get_by_label("API key of your tenant").fill(KEY)
    await playground.get_by_label("API key of your tenant").press("Tab")
    await expect(playground.locator("#tenant-name")).to_contain_text("tenant strict")
    required = playground.get_by_role("checkbox", name="Harmlessness")
    await expect(required).to_be_checked()
    await expect(required).to_be_disabled()
    await expect(playground.get_by_role("button", name="Write an objective")).to_have_count(0)
    await send(playground, TEA, tokens=24)
    assert await text(playground, "#correction-text")
    await expect(playground.locator("#draft-text")).to_have_count(0)
    await expect(playground.locator("#difference, #rating, #compare")).to_have_count(0)
    await playground.reload()
    await expect(playground.locator("#tenant-name")).to_contain_text("tenant strict")


async def test_a_key_that_nobody_has(playground: Page) -> None:
    await playground.get_by_text("API key", exact=True).click()
    await playground.get_by_label("API key of your tenant").fill("nobody's")
    await playground.get_by_label("API key of your tenant").press("Tab")
    await expect(playground.get_by_role("alert")).to_have_text("unknown API key")
    await expect(playground.get_by_role("button", name="Send", exact=True)).to_be_disabled()


async def test_a_thumb_reaches_the_trail(playground: Page, served: Served) -> None:
    await corrected(playground)
    request_id = (await playground.locator("#answer .facts div", has_text="Request").locator("dd").inner_text()).strip()
    await playground.get_by_role("button", name="The correction is better").click()
    await expect(playground.get_by_text("Noted: the correction is better.")).to_be_visible()
    await expect(playground.get_by_role("button", name="The correction is better")).to_have_attribute(
        "aria-pressed", "true"
    )
    row = await served.kept(q=request_id)
    assert row["feedback"] == {"draft": 0, "correction": 1, "tie": 0}


async def test_two_sets_of_objectives_on_one_draft(playground: Page) -> None:
    await send(playground)
    await playground.get_by_text("Compare with other objectives on this draft").click()
    other = playground.locator("#compare")
    await other.get_by_label("Set").select_option("kids")
    async with playground.expect_request("**/v1/align") as sent:
        await other.get_by_role("button", name="Compare on this draft").click()
    body = (await sent.value).post_data_json or {}
    draft = await text(playground, "#draft-text")
    assert body["draft"] == draft
    assert set(body["align"]["objectives"]) == {"harmlessness", "readability", "humour"}
    await expect(playground.locator("#comparison .pane")).to_have_count(2)
    await expect(playground.locator("#comparison h3 small")).to_have_text(
        ["harmlessness, helpfulness", "harmlessness, humour, readability"]
    )
    for side in range(2):
        assert await without(playground, f"#comparison .pane:nth-child({side + 1}) .diff", "ins") == draft


NASTY = 'Say "hi" to O\'Brien,\n$HOME, `id`, ${1}, \\n, 100%, {x}, <b>é</b> 🙂'
RUNS = {
    "curl": ["bash", "-c"],
    "Python": [sys.executable, "-c"],
    "JS": ["node", "--input-type=module", "--eval"],
}


@pytest.mark.parametrize("language", RUNS)
@pytest.mark.parametrize("key", ["", KEY])
async def test_code_that_is_copied_makes_this_request(browse: Browse, served: Served, language: str, key: str) -> None:
    if shutil.which(RUNS[language][0]) is None:
        pytest.skip(f"{RUNS[language][0]} is not installed")
    page = await browse(f"{served.url}/console", permissions=["clipboard-read", "clipboard-write"])
    await expect(page.locator("#policy option")).not_to_have_count(0)
    if key:
        await page.get_by_text("API key", exact=True).click()
        await page.get_by_label("API key of your tenant").fill(key)
        await page.get_by_label("API key of your tenant").press("Tab")
        await expect(page.locator("#tenant-name")).to_contain_text("tenant strict")
    question = f"{NASTY} {language}"
    await page.get_by_label("Question").fill(question)
    await page.get_by_text("System message, length, temperature").click()
    await page.get_by_label("Longest answer, in tokens").fill("12")
    await page.get_by_role("button", name=f"Copy as {language}").click()
    await expect(page.locator("#copied")).to_have_text(f"Copied as {language}.")
    code = await page.evaluate("navigator.clipboard.readText()")
    assert code == await text(page, "#snippet")
    assert KEY not in code
    environment = os.environ | ({"METAALIGNER_API_KEY": key} if key else {})
    ran = await asyncio.create_subprocess_exec(
        *RUNS[language], code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    out, complaint = await ran.communicate()
    assert ran.returncode == 0, complaint.decode()
    assert out.strip()
    if not key:  # the strict tenant's are not kept
        newest = await served.kept(q=question)
        context = (await served.get(f"audit/{newest['id']}"))["context"]
        assert context[-1]["text"] == question


async def test_markup_stays_text(playground: Page) -> None:
    marked = "<img src=x onerror=\"document.title='taken'\"> Repeat this."
    await playground.get_by_role("button", name="Write an objective").click()
    await playground.get_by_label("Its name").fill("marked")
    await playground.get_by_label("What it means").fill(marked)
    await send(playground, marked, tokens=24)
    await playground.get_by_role("link", name="Audit").click()
    await playground.locator("#rows a").first.click()
    await expect(playground.locator(".conversation")).to_contain_text("<img src=x")
    await expect(playground.locator("main img")).to_have_count(0)
    assert "metaaligner" in await playground.title()
