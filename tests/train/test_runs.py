"""The whole pipelines in `train/runs`, as far as a machine without a GPU goes."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.gateway.test_cli import METAALIGNER
from tests.train.test_smoke import GOOD

RUNS = ROOT / "train/runs"
LAYOUTS = sorted((RUNS / "accelerate").glob("*.yaml"))
# Says what it was called with, and leaves behind what the scripts go on with.
STAND_IN = """\
#!/bin/bash
echo "$@" >> "$CALLS"
if [[ "$*" == "train judge llm"* && -n "${JUDGE_FAILS:-}" ]]; then echo "error: $JUDGE_FAILS" >&2; exit 1; fi
while [ $# -gt 0 ]; do
  case $1 in
    --save | --gguf) mkdir -p "$(dirname "$2")"; echo x > "$2" ;;
    --out)
      case $2 in
        *.jsonl) mkdir -p "$(dirname "$2")"; echo '{}' > "$2" ;;
        *)
          mkdir -p "$2/1-better"
          printf '%s\\n' '# x' '## What became of the drafts' '| x |' '## What changed, counted' '| x |' \
            '## What was refused' '| x |' '## Correction against draft' '| x |' '## Draft against golden' \
            '## Fine' '| fine | x |' > "$2/report.md"
          touch "$2/plot.png" ;;
      esac ;;
  esac
  shift
done
"""


def pairs(path: Path, count: int, source: str, what: str = "tea") -> Path:
    rows = [
        {"source": source, "licence": "MIT", "query": f"How do I make {what} number {n}?",
         "weak": f"No idea, {n} maybe.", "strong": GOOD.format(n), "better": ["helpfulness"]}
        for n in range(count)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def ran(script: str, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "METAALIGNER": METAALIGNER, **given}
    return subprocess.run(
        [str(RUNS / script), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


class Calls:
    """A stand-in for `metaaligner`, and what it is called with."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "calls"
        self.command = folder / "metaaligner"
        self.command.write_text(STAND_IN)
        self.command.chmod(0o755)

    def of(self, script: str, *arguments: str, **given: str) -> list[str]:
        self._said.write_text("")
        told = ran(script, *arguments, **{"METAALIGNER": str(self.command), "CALLS": str(self._said), **given})
        assert told.returncode == 0, told.stderr[-2000:]
        return self._said.read_text().splitlines()


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path)


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_accelerate_understands_the_layouts(path: Path) -> None:
    config = pytest.importorskip("accelerate.commands.config.config_args", reason="the extra `train` is not installed")
    told = config.load_config_from_file(str(path))
    assert told.num_processes in (4, 16)
    if (file := (told.deepspeed_config or {}).get("deepspeed_config_file")) is not None:
        assert json.loads((ROOT / file).read_text())["zero_optimization"]["stage"] == 3
    else:
        assert told.fsdp_config["fsdp_version"] == 2


def test_the_papers_recipe_says_what_it_would_take(tmp_path: Path) -> None:
    given = pairs(tmp_path / "pairs.jsonl.gz", 40, "own")
    more = pairs(tmp_path / "more.jsonl.gz", 40, "more", "coffee")
    sources = (f"pairs={given}", f"pairs={more}")
    told = ran("paper.sh", "no/model", str(tmp_path / "out"), *sources, DRY_RUN="1", IDENTICAL="5")
    assert told.returncode == 0, told.stderr[-2000:]
    assert "2 epochs" in told.stdout
    assert "every weight, on 4 devices" in told.stdout
    for size in ("1.1B", "7B", "13B"):
        assert f"| {size} |" in told.stdout
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert len(rows) == 85
    assert {row["source"] for row in rows} == {"own", "more"}
    assert {row["kind"] for row in rows} == {"identical", "better"}
    named = {aim["key"] for row in rows for aim in row["objectives"]}
    assert named == {"helpfulness"}, "what the data is scored in: what the paper calls unseen stays so"


