"""Real answers corrected and judged, and what is reported of it; long work that is stopped and gone on with."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from corrector.objectives import Objective
from corrector.templates import Turn
from tests.conftest import Handler, Service, chat_reply, correcting
from tests.train.test_readers import jsonl
from train import answers, evaluate
from train.agreement import Labelled
from train.cli import train
from train.commands import engine_of, judging
from train.evaluate import Outcome
from train.judges import Question
from train.progress import in_order, results
from train.readers import Skipped
from train.rows import DataError
from wire.endpoint import Endpoint
from wire.errors import Malformed, Rejected

Serve = Callable[[Handler], Awaitable[Service]]

LONG = "It is utilised pertaining to the procurement of beverages. It is utilised pertaining to the procurement of tea."
SHORT = "You use it to make tea. It is easy."
ANSWERS = [
    {"dataset": "d", "policy": policy, "query": f"What is a kettle, number {n}?", "golden": SHORT, "answer": LONG}
    for policy in ("one", "two")
    for n in range(3)
]
CONDITIONS = ("--condition", "usual=helpfulness", "--condition", "short=length")


async def evaluated(tmp_path: Path, corrector: Service, rows: list[dict[str, Any]], *options: str) -> Result:
    """The rows, by a corrector that is served already; what it has written is in `out`."""
    path = jsonl(tmp_path / "rows.jsonl", rows)
    command = ["evaluate", str(path), "--out", str(tmp_path / "out"), "--base-url", corrector.url, "--model", "m",
               "--template", "ultrafeedback", "--min-ratio", "0.1", *options]  # fmt: skip
    return await asyncio.to_thread(CliRunner().invoke, train, command)


def refusing(status: int, what: str, why: str = "") -> Handler:
    """A corrector that takes no draft with these words, as a hosted service's content filter does."""
    correct = correcting(lambda text: SHORT)

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=status, text=why) if what in body["prompt"] else await correct(request, body)

    return handler


async def test_in_order_and_gone_on_with(tmp_path: Path) -> None:
    worked: list[int] = []

    async def work(item: int) -> dict[str, Any]:
        worked.append(item)
        await asyncio.sleep(0.001 * (5 - item % 5))
        if item == 7 and len(worked) < 20:
            raise ValueError("stopped")
        return {"item": item}

    out = tmp_path / "out.jsonl"
    with pytest.raises(ValueError, match="stopped"):
        async for _ in in_order(range(12), work, out, 3, key=str):
            pass
    with out.open("a") as file:
        file.write('{"item": 7')  # as a kill leaves it
    done, worked[:] = len(out.read_text().splitlines()) - 1, [0] * 20
    got = [result async for result in in_order(range(12), work, out, 3, key=str)]
    assert got == list(results(out)) == [{"item": item} for item in range(12)]
    assert worked[20:] == list(range(done, 12)), "what was done is not done again"
    with pytest.raises(DataError, match=r"out\.jsonl:1: of a run with other files or settings"):
        [result async for result in in_order(range(12), work, out, 3, key=lambda item: [item, "another corrector"])]
    with pytest.raises(DataError, match=r"out\.jsonl:4: "):
        [result async for result in in_order([0, 1, 2, 9], work, out, 3, key=str)]


async def test_a_policy_is_asked_as_a_chat_client_would(tmp_path: Path, service: Serve) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(chat_reply(body["messages"][-1]["content"].upper()))

    policy = await service(handler)
    rows = [{"source": "s", "query": "Human: Hi\n\nAssistant: Yes?\n\nHuman: Tea?", "strong": "Boil."}, *ANSWERS[:1]]
    todo = answers.questions([*rows, rows[0], {"query": " "}, {"query": "x" * 99}], longest=60)
    endpoint = Endpoint("policy", [policy.url])
    try:
        await answers.run(todo, endpoint, "small", "MIT", [], tmp_path / "a.jsonl", 2, lambda: None)
    finally:
        await endpoint.aclose()
    first, second = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert (first["answer"], first["golden"], first["policy"], first["licence"]) == ("TEA?", "Boil.", "small", "MIT")
    assert second["dataset"] == "d"
    [asked] = [body for _, body in policy.requests if len(body["messages"]) > 1]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]


async def test_a_policy_that_answers_no_chat_is_told(tmp_path: Path, service: Serve) -> None:
    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"choices": []})

    policy = await service(handler)
    endpoint = Endpoint("policy", [policy.url])
    try:
        with pytest.raises(Malformed, match="policy did not answer"):
            await answers.run([{"query": "Tea?"}], endpoint, "m", "MIT", [], tmp_path / "a.jsonl", 1, lambda: None)
    finally:
        await endpoint.aclose()


