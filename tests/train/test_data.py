"""`prepare` and `answers`, as they are called with data of somebody's own."""

import json
from pathlib import Path

from click.testing import CliRunner

from tests.train.test_prepare import GOOD, OWN
from train.cli import train
from train.rows import read
from train.wordings import Wordings


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


def test_where_no_source_has_a_question_to_ask_that_is_an_error(tmp_path: Path) -> None:
    (data := tmp_path / "pairs.jsonl").write_text(
        '{"source": "mine", "query": "Tea?"}\n{"source": "ours", "query": ""}\n'
    )
    out = tmp_path / "answers.jsonl"
    ran = CliRunner().invoke(train, ["answers", str(data), "--out", str(out), "--source", "nope"])
    assert ran.exit_code == 2
    assert "its sources are mine, ours" in ran.stderr
    assert not out.exists()