def test_the_papers_recipe_has_no_measure_score_what_is_to_stay_unseen(tmp_path: Path, calls: Calls) -> None:
    prepared, _ = calls.of("paper.sh", "m", str(tmp_path / "out"), "hh_rlhf=a", "hh_rlhf=b", DRY_RUN="1")
    assert prepared.startswith("train prepare hh_rlhf=a hh_rlhf=b ")
    assert "--scorer" not in prepared
    assert "--identical-as-scored" in prepared


def test_the_papers_recipe_leaves_out_what_is_held_out(tmp_path: Path, calls: Calls) -> None:
    prepared, _ = calls.of("paper.sh", "m", str(tmp_path / "out"), "pairs=a", DRY_RUN="1", HELD_OUT="b.gz c.gz")
    assert prepared.endswith(" --held-out b.gz --held-out c.gz")
    prepared, _ = calls.of("paper.sh", "m", str(tmp_path / "out"), "pairs=a", DRY_RUN="1")
    assert "--held-out" not in prepared


def test_more_rows_at_once_than_a_step_has_are_told() -> None:
    told = ran("paper.sh", "no/model", "out", "pairs=x", DRY_RUN="1", GPUS="32", BATCH="32")
    assert (told.returncode, "512 rows" in told.stderr) == (1, True)


@pytest.mark.parametrize("gpus", ["3", "6"])
def test_a_step_that_would_have_fewer_rows_than_the_papers_is_told(gpus: str) -> None:
    told = ran("paper.sh", "no/model", "out", "pairs=x", DRY_RUN="1", GPUS=gpus)
    assert (told.returncode, "no part of the 512 rows" in told.stderr) == (1, True)


@pytest.mark.parametrize("kind", ["hh_rlhf", "imhi", "ultrafeedback", "pairs"])
def test_each_data_set_has_the_releases_prompt(kind: str, tmp_path: Path) -> None:
    """What it would train with is said before it is known that there is nothing to train on."""
    echo = tmp_path / "metaaligner"
    echo.write_text('#!/bin/sh\necho "$@"\n')
    echo.chmod(0o755)
    told = ran("paper.sh", "m", str(tmp_path / "out"), f"{kind}=x", DRY_RUN="1", METAALIGNER=str(echo))
    template = "ultrafeedback" if kind == "pairs" else kind
    assert f" --template {template} " in told.stdout


def test_the_papers_recipe_is_launched_also_where_the_command_is_on_the_path(tmp_path: Path, calls: Calls) -> None:
    launched = tmp_path / "accelerate"
    launched.write_text('#!/bin/sh\necho accelerate "$@" >> "$CALLS"\n')
    launched.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    _, told = calls.of("paper.sh", "m", str(tmp_path / "out"), "pairs=x", METAALIGNER="metaaligner", PATH=path)
    assert told.startswith("accelerate launch ")
    assert f" {calls.command} train sft {tmp_path}/out/rows.jsonl " in told, "a file, as accelerate wants it"


JUDGED_BY = ("pairs/eval", "policy_answers/eval", "judge_eval/hhh_alignment")


def test_the_shipped_adapters_recipe_to_its_results(tmp_path: Path, calls: Calls) -> None:
    """The judge is fitted on nothing that it judges later, and ablations have settings of their own."""
    given = {"BATCH": "64", "ACCUMULATE": "1", "RATE": "1e-3", "PART": "3", "LONGEST": "99", "STEPS": "7"}
    out = tmp_path / "out"
    said = calls.of("default.sh", "data", str(out), CHECKPOINTING="--no-checkpointing", VARIANTS="whole", **given)
    [fitted] = [call for call in said if "--fit" in call]
    assert all(f" --held-out data/{name}.jsonl.gz" in fitted for name in JUDGED_BY)
    [ours, ablation] = [call for call in said if call.startswith("train sft")]
    assert "--learning-rate 1e-3 --longest 99 --batch 64 --accumulate 1 --no-checkpointing" in ours
    assert "--learning-rate 2e-4 --longest 512 --batch 2 --accumulate 4 --max-steps -1 --checkpointing" in ablation
    assert any(f"--out {out}/ablations/rows.jsonl" in call and "--made 60 " in call for call in said)
    assert "| whole | fine | x |" in (out / "docs/results.md").read_text()