def test_drafts_are_so_many_of_each_policy(tmp_path: Path) -> None:
    skipped = Skipped()
    path = jsonl(tmp_path / "a.jsonl", [*ANSWERS, {"policy": "one"}, [1]])
    drafts = evaluate.drafts([path], 2, skipped)
    assert [(one.policy, one.query[-2]) for one in drafts] == [("one", "0"), ("one", "1"), ("two", "0"), ("two", "1")]
    assert skipped == {"no answer": 2}


async def test_a_corrector_is_evaluated_by_one_command(tmp_path: Path, service: Serve) -> None:
    """Against a corrector that is served already: every draft under both conditions, judged, in tables and plots."""
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed")
    corrector = await service(correcting(lambda text: SHORT + " " + text.split(". ")[0] + "."))
    ran = await evaluated(tmp_path, corrector, ANSWERS, "--each", "2", *CONDITIONS)
    assert ran.exit_code == 0, ran.output
    outcomes = [json.loads(line) for line in (tmp_path / "out/outcomes.jsonl").read_text().splitlines()]
    assert len(outcomes) == 2 * 2 * 2
    assert all(row["verdict"] == "corrected" for row in outcomes)
    judged = [json.loads(line) for line in (tmp_path / "out/judged.jsonl").read_text().splitlines()]
    assert {(row["first"], row["second"], row["objective"]) for row in judged} == {
        ("correction", "draft", "length"), ("draft", "golden", "length"), ("correction", "golden", "length"),
        ("correction", "unasked", "length"),
    }  # fmt: skip
    told = (tmp_path / "out/report.md").read_text()
    assert "| one | short | 2 | 2 | 0 | 0 | 0 |" in told
    assert "no people's data, only counted" in told
    assert "| all policies | short | 4 | 4 | 0 | 0 | 0 |" in told
    assert "| short | 4 | words |" in told
    assert "No judge that was asked decides helpfulness." in told
    plot = "before-after-length-asked-for-as-short-by-measure.png"
    assert plot in told
    assert (tmp_path / "out" / plot).stat().st_size > 5000
    asked = len(corrector.requests)
    again = await evaluated(tmp_path, corrector, ANSWERS, "--each", "2", *CONDITIONS)
    assert len(corrector.requests) == asked
    assert again.output.endswith(ran.output[-200:]), "nothing is asked again, and the same comes out"


async def test_what_the_corrector_will_not_take_is_told_of_and_the_rest_goes_on(
    tmp_path: Path, service: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the extra `train` is not installed")
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0)
    corrector = await service(refusing(400, "number 1"))
    ran = await evaluated(tmp_path, corrector, ANSWERS, *CONDITIONS, "--by-segments", "short")
    assert ran.exit_code == 0, ran.output
    outcomes = [Outcome(**row) for row in results(tmp_path / "out/outcomes.jsonl")]
    assert len(outcomes) == 12
    assert {one.query for one in outcomes if one.verdict == "failed"} == {ANSWERS[1]["query"]}
    failed = [one for one in outcomes if one.verdict == "failed"]
    assert {(one.correction, one.edited) for one in failed} == {(LONG, 0)}, "the draft is what a user would have had"
    told = (tmp_path / "out/report.md").read_text()
    assert "| corrected | unchanged | kept | skipped | failed |" in told
    for condition in ("usual", "short"):
        assert f"| one | {condition} | 3 | 2 | 0 | 0 | 0 | 1 |" in told
        assert f"| all policies | {condition} | 6 | 4 | 0 | 0 | 0 | 2 |" in told
    assert "2 the corrector c answered 400 |" in told


@pytest.mark.parametrize(("status", "why"), [(422, "no"), (400, "maximum context length is 8")])
async def test_damage_that_the_corrector_will_not_take_has_failed(
    tmp_path: Path, service: Serve, monkeypatch: pytest.MonkeyPatch, status: int, why: str
) -> None:
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0)
    pair = {"query": "Kettle?", "weak": "No.", "strong": f"{LONG} Number 1, that is.", "better": ["helpfulness"]}
    pairs = [{"source": "own", "licence": "MIT", **pair}]
    ran = await evaluated(tmp_path, await service(refusing(status, "", why)), pairs, "--mending", "--each", "1")
    assert ran.exit_code == 0, ran.output
    assert "| fine | 1 | 0 | 0 | – | 1.000 | 1.000 | 1.00 | 1 failed |" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize("who", ["corrector", "judge"])
