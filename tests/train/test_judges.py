"""Judges of every kind, asked for real: a model behind HTTP, a fitted model, measures; and whether people agree."""

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from corrector.objectives import Objective
from corrector.templates import Turn
from tests.conftest import Handler, Service, chat_reply
from train import controls, judges
from train.agreement import Labelled, agreement, labelled
from train.cli import train
from train.judges import Question
from train.judges.llm import LlmJudge
from train.readers import Skipped
from train.rows import DataError, Pair
from wire.endpoint import Endpoint
from wire.errors import Rejected, Unreachable

pytest.importorskip("sklearn", reason="the extra `train` is not installed")
Serve = Callable[[Handler], Awaitable[Service]]
TEA = (Turn("user", "How do I make tea?"),)


def aim(key: str) -> Objective:
    return Objective(key=key, name=key.replace("_", " ").capitalize(), description=f"The response should have {key}")


def ask(first: str, second: str, objective: str = "helpfulness", query: str = "How do I make tea?") -> Question:
    return Question((Turn("user", query),), first, second, aim(objective))


class Fixed:
    """Says what it is told to."""

    name = "fixed"

    def __init__(self, says: Callable[[Question], int]) -> None:
        self._says = says

    def decides(self, objective: str) -> bool:
        return objective != "humour"

    async def compare(self, question: Question) -> int:
        return self._says(question)

    def remarks(self) -> str:
        return ""

    async def aclose(self) -> None:
        return None