@pytest.mark.parametrize("script", ["default.sh", "ablations.sh"])
def test_recipes_take_data_of_somebodys_own(script: str, tmp_path: Path, calls: Calls) -> None:
    """By the names of its sources; without them they are those of the project's data."""
    given = {"NO_RESULTS": "1", "VARIANTS": "whole", "PART": "2"}
    said = calls.of(script, "data", str(tmp_path / "ours"), **given)
    own = calls.of(script, "data", str(tmp_path / "own"), SOURCES="mine yours", **given)
    [prepared, *_] = [call for call in own if call.startswith("train prepare")]
    assert "--made-from mine --made-from yours" in prepared
    assert prepared.count("--take") == 3, "and nothing of others"
    assert "--take yours=" in prepared
    theirs = ("oasst_qlora", "hh_helpful", "hh_harmless", "paradetox")
    assert not any(source in call for call in own for source in theirs)
    assert any("--made-from oasst_qlora --made-from hh_helpful --made-from oasst_tree100" in call for call in said)
    asked = [call for call in own if call.startswith("train answers data")]
    assert all("--source mine --source yours" in call for call in asked)


def test_the_results_of_what_ships_are_by_a_judge_that_has_not_seen_them() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "results", "DATA=data"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    [fitted] = [line for line in told.stdout.splitlines() if " --fit " in line]
    assert all(f" --held-out data/{name}.jsonl.gz" in fitted for name in JUDGED_BY)


def test_results_of_other_settings_are_made_anew(tmp_path: Path, calls: Calls) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def made(**given: str) -> tuple[bool, bool]:
        given = {"ADAPTER": "a.gguf", "DOCS": str(tmp_path / "docs"), **given}
        said = calls.of("results.sh", "data", str(out), **given)
        return any("judge llm" in call for call in said), any("/ablations/rows" in call for call in said)

    assert made(JUDGED="8", ABLATION_CASES="2", VARIANTS="whole") == (True, True)
    (old := out / "ablations/whole-mending/outcomes.jsonl").touch()
    assert made(JUDGED="8", ABLATION_CASES="2", VARIANTS="whole") == (False, False)
    assert made(JUDGED="9", ABLATION_CASES="2", VARIANTS="whole") == (True, False)
    assert old.exists()
    assert made(JUDGED="9", ABLATION_CASES="3", VARIANTS="whole") == (False, True)
    assert not old.exists(), "it would be of another number of cases"
    assert made(JUDGED="9", ABLATION_CASES="3", VARIANTS="whole no-equal") == (False, True)
    assert "| no-equal | fine | x |" in (tmp_path / "docs/results.md").read_text()
    for stamp in out.rglob("*.settings"):
        stamp.unlink()
    assert made(JUDGED="1", ABLATION_CASES="1", VARIANTS="whole") == (False, False), "older than stamps: it stays"


def test_what_an_ablation_learns_from_is_part_of_its_settings(tmp_path: Path, calls: Calls) -> None:
    """Its note stays with its table, and both go with other rows."""
    given = {"ADAPTER": "a.gguf", "VARIANTS": "whole"}
    out = tmp_path / "out"
    for settings, made in (({"ABLATION_NOTE": "On a GPU."}, True), ({}, False), ({"PART": "2"}, True)):
        said = calls.of("results.sh", "data", str(out), **given, **settings)
        assert any("/ablations/rows" in call for call in said) == made
        assert ("On a GPU." in (out / "docs/results.md").read_text()) == (settings.get("PART") is None)


