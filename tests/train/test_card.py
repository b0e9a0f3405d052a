"""The model card: from what a run has left behind, to what somebody who downloads it must know."""

import json
from pathlib import Path

import pytest
import yaml

from train.card import card, stages

ROW = {"source": "own", "licence": "Apache-2.0", "kind": "better", "rows": 12}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    told = {"base": "small", "start": None, "settings": {"rank": 16, "stages": ["better"]}, "data": [ROW]}
    (tmp_path / "run.json").write_text(json.dumps(told))
    log = [
        {"rows": 12, "left_out": 1, "tokens": 3456, "device": "1 x GPU", "seconds": 0.0},
        *({"step": n, "loss": 2.0 - n / 10, "seconds": 600.0 * n} for n in range(1, 4)),
        {"step": 4, "loss": 9.0, "seconds": 1800.0},  # after the last checkpoint: done again
        {"rows": 12, "left_out": 1, "tokens": 3456, "device": "1 x GPU", "seconds": 0.0},
        *({"step": n, "loss": 2.0 - n / 10, "seconds": 900.0 * (n - 3)} for n in range(4, 7)),
    ]
    folder = tmp_path / "3-better"
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return folder


def test_a_stage_that_was_stopped_and_gone_on_with_cost_both_parts(adapter: Path) -> None:
    (stage,) = stages(adapter.parent)
    assert (stage.name, stage.rows, stage.left_out, stage.tokens, stage.steps) == ("3-better", 12, 1, 3456, 6)
    assert stage.hours == pytest.approx((1800 + 2700) / 3600)
    assert stage.loss == pytest.approx((1.7, 1.6))


def test_a_card_says_what_it_was_made_of_and_what_it_cost(adapter: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("# Evaluation\n\n| policy | win |\n")
    told = card("editor", adapter, [report])
    front = yaml.safe_load(told.split("---")[1])
    assert front["base_model"] == "small"
    assert front["datasets"] == ["own"]
    assert "| own | Apache-2.0 | better | 12 |" in told
    assert "| rank | 16 |" in told
    assert "| 3-better | 12 | 1 | 3,456 | 6 | 1.25 | 1 x GPU | 1.700, 1.600 |" in told
    assert "### Evaluation" in told
    assert "## Not for" in told
    assert "terms of their own" not in told


def test_a_card_warns_of_licences_that_carry_terms(adapter: Path) -> None:
    run = adapter.parent / "run.json"
    told = json.loads(run.read_text())
    told["data"].append({**ROW, "licence": "OpenAI terms"})
    run.write_text(json.dumps(told))
    assert "**Rows with terms of their own, which bind who uses this model: OpenAI terms.**" in card("e", adapter, [])


def test_a_card_tells_what_the_adapter_saw_that_it_went_on_from(adapter: Path) -> None:
    run = adapter.parent / "run.json"
    told = json.loads(run.read_text())
    before = {**told, "data": [{**ROW, "source": "theirs", "licence": "OpenAI terms"}]}
    run.write_text(json.dumps({**told, "start": "3-better (1a2b3c4d)", "before": before}))
    said = card("e", adapter, [])
    assert "Before that, as 3-better (1a2b3c4d):" in said
    assert "| theirs | OpenAI terms | better | 12 |" in said
    assert "which bind who uses this model: OpenAI terms" in said
    assert yaml.safe_load(said.split("---")[1])["datasets"] == ["own", "theirs"]
    run.write_text(json.dumps({**told, "start": "editor-1a2b3c4d (5e6f7a8b)", "before": None}))
    assert "it was editor-1a2b3c4d (5e6f7a8b): what that saw is not on record here" in card("e", adapter, [])


def test_what_is_not_on_record_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    told = card("editor", tmp_path / "adapter", [])
    assert told.count("Not on record.") == 3
    assert "Not measured." in told