async def test_one_who_lets_nobody_in_stops_it(
    tmp_path: Path, service: Serve, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0)
    corrector = await service(refusing(401, "" if who == "corrector" else "nobody says that"))

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=401)

    judge = await service(handler)
    ran = await evaluated(
        tmp_path, corrector, ANSWERS, "--judge", "llm", "--llm-url", judge.url, "--llm-model", "gpt-4o"
    )
    assert isinstance(ran.exception, Rejected)
    assert str(ran.exception) == {"corrector": "the corrector c answered 401", "judge": "the judge answered 401"}[who]
    kept = tmp_path / "out" / ("outcomes.jsonl" if who == "corrector" else "judged.jsonl")
    assert kept.read_text() == "", "nothing is taken for an answer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mending"], "wants pairs"),
        (["--mending", "--condition", "usual=length"], "not for --mending"),
        (["--mending", "--judge", "measure"], "not for --mending"),
        (["--mending", "--title", "Ours"], "not for --mending"),
        (["--mending", "--llm-model", "gpt-4o"], "not for --mending"),
        (["--llm-url", "http://127.0.0.1:1"], "--llm-url goes with --judge llm"),
        (["--judge", "llm", "--reward", __file__], "--reward goes with --judge reward"),
        (
            ["--base-url", "http://127.0.0.1:1", "--adapter", "smollm2-135m-editor"],
            "--adapter is for an engine of ours",
        ),
        (["--template", "ultra"], "'ultrafeedback'"),
        (["--judge", "people"], "'llm', 'measure', 'reward'"),
        (["--api-key-env", "NO_SUCH_KEY", "--base-url", "http://127.0.0.1:1"], "NO_SUCH_KEY: no such variable is set"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, options: list[str], message: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", ANSWERS)
    ran = CliRunner().invoke(train, ["evaluate", str(path), "--out", str(tmp_path / "out"), *options])
    assert ran.exit_code == 2
    assert message in ran.output.replace("\n", " ")


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:1"])
def test_a_corrector_has_the_context_that_it_is_given(base_url: str | None) -> None:
    assert engine_of("smollm2-135m-instruct", None, base_url, 1, context=2048).context == 2048
    assert engine_of("smollm2-135m-instruct", None, base_url, 1).context == (8192 if base_url is None else 4096)
    served = {"model": "m", "base_url": "http://127.0.0.1:1"}
    told = judging._settings(None, None, None, **served)
    assert "context" not in told, "what was corrected before there was this option stays"
    assert judging._settings(None, None, 2048, **served) == {**told, "context": 2048}


def test_pairs_are_not_taken_for_answers(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"query": "q", "weak": "w", "strong": "s", "better": ["length"]}])
    ran = CliRunner().invoke(train, ["evaluate", str(path), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2
    assert "for pairs there is --mending" in ran.output


def test_a_condition_of_an_unknown_objective_is_told(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ANSWERS)
    command = ["evaluate", str(path), "--out", str(tmp_path / "out"), "--condition", "usual=nonsense"]
    ran = CliRunner().invoke(train, command)
    assert ran.exit_code == 2
    assert "harmlessness" in ran.output


async def test_what_was_said_of_peoples_questions_is_kept_too(tmp_path: Path) -> None:
    class First:
        """Always for the first one."""

        name, asked = "first", 0

        def decides(self, objective: str) -> bool:
            return True

        async def compare(self, question: Question) -> int:
            self.asked += 1
            return -1

        def remarks(self) -> str:
            return ""

        async def aclose(self) -> None:
            return None

    aim = Objective(key="length", name="Length", description="The response should be concise")
    labelled = [
        Labelled(Question((Turn("user", f"{n}?"),), "a", "b", aim), -1 if n < 24 else 1, "ab"[n % 2]) for n in range(30)
    ]
    asked, judge, other = {"one": labelled, "two": labelled[10:]}, First(), First()
    other.name = "other"
    for _ in range(2):
        told = await evaluate.agreement(asked, [judge, other], tmp_path / "people.jsonl", 4)
        one, two = told["first", "length"]
        assert (one.source, one.n, one.right, two.source, two.n, two.right) == ("one", 30, 0.8, "two", 20, 0.7)
        assert [(part.source, part.n) for part in one.sources] == [("a", 15), ("b", 15)]
    assert (judge.asked, other.asked) == (50, 50), "what has been said is not asked again"
    more = {**asked, "three": [replace(one, source="c") for one in labelled]}
    told = await evaluate.agreement(more, [judge, other], tmp_path / "people.jsonl", 4)
    assert (judge.asked, other.asked) == (80, 80), "nor when there is another file"
    assert [one.source for one in told["other", "length"]] == ["one", "two", "three"]


def test_how_much_was_edited() -> None:
    assert evaluate.edited("a b c", "a b c") == 0
    assert evaluate.edited("a b", "c d") == 1
