"""Objectives: what is in force, a change tried on answers, shown, and only then written."""

import os

import pytest
from playwright.async_api import Locator, Page, expect

from tests.conftest import correcting, saying
from tests.console.conftest import Browse, Served, send
from tests.gateway.conftest import BETTER, DRAFT, World, improve


async def opened(browse: Browse, served: Served) -> Page:
    page = await browse(f"{served.url}/console#objectives")
    await expect(page.get_by_role("table", name="Objectives")).to_be_visible()
    return page


def row(page: Page, key: str) -> Locator:
    return page.get_by_role("table", name="Objectives").get_by_role("row", name=key)


async def test_what_is_in_force_by_tenant(browse: Browse, served: Served) -> None:
    page = await opened(browse, served)
    await expect(row(page, "humour")).to_contain_text("cheerful")
    await expect(page.get_by_role("table", name="Sets")).to_contain_text("harmlessness, readability, humour")
    strict = page.get_by_role("table", name="Tenants").get_by_role("row", name="strict")
    assert await strict.get_by_role("cell").all_inner_texts() == [
        "1 key", "helpfulness", "harmlessness", "full", "all", "off",
    ]  # fmt: skip
    await expect(page.get_by_text(str(served.objectives))).to_be_visible()


async def test_a_change_is_tried_shown_and_written(browse: Browse, served: Served) -> None:
    await served.ask("How do I repair a flat bicycle tyre?", max_tokens=48)
    page = await opened(browse, served)
    before = served.objectives.read_text()
    await page.get_by_role("button", name="Edit humour").click()
    await expect(page.get_by_label("What the corrector reads")).to_be_focused()
    save = page.get_by_role("button", name="Save")
    await expect(save).to_be_disabled()
    await page.get_by_label("What the corrector reads").fill("The response should hold one joke")

    await page.get_by_role("button", name="Try on the last answers").click()
    trial = page.locator(".trial").first
    await expect(trial).to_contain_text("How do I repair a flat bicycle tyre?")
    titles = await trial.get_by_role("heading", level=4).all_inner_texts()
    assert [title.split()[0] for title in titles] == ["Draft", "Before", "After"]
    await expect(trial.locator(".hint")).to_contain_text("Before and after the change:")
    assert served.objectives.read_text() == before, "trying changes nothing"

    await page.get_by_role("button", name="Show the change to the file").click()
    await expect(page.locator(".file-diff ins")).to_contain_text("humour: The response should hold one joke")
    await expect(page.locator(".file-diff del")).to_contain_text("humour: The response should be cheerful")
    assert served.objectives.read_text() == before, "showing changes nothing"

    await page.get_by_label("What the corrector reads").fill("The response should hold two jokes")
    await expect(save).to_be_disabled()
    await page.get_by_role("button", name="Show the change to the file").click()
    await save.click()
    done = page.locator(".done")
    await expect(done).to_contain_text("Saved")
    await expect(done).to_be_focused()
    after = served.objectives.read_text()
    assert after == before.replace(
        "humour: The response should be cheerful and amusing", "humour: The response should hold two jokes"
    )
    backup = served.objectives.parent / str(await done.locator("code").inner_text())
    assert backup.read_text() == before
    await expect(row(page, "humour")).to_contain_text("two jokes")
    await page.get_by_role("link", name="Playground").click()
    await page.get_by_role("checkbox", name="Humour").check()
    await expect(page.locator(".reads")).to_contain_text("two jokes")


async def test_a_new_objective(browse: Browse, served: Served) -> None:
    page = await opened(browse, served)
    await page.get_by_role("button", name="New objective").click()
    await page.get_by_label("Key", exact=True).fill("plain_words")
    await page.get_by_label("What the corrector reads").fill("The response should use everyday words")
    await page.get_by_role("button", name="Show the change to the file").click()
    await page.get_by_role("button", name="Save").click()
    await expect(row(page, "plain_words")).to_contain_text("everyday words")
    await page.get_by_role("link", name="Playground").click()
    await expect(page.get_by_role("checkbox", name="Plain words")).to_be_visible()


async def test_a_file_that_was_changed_meanwhile_is_not_overwritten(browse: Browse, served: Served) -> None:
    page = await opened(browse, served)
    await page.get_by_role("button", name="Edit honesty").click()
    await page.get_by_label("What the corrector reads").fill("No lies")
    await page.get_by_role("button", name="Show the change to the file").click()
    await expect(page.get_by_role("button", name="Save")).to_be_enabled()
    with served.objectives.open("a") as file:
        file.write("# by hand\n")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert").last).to_contain_text("changed meanwhile")
    assert "No lies" not in served.objectives.read_text()


async def test_what_is_not_valid_is_said(browse: Browse, served: Served) -> None:
    page = await opened(browse, served)
    await page.get_by_role("button", name="Edit honesty").click()
    await page.get_by_label("What the corrector reads").fill("One; two")
    await page.get_by_role("button", name="Show the change to the file").click()
    await expect(page.get_by_role("alert").last).to_contain_text("';'")
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()


async def test_a_change_is_tried_on_what_the_playground_has_shown(
    browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "sesame")
    gateway, _, corrector = await world(saying(DRAFT), correcting(improve))
    page = await browse(f"{gateway.url}/console#key=sesame", admin=False)
    await page.get_by_role("link", name="Objectives").click()
    await page.get_by_role("button", name="Edit humour").click()
    await page.get_by_role("button", name="Try on the last answers").click()
    await expect(page.get_by_text("There is no answer to try it on.")).to_be_visible()

    await page.get_by_role("link", name="Playground").click()
    await send(page, "Why is the sky blue?")
    await expect(page.locator("#progress")).to_have_attribute("data-verdict", "corrected")
    await page.get_by_role("link", name="Objectives").click()
    await page.get_by_role("button", name="Edit humour").click()
    await page.get_by_label("What the corrector reads").fill("Shout")
    corrector.handler = correcting(str.upper)
    await page.get_by_role("button", name="Try on the last answers").click()
    trial = page.locator(".trial")
    await expect(trial).to_contain_text("Why is the sky blue? from the playground")
    assert await trial.locator(".pane .text").all_inner_texts() == [DRAFT, BETTER, DRAFT.upper()]
    assert "Humour: Shout" in corrector.last["prompt"]
    await expect(trial.locator(".diff ins").first).to_be_visible()


async def test_a_file_that_cannot_be_written(browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAALIGNER_ADMIN_KEY", "sesame")
    gateway, _, _ = await world()
    folder = gateway.objectives.parent
    access = os.access  # root may write everything: what the system says of the folder is changed
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
    touched = folder.stat().st_mtime_ns
    page = await browse(f"{gateway.url}/console#key=sesame", admin=False)
    await page.get_by_role("link", name="Objectives").click()
    await expect(page.get_by_text(f"Read-only: {folder} is read-only here")).to_be_visible()
    await page.get_by_role("button", name="Edit humour").click()
    await page.get_by_label("What the corrector reads").fill("Laugh")
    await page.get_by_role("button", name="Show the change to the file").click()
    await expect(page.locator(".file-diff ins")).to_contain_text("Laugh")
    await expect(page.get_by_role("button", name="Save")).to_be_disabled()
    assert folder.stat().st_mtime_ns == touched
