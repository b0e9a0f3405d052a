"""The command line, as a person types it: clear lines, exit codes, never a traceback."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from gateway import cli
from tests.conftest import OBJECTIVES, ROOT

METAALIGNER = str(Path(sys.executable).parent / "metaaligner")
POLICIES = """
policies:
  m: {kind: openai, base_url: "http://127.0.0.1:9/v1", api_key_env: NOT_SET_ANYWHERE, corrector: c}
correctors:
  c: {engine: {kind: endpoint, base_url: "http://127.0.0.1:9/v1", model: x}}
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `metaaligner` in a folder with these two files."""

    def start(
        *args: str, policies: str = POLICIES, objectives: str = OBJECTIVES, stdout: IO[str] | int = subprocess.PIPE
    ) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "policies.yaml").write_text(policies)
        (tmp_path / "objectives.yaml").write_text(objectives)
        ran = subprocess.run(
            [METAALIGNER, *args], cwd=tmp_path, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert "Traceback" not in ran.stderr + (ran.stdout or "")
        return ran

    return start


def test_check_says_what_each_tenant_gets(run: Run) -> None:
    ran = run("check", objectives=OBJECTIVES.replace("allow_off: true", "required: [harmlessness], define: false"))
    assert ran.returncode == 0
    assert "policies.yaml and objectives.yaml are valid." in ran.stdout
    assert "objectives  harmlessness (required), helpfulness" in ran.stdout
    assert "policies    m" in ran.stdout
    assert "may define  no" in ran.stdout
    assert "on failure error" in ran.stdout
    assert "NOT_SET_ANYWHERE is not set" in ran.stderr


def test_check_needs_no_tenants_key(run: Run) -> None:
    ran = run("check", objectives=OBJECTIVES + "  acme: {keys: [{env: NOBODYS_KEY}]}\n")
    assert ran.returncode == 0
    assert "warning: the tenant acme has no key: the environment variable NOBODYS_KEY is not set" in ran.stderr


@pytest.mark.parametrize("command", [["check"], ["serve"], ["align", "q", "a"]])
def test_a_broken_file_is_one_clear_line(run: Run, command: list[str]) -> None:
    ran = run(*command, objectives=OBJECTIVES.replace("[helpfulness]", "[helpfullness]"))
    assert ran.returncode == 2
    assert ran.stderr == "error: objectives.yaml:7: unknown objective 'helpfullness'; did you mean 'helpfulness'?\n"
    assert ran.stdout == ""


def test_a_missing_file(run: Run) -> None:
    ran = run("check", "--policies", "none.yaml")
    assert (ran.returncode, ran.stderr) == (2, "error: none.yaml:1: cannot be read: No such file or directory\n")


def test_who_reads_no_further_is_told_nothing(run: Run) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        ran = run("check", stdout=closed)
    assert (ran.returncode, ran.stderr) == (1, "")


@pytest.mark.parametrize(
    ("missing", "cure"),
    [("torch.nn", ": .venv/bin/pip install -c constraints.txt -e '.[train]'"), ("aiohttp", "")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    missing: str, cure: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(**_: object) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(cli, "cli", lacking)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {missing.partition('.')[0]} is not installed{cure}\n"


def test_everybody_is_let_in_on_loopback_only(run: Run) -> None:
    ran = run("serve", "--host", "0.0.0.0")
    assert ran.returncode == 2
    assert "the tenant 'public' needs no key" in ran.stderr
    assert "--allow-anonymous" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_port_that_is_taken(run: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = run("serve", "--port", str(taken.getsockname()[1]))
    assert ran.returncode != 0
    assert "address already in use" in (ran.stderr + ran.stdout).lower()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give QUESTION and ANSWER, or --input and --output"),
        (["q"], "give QUESTION and ANSWER"),
        (["q", "a", "--input", "policies.yaml"], "give QUESTION and ANSWER"),
        (["--input", "policies.yaml"], "give QUESTION and ANSWER"),
        (["q", "a", "--objectives", "humor"], "unknown objective 'humor'; there are: harmlessness"),
        (["q", "a", "--define", "x"], "--define takes NAME=DESCRIPTION"),
        (["q", "a", "--define", f"x={'x' * 2001}"], "the description of 'x' must have 1 to 2000 characters"),
        (["q", "a", "--define", "x=one; two: three"], "the description of 'x' may not hold ';'"),
        (["q", "a", "--corrector", "d"], "no corrector 'd'; there are: c"),
        (["--input", "policies.yaml", "--output", "o", "--shard", "3/2"], "--shard takes I/N, such as 2/4, not '3/2'"),
    ],
)
def test_align_says_how_it_is_used(run: Run, args: list[str], message: str) -> None:
    ran = run("align", *args)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_align_with_a_corrector_that_is_away(run: Run) -> None:
    ran = run("align", "q", "An answer with words.")
    assert (ran.returncode, ran.stderr) == (2, "error: the corrector c cannot be reached\n")


EMBEDDED = ["--policies", str(ROOT / "policies.yaml"), "--objectives-file", str(ROOT / "objectives.yaml")]


def test_align_corrects_one_answer_with_the_embedded_model(run: Run) -> None:
    ran = run("align", *EMBEDDED, "--objectives", "length", "--define", "tone=Be warm",
              "How do I make tea?", "Boil water. Pour it over the leaves, and then wait for four minutes.")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    verdict = ran.stdout.strip().splitlines()[-1]
    assert verdict.split(":")[0] in ("corrected", "unchanged", "kept_original")
    assert verdict.endswith("[length, tone]")
    assert "water" in ran.stdout


def test_align_changes_what_an_objective_in_words_of_ones_own_asks_for(run: Run) -> None:
    asked = """formal=The response should be written without contractions such as "don't" or "it's\""""
    ran = run("align", *EMBEDDED, "--define", asked, "How do I make tea?",
              "It's easy to make tea: boil the water, pour it over the leaves, and wait until it's done.")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().splitlines()[-1].startswith("corrected")
    assert "It[-'s-]{+ is+} easy to make tea" in ran.stdout


def test_align_corrects_a_file_with_the_embedded_model(run: Run, tmp_path: Path) -> None:
    rows = [{"query": "How do I make tea?", "generated_text": f"Boil water, then wait {n} minutes."} for n in (3, 4, 5)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = run("align", *EMBEDDED, "--input", "in.jsonl", "--output", "out.jsonl")
    assert ran.returncode == 0, ran.stderr
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["generated_text"] for row in out] == [row["generated_text"] for row in rows]
    assert all(row["correction"] and row["verdict"] in ("corrected", "unchanged", "kept_original") for row in out)
    again = run("align", *EMBEDDED, "--input", "in.jsonl", "--output", "out.jsonl")
    assert "3 done before" in again.stdout
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"answer": "a"}\nnot json\n')
    ran = run("align", *EMBEDDED, "--input", "bad.jsonl", "--output", "bad.out.jsonl")
    assert ran.returncode == 1
    assert "bad.jsonl:2: not JSON" in ran.stderr


def test_what_changed_is_marked_in_colours_or_in_signs() -> None:
    before, after = "Boil the water. Go away. Pour it.", "Boil the water. Pour it slowly."
    signs = cli._diff(before, after, coloured=False).plain
    assert re.sub(r"\[-.*?-\]|\{\+(.*?)\+\}", r"\1", signs) == after
    assert re.sub(r"\{\+.*?\+\}|\[-(.*?)-\]", r"\1", signs) == before
    coloured = cli._diff(before, after, coloured=True)
    assert "[-" not in coloured.plain
    assert {str(span.style) for span in coloured.spans} == {"red strike", "green"}
