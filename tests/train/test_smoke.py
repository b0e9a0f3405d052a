"""`train/runs/smoke.sh`: from preference data to an adapter that is served and measured, on a CPU, in minutes."""

import gzip
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pytest

from corrector.correction import Correction, Task
from corrector.corrector import Corrector
from corrector.templates import Turn
from tests.conftest import ROOT
from tests.gateway.test_cli import METAALIGNER
from train import damage, mending
from train.intervals import bootstrap, written
from train.mending import Case, Outcome, cases, copied, likeness, markdown, summary
from train.rows import Pair
from train.wordings import Wordings
from wire.errors import Dropped, Malformed, Rejected, Reported, TimedOut, Unreachable, WireError

GOOD = (
    "Boil the water in a kettle first. Then warm the pot with a little of it. In it go the leaves, one spoon a cup. "
    "Let it stand for {} minutes, and pour it through a strainer."
)


def test_the_whole_way(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    pairs = tmp_path / "pairs.jsonl.gz"
    rows = [
        {"source": "own", "licence": "MIT", "query": f"How do I make tea number {n}?", "weak": "No idea.",
         "strong": GOOD.format(n), "better": ["helpfulness"]}
        for n in range(12)
    ]  # fmt: skip
    pairs.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    ran = subprocess.run(
        [str(ROOT / "train/runs/smoke.sh"), str(pairs), str(tmp_path / "out")],
        cwd=ROOT, env={**os.environ, "METAALIGNER": METAALIGNER, "BASE": str(work)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert (tmp_path / "out/adapter.gguf").stat().st_size > 100_000
    told = json.loads((tmp_path / "out/evaluation/report.json").read_text())
    assert {"fine", "repeat", "insult", "shout"} <= {line["kind"] for line in told}
    assert all(line["cases"] == sum(line["verdicts"].values()) == 1 for line in told if line["kind"] != "all damage")
    card = (tmp_path / "out/adapter.md").read_text()
    assert "| own | MIT | identical | 4 |" in card
    assert "Not measured" in card
    assert "shout (unseen)" in (tmp_path / "out/evaluation/report.md").read_text()


def test_cases_are_of_every_kind_and_the_same_for_a_seed() -> None:
    wordings = Wordings()
    known = {key: wordings.first(key) for key in wordings}
    pairs = [Pair("own", "MIT", (), "x", GOOD.format(n), {}) for n in range(5)]
    made = cases(pairs, known, 2, seed=1)
    assert made == cases(pairs, known, 2, seed=1)
    assert {case.kind for case in made} == {*damage.KINDS, "broken_off", "fine"}
    assert all((case.draft == case.good) == (case.kind == "fine") for case in made)
    assert all(case.objectives[0].key == "repetition" for case in made if case.kind == "repeat")
    assert all(case.draft.startswith(case.good) for case in made if case.kind == "broken_off")


def test_likeness_and_what_is_copied() -> None:
    assert likeness("a b c", "a b c") == 1
    assert likeness("a b", "c d") == 0
    assert copied("a b c d", "a c x y z") == 0.5
    assert copied("", "a") == 0


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("The sky is blue.", 1),
        ("The sky is blue. It is so by day.", 1),
        ("The sky is blue. It is so", 8 / 11),
        ("It is so by day.", 2 / 9),
    ],
)
def test_what_breaks_off_may_be_ended_in_any_words_or_where_the_sentence_before_ends(text: str, after: float) -> None:
    case = Case("broken_off", (), "The sky is blue. It is s", "The sky is blue.", (), "The sky is blue. It is so.")
    found = mending.outcome(case, Correction(text, "corrected", "rewritten"))
    assert found.before == 8 / 11
    assert found.after == pytest.approx(after)


class Failing:
    """A corrector whose engine says so, whatever it is asked."""

    def __init__(self, error: WireError) -> None:
        self._error = error

    async def correct(self, task: Task) -> AsyncIterator[str | Correction]:
        yield task.draft
        raise self._error


@pytest.mark.parametrize(
    "error",
    [Reported("an error in its stream", {}), TimedOut("silent"), Malformed("no JSON"), Rejected("400", 400, {}, b"")],
    ids=lambda error: type(error).__name__,
)
async def test_one_that_the_engine_cannot_do_has_failed_and_the_run_goes_on(
    error: WireError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0)
    told = await mending.attempted(cast(Corrector, Failing(error)), Task((), "Tea.", ()))
    assert (told.text, told.verdict, told.reason) == ("Tea.", "failed", str(error))


@pytest.mark.parametrize("error", [Dropped("gone"), Unreachable("away"), Rejected("401", 401, {}, b"")], ids=str)
async def test_an_engine_that_does_nothing_for_anybody_stops_it(
    error: WireError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corrector.corrector.RESTART_S", 0)
    with pytest.raises(type(error)):
        await mending.attempted(cast(Corrector, Failing(error)), Task((), "Tea.", ()))


def outcome(kind: str, before: float, after: float) -> Outcome:
    return Outcome(kind, "corrected", "rewritten", before, after, 1.0, 0, 1.0)


def test_a_summary_counts_nearer_and_farther() -> None:
    told = summary([outcome("pad", 0.5, 1), outcome("pad", 0.5, 0.6), outcome("pad", 0.5, 0.4), outcome("fine", 1, 1)])
    pad, fine = told
    assert (pad.cases, pad.nearer, pad.farther) == (3, 2, 1)
    assert (fine.nearer, fine.farther, fine.interval) == (0, 0, (0.0, 0.0))
    assert "| pad | 3 | 2 | 1 |" in markdown(told)
    assert "the answers are held out, and not the faults" in markdown(told)


def test_texts_that_were_damaged_in_many_ways_are_no_surer_than_one_each() -> None:
    """The kinds by themselves too, and the cases say which texts those are, with and without a question before them."""
    moved = [outcome(f"kind {n % 5}", 0.5, 1 if n // 5 % 3 else 0.4) for n in range(50)]
    [*_, alone] = summary(moved)
    [*_, of_ten] = summary(moved, origins=[n // 5 for n in range(50)])
    assert (alone.kind, alone.cases, alone.nearer) == ("all damage", 50, 30)
    assert (of_ten.kind, of_ten.cases, of_ten.nearer) == ("all damage", 50, 30)
    assert of_ten.interval[1] - of_ten.interval[0] > 1.5 * (alone.interval[1] - alone.interval[0])
    assert written(summary(moved[::5], origins=[0] * 10)[0].interval) == "–"

    wordings = Wordings()
    known = {key: wordings.first(key) for key in wordings}
    asked = (Turn("user", "How do I make tea?"),)
    pairs = [Pair("own", "MIT", (), "x", GOOD.format(1), {})]
    pairs += [Pair("own", "MIT", asked, "x", GOOD.format(n), {}) for n in (2, 3)]
    for made in (cases(pairs, known, 3, seed=1), mending.asked(pairs, known, 3, seed=1)):
        assert {case.origin for case in made} == {GOOD.format(1), asked}


async def test_corrections_stay_when_cases_are_counted_in_other_ways(tmp_path: Path) -> None:
    """What was corrected before cases had an origin is not corrected again."""
    kept = {"of": "4e189994ec24ac09", **asdict(outcome("pad", 0.5, 1))}
    (tmp_path / "outcomes.jsonl").write_text(json.dumps(kept) + "\n")
    todo, nobody = [Case("pad", (), "Tea, tea.", "Tea.", (), "Tea.")], cast(Corrector, None)
    told = await mending.run(todo, nobody, tmp_path / "outcomes.jsonl", 1, lambda: None, "settings")
    assert told == [outcome("pad", 0.5, 1)]


def test_of_values_that_are_all_the_same_no_interval_is_written() -> None:
    assert written(bootstrap([1, 1, 1, 1], 1)) == "–"
    assert written((0.25, 0.5), "+.2f") == "+0.25 to +0.50"


def test_an_interval_holds_the_mean_and_narrows_with_cases() -> None:
    low, high = bootstrap([1, 0] * 10, seed=1)
    lower, higher = bootstrap([1, 0] * 200, seed=1)
    assert low < 0.5 < high
    assert higher - lower < high - low
