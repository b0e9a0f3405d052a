"""`prepare` and `answers`, as they are called with data of somebody's own."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from click.testing import CliRunner

from tests.conftest import Handler, Service, chat_reply
from tests.train.test_prepare import GOOD, OWN
from train.cli import train
from train.prepare import Mix, compose, taken
from train.readers import Skipped
from train.rows import Pair, read
from train.wordings import Wordings
from wire.errors import Rejected

Serve = Callable[[Handler], Awaitable[Service]]


def test_an_objective_of_somebodys_own_is_learnt_where_it_is_worded_and_named_where_it_is_not(tmp_path: Path) -> None:
    row = {"source": "mine", "licence": "MIT", "query": "Tea?", "weak": "Bad tea.", "strong": GOOD}
    data = tmp_path / "pairs.jsonl"
    data.write_text((json.dumps({**row, "better": ["helpfulness", "brand_voice"]}) + "\n") * 40)
    (objectives := tmp_path / "objectives.yaml").write_text(
        f"objectives: {{helpfulness: {Wordings().first('helpfulness').description}, brand_voice: {OWN.description}}}\n"
        "sets: {default: [brand_voice]}\ntenants: {public: {keys: none, objectives: default}}\n"
    )
    command = ["prepare", f"pairs={data}", "--out", str(tmp_path / "rows.jsonl"), "--identical", "40"]
    ran = CliRunner().invoke(train, command, catch_exceptions=False)
    assert "no wording for brand_voice: --objectives FILE says" in ran.stderr
    assert "| 40 | no wording for brand_voice | pairs.jsonl:" in (tmp_path / "rows.md").read_text()
    ran = CliRunner().invoke(train, [*command, "--objectives", str(objectives)], catch_exceptions=False)
    assert "no wording" not in ran.stderr
    rows = list(read(tmp_path / "rows.jsonl"))
    named = {row.kind: {aim.key for one in rows if one.kind == row.kind for aim in one.objectives} for row in rows}
    assert named["better"] == {"helpfulness", "brand_voice"}
    assert OWN.description in {aim.description for row in rows for aim in row.objectives}
    assert "brand_voice" not in named["identical"], "whether just any answer meets it, nobody knows"


def test_where_no_row_comes_of_the_data_that_is_an_error(tmp_path: Path) -> None:
    row = {"source": "mine", "licence": "MIT", "query": "Tea?", "weak": "Bad tea.", "strong": GOOD}
    (data := tmp_path / "pairs.jsonl").write_text(json.dumps({**row, "better": ["helpfulness"]}) + "\n")
    command = ["prepare", f"pairs={data}", "--out", str(tmp_path / "rows.jsonl"), "--take", "oasst=9", "--take", "*=0"]
    ran = CliRunner().invoke(train, command)
    assert ran.exit_code == 2
    assert "no pair of oasst; there are mine" in ran.stderr
    assert "no rows of 1 pairs" in ran.stderr
    assert not (tmp_path / "rows.jsonl").exists()
    for source, said in (("pairs=none.jsonl", "there is no file 'none.jsonl'"), ("pears=x", "FORMAT is one of pairs,")):
        ran = CliRunner().invoke(train, ["prepare", source, *command[2:]])
        assert (ran.exit_code, said in ran.stderr) == (2, True), ran.stderr


async def test_a_model_scores_what_is_taken_and_its_answers_stay(tmp_path: Path, service: Serve) -> None:
    row = {"source": "mine", "licence": "MIT", "better": ["helpfulness"]}
    rows = [{**row, "query": f"Tea {n}?", "weak": f"Bad tea, {n}.", "strong": f"{GOOD} {n}"} for n in range(9)]
    rows.append({**row, "query": "Tea?", "weak": "Bad tea. " * 200, "strong": GOOD})
    (data := tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = ["1", "1", "2", "2", "error"]

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        said = answers.pop(0) if answers else "2"
        return web.Response(status=401) if said == "error" else web.json_response(chat_reply(said))

    judge = await service(handler)
    command = ["prepare", f"pairs={data}", "--out", str(tmp_path / "rows.jsonl"), "--take", "mine=4", "--scorer", "llm",
               "--llm-url", judge.url, "--llm-model", "m", "--in-flight", "1"]  # fmt: skip
    ran = await asyncio.to_thread(CliRunner().invoke, train, command)
    assert (ran.exit_code, "--score says which of" in ran.stderr) == (2, True)
    command += ["--score", "length"]
    ran = await asyncio.to_thread(CliRunner().invoke, train, command)
    assert isinstance(ran.exception, Rejected)
    kept = (tmp_path / "rows.scored.jsonl").read_text().splitlines()
    assert len(kept) == 2
    ran = await asyncio.to_thread(CliRunner().invoke, train, command)
    assert ran.exit_code == 0, ran.output
    asked = Counter(re.findall(r"Tea \d", str(body))[0] for _, body in judge.requests)
    assert sorted(asked.values())[:3] == [2, 2, 2], "of four pairs, two have been asked before, and one in vain"
    assert len(asked) == 4
    assert len((tmp_path / "rows.scored.jsonl").read_text().splitlines()) == 4
    assert {aim.key for row in read(tmp_path / "rows.jsonl") for aim in row.objectives} == {"helpfulness", "length"}
    ran = await asyncio.to_thread(CliRunner().invoke, train, [*command, "--score", "nonsense"])
    assert (ran.exit_code, "--score nonsense: there are" in ran.stderr) == (2, True)


def test_those_that_are_asked_of_are_those_that_become_rows() -> None:
    pairs = [
        Pair(source, "MIT", (), f"Bad tea, {n}.", f"{GOOD} {n}", {"helpfulness": (0.0, 1.0)})
        for n in range(9)
        for source in ("a", "b", "c")
    ]
    mix = Mix({"a": 4, "*": 2})
    rows, _ = compose(pairs, mix, Wordings(), 5, Skipped())
    assert {row.draft + row.source for row in rows} == {
        pairs[number].first + pairs[number].source for number in taken(pairs, mix, 5)
    }


def test_where_no_source_has_a_question_to_ask_that_is_an_error(tmp_path: Path) -> None:
    (data := tmp_path / "pairs.jsonl").write_text(
        '{"source": "mine", "query": "Tea?"}\n{"source": "ours", "query": ""}\n'
    )
    out = tmp_path / "answers.jsonl"
    ran = CliRunner().invoke(train, ["answers", str(data), "--out", str(out), "--source", "nope"])
    assert ran.exit_code == 2
    assert "its sources are mine, ours" in ran.stderr
    assert not out.exists()