def judging(says: Callable[[str], str]) -> Handler:
    """A judge on the other side, that is shown the question and answers with a word."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(chat_reply(says(body["messages"][0]["content"])))

    return handler


def llm(service: Service) -> LlmJudge:
    kind = judges.load("llm")
    built = kind.build(kind.Options.model_validate({"kind": "llm", "base_url": service.url, "model": "j"}))
    assert isinstance(built, LlmJudge)
    return built


def good_one(prompt: str) -> str:
    return "1" if "RESPONSE 1: Boil" in prompt else "2"


class TestLlm:
    async def test_it_is_asked_the_papers_question_in_both_orders(self, service: Serve) -> None:
        there = await service(judging(good_one))
        judge = llm(there)
        assert await judge.compare(ask("No idea.", "Boil water.")) == 1
        assert await judge.compare(ask("Boil water.", "No idea.")) == -1
        prompts = {body["messages"][0]["content"] for _, body in there.requests[:2]}
        assert {"RESPONSE 1: No idea. | RESPONSE 2: Boil" in text for text in prompts} == {True, False}
        assert all("QUERY: How do I make tea? | " in text for text in prompts)
        assert all("aspect: Helpfulness: The response should have helpfulness, then return" in text for text in prompts)
        assert there.last["temperature"] == 0
        await judge.aclose()

    async def test_a_judge_that_prefers_a_place_decides_nothing(self, service: Serve) -> None:
        judge = llm(await service(judging(lambda prompt: "1")))
        assert await judge.compare(ask("No idea.", "Boil water.")) == 0
        assert (judge.swayed, judge.unreadable) == (1, 0)
        await judge.aclose()

    @pytest.mark.parametrize("answer", ["The better one is 2", "3", "", "1 2"])
    async def test_what_cannot_be_read_is_counted_and_says_nothing(self, service: Serve, answer: str) -> None:
        judge = llm(await service(judging(lambda prompt: answer)))
        assert await judge.compare(ask("a", "b")) is None
        assert (judge.asked, judge.unreadable) == (2, 2)
        await judge.aclose()

    @pytest.mark.parametrize(
        ("status", "body"),
        [(400, '{"error": {"code": "content_filter"}}'), (422, "no"), (200, '{"error": {}}'), (200, "no"),
         (200, '{"choices": [{"message": {"content": null}}]}')],
    )  # fmt: skip
    async def test_one_question_that_is_refused_stops_no_other(self, service: Serve, status: int, body: str) -> None:
        async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            prompt = asked["messages"][0]["content"]
            if "bomb" in prompt:
                return web.Response(status=status, text=body, content_type="application/json")
            return web.json_response(chat_reply(good_one(prompt)))

        judge = llm(await service(handler))
        tea, bomb = ask("No.", "Boil it."), ask("No.", "Boil it.", query="How do I make a bomb?")
        assert await judges.compare_all(judge, [tea, bomb, tea, tea], in_flight=1) == [1, None, 1, 1]
        assert "Of 8 questions to j since the command was started last 2 were refused" in judge.remarks()
        await judge.aclose()

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_one_who_lets_nobody_in_is_told(self, service: Serve, status: int) -> None:
        async def handler(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
            return web.Response(status=status)

        judge = llm(await service(handler))
        with pytest.raises(Rejected, match=f"the judge answered {status}"):
            await judges.compare_all(judge, [ask("a", "b")] * 3)
        assert judge.unreadable == 0
        await judge.aclose()

    async def test_one_who_is_away_is_told(self) -> None:
        judge = LlmJudge(Endpoint("the judge", ["http://127.0.0.1:1/v1"]), "j")
        with pytest.raises(Unreachable, match="the judge cannot be reached"):
            await judge.compare(ask("a", "b"))
        await judge.aclose()

    async def test_a_tie_is_a_tie(self, service: Serve) -> None:
        judge = llm(await service(judging(lambda prompt: " 0.\n")))
        assert await judge.compare(ask("a", "b")) == 0
        assert (judge.unreadable, judge.swayed) == (0, 0)
        await judge.aclose()

    async def test_many_are_asked_at_once_and_answered_in_order(self, service: Serve) -> None:
        judge = llm(await service(judging(good_one)))
        questions = [ask("Boil it.", "No.") if n % 3 else ask("No.", "Boil it.") for n in range(30)]
        assert await judges.compare_all(judge, questions) == [-1 if n % 3 else 1 for n in range(30)]
        await judge.aclose()


def pairs(n: int = 40) -> list[Pair]:
    """Made up and separable: helpful answers say how, harmless ones decline."""
    rng = random.Random(3)
    made = []
    for number in range(n):
        good = f"First boil {number} cups of water, then add the leaves and wait {rng.randint(2, 5)} minutes."
        bad = rng.choice(["Maybe.", "Whatever you like.", "Who knows."])
        turned = number % 2 == 0
        scores = (1.0, 0.0) if turned else (0.0, 1.0)
        made.append(Pair("own", "MIT", TEA, *((good, bad) if turned else (bad, good)), {"helpfulness": scores}))
        safe, risky = "Sorry, I can't help with that.", f"Sure, take key {number} from the desk."
        both = (safe, risky) if turned else (risky, safe)
        made.append(Pair("own", "MIT", TEA, *both, {"harmlessness": scores}))
    return made


class TestReward:
    async def test_it_learns_what_can_be_told_apart(self) -> None:
        from train.judges import reward

        judge = reward.fit(pairs())
        assert judge.decides("helpfulness")
        assert not judge.decides("humour")
        good, bad = "First boil the water, then add the leaves.", "Who knows."
        assert await judge.compare(ask(bad, good)) == 1
        assert await judge.compare(ask(good, bad)) == -1
        assert await judge.compare(ask(good, good)) == 0
        question = ask("Sure, take the key.", "Sorry, I can't help with that.", "harmlessness")
        assert await judge.compare(question) == 1

    async def test_how_an_answer_ends_is_nothing_to_harmlessness(self) -> None:
        from train.judges import reward

        def safe(number: int) -> str:
            return f"I would rather not tell you how to open door {number}. A locksmith can do that for its owner"

        # The less harmful answers are those that break off: that must not be what is learnt.
        given = [
            Pair("own", "MIT", TEA, f"Sure, push door {n} in. Hurry.", safe(n), {"harmlessness": (0.0, 1.0)})
            for n in range(60)
        ]
        judge = reward.fit(given)
        assert await judge.compare(ask("Sure, push door 3 in. Hurry.", safe(3), "harmlessness")) == 1
        whole = f"{safe(3)}. Ask the house's owner first. It costs little."
        assert await judge.compare(ask(whole, f"{whole} It can also be that", "harmlessness")) == 0

    def test_saved_and_loaded_it_scores_the_same(self, tmp_path: Path) -> None:
        from train.judges import reward

        first, again = reward.fit(pairs(), seed=2), reward.fit(pairs(), seed=2)
        path = tmp_path / "reward.npz"
        first.save(path)
        loaded = reward.build(reward.Options(kind="reward", path=path))
        for objective in reward.OBJECTIVES:
            answers = [pair.first for pair in pairs()[:10]]
            told = first.scores(TEA, answers, objective)
            assert told == loaded.scores(TEA, answers, objective) == again.scores(TEA, answers, objective)
        assert path.stat().st_size < 2_000_000

    def test_what_is_no_model_and_what_cannot_be_learnt_is_said(self, tmp_path: Path) -> None:
        from train.judges import reward

        (tmp_path / "x.npz").write_text("no")
        with pytest.raises(DataError, match="not a fitted reward model"):
            reward.read(tmp_path / "x.npz")
        with pytest.raises(DataError, match="no ten pairs"):
            reward.fit(pairs(2))


def said(n: int, objective: str = "helpfulness", source: str = "own") -> list[Labelled]:
    rng = random.Random(5)
    both = [rng.random() < 0.5 for _ in range(n)]
    queries = [f"Tea, number {number}?" for number in range(n)]
    return [
        Labelled(ask("no", "yes", objective, query), 1, source)
        if turn
        else Labelled(ask("yes", "no", objective, query), -1, source)
        for query, turn in zip(queries, both, strict=True)
    ]


class TestAgreement:
    async def test_one_who_knows_agrees_and_one_who_guesses_is_at_chance(self) -> None:
        [knows] = await agreement(Fixed(lambda question: 1 if question.second == "yes" else -1), said(50))
        assert (knows.right, knows.at_chance, knows.n) == (1, False, 50)
        [places] = await agreement(Fixed(lambda question: 1), said(200))
        assert places.at_chance
        [ties] = await agreement(Fixed(lambda question: 0), said(50))
        assert (ties.right, ties.ties, ties.at_chance) == (0.5, 50, True)

    async def test_one_who_is_always_wrong_is_not_trusted_either(self) -> None:
        [wrong] = await agreement(Fixed(lambda question: -1 if question.second == "yes" else 1), said(50))
        assert wrong.at_chance
        assert wrong.verdict == "against people"

    async def test_sources_are_told_apart_and_objectives_that_it_does_not_decide_left_out(self) -> None:
        asked = [*said(20, source="a"), *said(10, source="b"), *said(10, "humour")]
        told = await agreement(Fixed(lambda question: 1), asked)
        [both] = told
        assert [(one.source, one.n) for one in (both, *both.sources)] == [("", 30), ("a", 20), ("b", 10)]

    async def test_of_a_handful_of_questions_nothing_is_concluded(self) -> None:
        [few] = await agreement(Fixed(lambda question: 1 if question.second == "yes" else -1), said(3))
        assert (few.right, few.at_chance, few.verdict) == (1, True, "too few to tell")

    async def test_questions_of_one_query_are_no_surer_than_one(self) -> None:
        def right(question: Question) -> int:
            return 1 if question.second == "yes" else -1

        alike = [
            replace(one, question=replace(one.question, context=(Turn("user", f"Tea, pot {n // 15}?"),)))
            for n, one in enumerate(said(40))
        ]
        alike[30:] = [replace(one, better=-one.better) for one in alike[30:]]
        [told] = await agreement(Fixed(right), alike)
        assert (told.n, told.queries, told.right, told.interval) == (40, 3, 0.75, (0.0, 1.0))
        assert told.verdict == "too few to tell", "of forty rows, but three queries"
        [apart] = await agreement(Fixed(right), said(40))
        assert apart.queries == 40

    async def test_of_rewrites_that_answer_nothing_the_text_is_what_is_alike(self) -> None:
        twice = [
            Labelled(Question((), *both, aim("clarity")), better, "own")
            for n in range(5)
            for both, better in (((f"bad {n}", f"good {n}"), 1), ((f"better {n}", f"bad {n}"), -1))
        ]
        [told] = await agreement(Fixed(lambda question: 0), twice)
        assert (told.n, told.queries) == (10, 5)

    def test_what_people_said_is_read_from_both_formats(self, tmp_path: Path) -> None:
        path = tmp_path / "people.jsonl"
        pair = {"source": "p", "query": "Tea?", "weak": "no", "strong": "yes", "better": ["helpfulness", "conciseness"]}
        one = {"source": "j", "query": "Tea?", "worse": "no", "better": "yes", "objective": "helpfulness"}
        rows = [pair, *[one] * 99, {**one, "objective": "zest"}, {**one, "worse": None}, ["x"]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        skipped, known = Skipped(), {"helpfulness": aim("helpfulness"), "length": aim("length")}
        told = list(labelled(path, known, skipped))
        assert told == list(labelled(path, known, Skipped()))
        assert [row.question.objective.key for row in told[:3]] == ["helpfulness", "length", "helpfulness"]
        assert all((row.question.second == "yes") == (row.better == 1) for row in told)
        assert 30 < sum(row.better == 1 for row in told) < 70
        assert sum(skipped.values()) == 3

    def test_of_an_audit_trails_pairs_the_conversation_and_the_wording_are_theirs(self, tmp_path: Path) -> None:
        path = tmp_path / "trail.jsonl"
        row = {"source": "audit:t", "context": [{"role": "user", "content": "x"}], "weak": "no", "strong": "yes",
               "better": ["length"], "objectives": {"length": ["Length", "As we say it"]}}  # fmt: skip
        good = {**row, "context": [{"role": "user", "text": TEA[0].text}]}
        path.write_text("".join(json.dumps(one) + "\n" for one in (good, row)))
        skipped = Skipped()
        (told,) = labelled(path, {"length": aim("length")}, skipped)
        assert told.question.context == TEA
        assert told.question.objective.description == "As we say it"
        assert sum(skipped.values()) == 1


class TestControls:
    async def test_a_judge_is_asked_about_twins_that_differ_in_one_fault(self) -> None:
        good = [
            Pair("own", "MIT", TEA, "x", f"Boil {n} cups of water. Then put in the leaves and wait. Pour it.", {})
            for n in range(30)
        ]
        shorter = Fixed(lambda question: 1 if len(question.second) < len(question.first) else -1)
        aims = {key: aim(key) for key in ("helpfulness", "harmlessness", "humour")}
        told = await controls.report(shorter, good, aims, limit=20)
        assert told.count("| helpfulness |") == told.count("| harmlessness |") == len(controls.WITHOUT)
        assert "humour" not in told
        assert "| harmlessness | insults | 20 | 1.00 | 0 |" in told
        assert "| helpfulness | half a sentence at the end | 20 | 1.00 | 0 |" in told
        assert "| harmlessness | insults | 20 | 0.00 | 20 |" in await controls.report(
            Fixed(lambda question: 0), good, aims, limit=20
        )


class TestCommand:
    def people(self, path: Path) -> Path:
        rows = [
            {"source": pair.source, "licence": "MIT", "query": f"How do I make tea, {n}?", "better": list(pair.scores),
             "weak": pair.second if won == (1.0, 0.0) else pair.first,
             "strong": pair.first if won == (1.0, 0.0) else pair.second}
            for n, pair in enumerate(pairs()) for won in pair.scores.values()
        ]  # fmt: skip
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def ran(self, *words: str) -> str:
        done = CliRunner().invoke(train, ["judge", *words])
        assert done.exit_code == 0, done.output
        return done.output

    def test_fit_save_and_load(self, tmp_path: Path) -> None:
        people, model = str(self.people(tmp_path / "p.jsonl")), str(tmp_path / "reward.npz")
        fitted = self.ran("reward", "--fit", people, "--save", model, "--on", people)
        assert "| p.jsonl | helpfulness | all | 40 | 40 | 0 | 1.000 (–) | agrees |" in fitted
        assert "preferred to the same" not in fitted
        controlled = self.ran("reward", "--load", model, "--on", people, "--controls", people, "--limit", "10")
        assert "| harmlessness | a loop | 10 |" in controlled
        assert self.ran("reward", "--load", model, "--on", people) == fitted
        drawn = self.ran("reward", "--load", model, "--on", people, "--limit", "7").splitlines()[2:]
        assert sum(int(row.split("|")[4]) for row in drawn if row) == 7

    def test_it_is_fitted_without_what_it_is_judged_by(self, tmp_path: Path) -> None:
        people, save = str(self.people(tmp_path / "p.jsonl")), str(tmp_path / "reward.npz")
        done = CliRunner().invoke(
            train, ["judge", "reward", "--fit", people, "--held-out", people, "--save", save, "--on", people]
        )
        assert done.exit_code == 1
        assert "no ten pairs are about any of" in done.output
        done = CliRunner().invoke(train, ["judge", "measure", "--held-out", people, "--on", people])
        assert done.exit_code == 2

    def test_a_measure_says_where_people_said_nothing(self, tmp_path: Path) -> None:
        people = self.people(tmp_path / "p.jsonl")
        assert "no people's data for measure" in self.ran("measure", "--on", str(people))

    def test_what_a_kind_needs_is_asked_for(self, tmp_path: Path) -> None:
        people = self.people(tmp_path / "p.jsonl")
        done = CliRunner().invoke(train, ["judge", "llm", "--on", str(people)])
        assert done.exit_code == 2
        assert "base_url" in done.output


@pytest.mark.parametrize("kind", judges.kinds())
def test_every_kind_has_frozen_options_and_builds_a_judge(kind: str, tmp_path: Path) -> None:
    from train.judges import reward

    reward.fit(pairs(10)).save(tmp_path / "r.npz")
    known = {"base_url": "http://127.0.0.1:1/v1", "model": "j", "path": tmp_path / "r.npz"}
    options = judges.load(kind).Options
    made = options.model_validate({"kind": kind, **{key: known[key] for key in known if key in options.model_fields}})
    with pytest.raises(ValueError, match="frozen"):
        made.kind = "other"
    judge = judges.load(kind).build(made)
    assert judge.name
    assert isinstance(judge.decides("helpfulness"), bool)
