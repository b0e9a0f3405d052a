"""What is pure in the page's modules, asked of the modules themselves."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.conftest import correcting, saying
from tests.console.conftest import Browse
from tests.gateway.conftest import DRAFT, World, improve


@pytest.fixture
async def page(browse: Browse, world: World) -> Page:
    gateway, _, _ = await world(saying(DRAFT), correcting(improve))
    return await browse(f"{gateway.url}/console")


async def called(page: Page, module: str, function: str, *arguments: Any) -> Any:
    return await page.evaluate(
        "async ([module, name, given]) => (await import(`/console/static/${module}.js`))[name](...given)",
        [module, function, list(arguments)],
    )


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        (0.5, [], None),
        (0.5, [[1, 0], [None, 0]], None),
        (0.5, [[1, 10], [2, 10], [None, 10]], 0.5),
        (0.5, [[1, 0], [2, 10], [None, 10]], 1.5),
        (0.95, [[1, 50], [2, 100], [None, 100]], 1.9),
        (0.95, [[1, 5], [2, 6], [None, 10]], 2),  # beyond the last bound nothing is known
        (1, [[1, 5], [2, 5], [3, 6], [None, 6]], 3),
    ],
)
async def test_quantiles(page: Page, q: float, buckets: list[Any], expected: float | None) -> None:
    assert await called(page, "figures", "quantile", q, {"buckets": buckets}) == pytest.approx(expected)


async def test_differences(page: Page) -> None:
    assert await called(page, "figures", "since", {"a": 3, "b": 2}, {"a": 1}) == {"a": 2, "b": 2}
    now = {"count": 5, "sum": 9.0, "buckets": [[1, 2], [None, 5]]}
    before = {"count": 2, "sum": 3.0, "buckets": [[1, 1], [None, 2]]}
    assert await called(page, "figures", "histogramSince", now, before) == {
        "count": 3, "sum": 6.0, "buckets": [[1, 1], [None, 3]],
    }  # fmt: skip
    verdicts = {"corrected": 1, "unchanged": 2, "kept_original": 1, "skipped": 9}
    assert await called(page, "figures", "shareChanged", verdicts) == 0.25
    assert await called(page, "figures", "shareChanged", {"skipped": 9}) is None


async def test_requests_of_the_last_minute(page: Page) -> None:
    seen = [{"time": time, "requests": count} for time, count in ((0, 0), (30, 3), (62, 5), (93, 5))]
    assert await called(page, "figures", "lastMinutes", seen) == [0, 3, 2, 0]


async def test_phases(page: Page) -> None:
    timings = {
        "policy_first": 10, "policy": 100, "corrector_queue": 20, "corrector_first_token": 60, "corrector": 200,
        "total": 310,
    }  # fmt: skip
    assert await called(page, "waterfall", "phases", timings, "full") == [
        {"name": "Policy", "from": 0, "to": 100, "first": 10},
        {"name": "Corrector wait", "from": 100, "to": 120, "first": None},
        {"name": "Corrector", "from": 120, "to": 300, "first": 160},
        {"name": "Gateway's own", "from": 300, "to": 310, "first": None},
    ]
    overlapping = await called(page, "waterfall", "phases", {**timings, "total": 250}, "segment")
    assert [row["from"] for row in overlapping] == [0, 50, 70, 250], "the corrector began while the policy wrote"
    skipped = {**dict.fromkeys(timings), "policy": 100, "total": 101}
    assert [row["name"] for row in await called(page, "waterfall", "phases", skipped, "full")] == [
        "Policy", "Gateway's own",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "reason", "said"),
    [
        ("corrected", "rewritten; 2 of 5 parts kept", "The corrector rewrote the draft; 2 of 5 parts kept."),
        ("kept_original", "looping,cut_off", "The gate refused the correction, and the draft was sent: "
         "it repeated itself in a loop, and it broke off before its end."),
        ("failed", "corrector_timeout", "The draft was sent as it was: the corrector took too long."),
        ("skipped", "of_another_day", "Of another day."),
        ("-", "", ""),
    ],
)  # fmt: skip
async def test_verdicts_in_words(page: Page, verdict: str, reason: str, said: str) -> None:
    assert await called(page, "wording", "explained", verdict, reason) == said


async def test_every_verdict_and_reason_has_words(page: Page) -> None:
    from typing import get_args

    from corrector import gate
    from corrector.correction import Verdict
    from gateway import plan

    for verdict in get_args(Verdict):
        assert await called(page, "wording", "verdictInWords", verdict) != verdict
    for reason in (*get_args(gate.Fault), *get_args(plan.Skip)):
        plain = reason.replace("_", " ")
        assert await called(page, "wording", "reasonInWords", reason) != plain