def test_an_ablation_that_there_is_not_leaves_no_table(tmp_path: Path, calls: Calls) -> None:
    told = ran(
        "ablations.sh", "data", str(tmp_path), VARIANTS="whole no-warmup", METAALIGNER=str(calls.command),
        CALLS=str(tmp_path / "calls"),
    )  # fmt: skip
    assert (told.returncode, "there is no no-warmup" in told.stderr) == (1, True)
    assert not (tmp_path / "ablations.md").exists()


def test_a_judge_that_answers_nothing_is_a_result_and_one_that_fails_is_none(tmp_path: Path, calls: Calls) -> None:
    given = {"ADAPTER": "a.gguf", "VARIANTS": "whole", "METAALIGNER": str(calls.command)}
    nothing = "the judge answered none of the first questions with 1, 2 or 0: the last was cut off after 8 tokens"
    calls.of("results.sh", "data", str(tmp_path / "out"), **given, JUDGE_FAILS=nothing)
    page = (tmp_path / "out/docs/results.md").read_text()
    assert "\nIt answered none of the first questions with 1, 2 or 0, and was given up.\n" in page
    away = {"CALLS": str(tmp_path / "calls"), "JUDGE_FAILS": "the judge cannot be reached"}
    told = ran("results.sh", "data", str(tmp_path / "other"), **given, **away)
    assert (told.returncode, "the judge cannot be reached" in told.stderr) == (1, True)
    assert not (tmp_path / "other/docs").exists()


def test_judges_stand_beside_all_that_people_have_said(tmp_path: Path, calls: Calls) -> None:
    said = calls.of("results.sh", "data", str(tmp_path / "out"), ADAPTER="a.gguf", DOCS=str(tmp_path / "docs"))
    people = [f"data/{name}.jsonl.gz" for name in ("pairs/eval", "judge_eval/hhh_alignment", "judge_eval/llmbar")]
    judged = [call for call in said if " --judge reward " in call]
    assert len(judged) == 4
    for call in judged:
        assert all(f" --people {file}" in call for file in people)
    for kind in ("reward", "measure"):
        [asked] = [call for call in said if call.startswith(f"train judge {kind} ")]
        assert all(f" --on {file}" in asked for file in people)


def test_own_answers_are_to_the_sources_that_are_named(tmp_path: Path, calls: Calls) -> None:
    given = {"ADAPTER": "a.gguf", "DOCS": str(tmp_path / "docs"), "VARIANTS": "whole"}
    for named, first, count in (("mine yours", "mine", 2), (None, "oasst_qlora", 4)):
        more = {} if named is None else {"SOURCES": named}
        said = calls.of("results.sh", "data", str(tmp_path / first), **given, **more)
        [answered] = [call for call in said if call.startswith("train answers data/pairs/eval")]
        assert answered.count(" --source ") == count
        assert f" --source {first} " in answered


def test_the_layouts_module_is_the_command() -> None:
    """`accelerate launch --module gateway.cli`: that nothing is run would look like success."""
    told = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "train", "sft", "--nonsense"], cwd=ROOT, capture_output=True
    )
    assert told.returncode != 0
    assert b"--nonsense" in told.stderr


def test_ablations_end_in_a_table(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    for split, what in (("train", "tea"), ("eval", "coffee")):
        pairs(tmp_path / "data/pairs" / f"{split}.jsonl.gz", 12, "oasst_qlora", what)
    told = ran(
        "ablations.sh",
        str(tmp_path / "data"),
        str(tmp_path / "out"),
        STEPS="1",
        ACCUMULATE="1",
        CASES="1",
        VARIANTS="no-warm-up",
        BASE=str(work),
    )
    assert told.returncode == 0, told.stderr[-2000:]
    table = (tmp_path / "out/ablations.md").read_text()
    for what in ("fine", "all damage"):
        assert f"| no-warm-up | {what} |" in table
    assert not (tmp_path / "out/no-warm-up/1-identical").exists()
