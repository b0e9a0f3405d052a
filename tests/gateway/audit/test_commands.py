"""`metaaligner audit`, from a terminal."""

import asyncio
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.audit.store import Store
from gateway.cli import cli
from tests.conftest import OBJECTIVES, ROOT
from tests.gateway.audit.conftest import row

TENANTS = "tenants:\n  t: {keys: none, audit: full, training: true, retention_days: 7}\n  shy: {keys: [{sha256: %s}]}\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name a trail with answers in it."""
    objectives = tmp_path / "objectives.yaml"
    objectives.write_text(OBJECTIVES.partition("tenants:")[0] + TENANTS % ("a" * 64))

    async def fill() -> None:
        store = Store(f"sqlite:///{tmp_path}/audit.db")
        await store.open()
        texts = ("The sky.", "The blue sky.")
        old = row("old", tenant="shy", texts=texts, days_ago=40)
        await store.write([old, row("one", texts=texts, days_ago=8), row("two", mode="shadow", verdict="unchanged")])
        for request_id in ("old", "one"):
            id_ = await store.newest(request_id)
            assert id_ is not None
            await store.judge(id_, "correction", "client", comment="better")
        await store.aclose()

    asyncio.run(fill())
    return [
        "--url", f"sqlite:///{tmp_path}/audit.db", "--objectives", str(objectives),
        "--policies", str(ROOT / "policies.yaml"),
    ]  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["audit", *arguments])


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_newest_answers_are_listed(files: list[str]) -> None:
    told = run("list", *files)
    assert told.exit_code == 0, told.output
    _, two, one, old = told.stdout.splitlines()
    assert "unchanged (shadow)" in two
    assert "corrected" in one
    assert "shy" in old
    assert [found["request_id"] for found in lines(run("list", "--json", *files))] == ["two", "one", "old"]
    found = lines(run("list", "--json", "--tenant", "t", "--find", "blue", *files))
    assert [one["request_id"] for one in found] == ["one"]


def test_one_answer_is_shown_with_what_was_changed(files: list[str]) -> None:
    told = run("show", "one", *files)
    assert "The{+ blue+} sky." in told.stdout
    assert "[user] Why?" in told.stdout
    assert "client prefers: correction  better" in told.stdout
    assert run("show", "2", *files).stdout == told.stdout
    missing = run("show", "none", *files)
    assert missing.exit_code == 1
    assert "no answer 'none' is kept" in missing.output


@pytest.mark.parametrize("number", ["99999999999999999999", "9" * 5000])
def test_a_number_that_no_answer_can_have(files: list[str], number: str) -> None:
    assert run("show", number, *files).output == f"Error: no answer '{number}' is kept\n"


@pytest.mark.parametrize("command", [["list"], ["show", "one"], ["export"], ["purge"]])
def test_no_tenants_key_is_needed(files: list[str], tmp_path: Path, command: list[str]) -> None:
    objectives = tmp_path / "objectives.yaml"
    objectives.write_text(objectives.read_text() + "  acme: {keys: [{env: NOBODYS_KEY}]}\n")
    told = run(*command, *files)
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], ["two"]),
        (["--tenant", "t"], ["two", "old"]),
        (["--older-than", "20"], ["two", "one"]),
        (["--older-than", "0"], []),
    ],
)
def test_old_answers_are_deleted(files: list[str], options: list[str], left: list[str]) -> None:
    told = run("purge", *options, *files)
    assert told.stdout == f"{3 - len(left)} answers deleted\n"
    assert [found["request_id"] for found in lines(run("list", "--json", *files))] == left


@pytest.mark.parametrize(("named", "left"), [(True, []), (False, ["theirs"])])
def test_strangers_answers_go_from_the_file_that_is_named_only(files: list[str], named: bool, left: list[str]) -> None:
    """With `--url` it is another gateway's, who may have promised to keep them longer."""
    (_, url, _, objectives, _, policies) = files

    async def fill() -> None:
        store = Store(url)
        await store.open()
        await store.write([row("theirs", tenant="acme", days_ago=40)])
        await store.aclose()

    asyncio.run(fill())
    mine = Path(objectives).with_name("policies.yaml")
    mine.write_text(f"server: {{audit: {{url: '{url}'}}}}\n{Path(policies).read_text()}")
    where = ["--policies", str(mine)] if named else files[:2]
    assert run("purge", *where, "--objectives", objectives, *(() if named else files[4:])).exit_code == 0
    kept = [found["request_id"] for found in lines(run("list", "--json", *files))]
    assert [one for one in kept if one == "theirs"] == left


def test_whole_answers_are_exported(files: list[str]) -> None:
    told = lines(run("export", *files))
    assert [found["request_id"] for found in told] == ["old", "one", "two"]
    assert told[1]["choices"][0]["correction"] == "The blue sky."
    assert told[1]["feedback"][0]["choice"] == "correction"


def test_pairs_are_exported_of_tenants_that_consent(files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    told = run("export", "--pairs", "--output", str(out), *files)
    assert told.stderr.strip() == "1 left out: no consent, 1 pairs"
    (pair,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (pair["weak"], pair["strong"], pair["better"]) == ("The sky.", "The blue sky.", ["helpfulness"])
    assert (pair["source"], pair["context"]) == ("audit:t", [{"role": "user", "text": "Why?"}])


def test_nothing_of_a_file_before_stays_where_there_is_nothing_to_export(files: list[str], tmp_path: Path) -> None:
    """Pairs of a tenant that has taken its consent back, for one."""
    out = tmp_path / "pairs.jsonl"
    run("export", "--pairs", "--output", str(out), *files)
    assert out.read_text()
    objectives = tmp_path / "objectives.yaml"
    objectives.write_text(objectives.read_text().replace("training: true", "training: false"))
    told = run("export", "--pairs", "--output", str(out), *files)
    assert (told.exit_code, told.stderr) == (0, "2 left out: no consent\n")
    assert out.read_text() == ""


def test_an_export_is_its_owners_alone_and_whole_or_not_there(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    out, link = folder / "answers.jsonl", tmp_path / "latest.jsonl"
    link.symlink_to(out)
    assert run("export", "--output", str(link), *files).exit_code == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert link.is_symlink()
    before = out.read_bytes()

    def broken(row: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.audit.commands._json", broken)
    assert isinstance(run("export", "--output", str(out), *files).exception, OSError)
    assert out.read_bytes() == before
    assert [one.name for one in folder.iterdir()] == ["answers.jsonl"]


def test_an_output_that_is_full_is_no_fault_of_the_trails(files: list[str]) -> None:
    """And a device is written to, not replaced."""
    told = run("export", "--output", "/dev/full", *files)
    assert isinstance(told.exception, OSError)
    assert "No space left" in str(told.exception)
    assert "trail" not in told.output
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize("command", [["list"], ["show", "one"], ["export"], ["purge"]])
def test_a_trail_that_is_not_there_is_not_made(files: list[str], tmp_path: Path, command: list[str]) -> None:
    told = run(*command, *files[2:], "--url", f"sqlite:///{tmp_path}/other/audit.db")
    assert told.exit_code == 1
    assert told.output == f"Error: no such trail: there is no file {tmp_path}/other/audit.db\n"
    assert not (tmp_path / "other").exists()


def test_days_that_no_calendar_has_are_refused(files: list[str]) -> None:
    told = run("purge", "--older-than", "1000000", *files)
    assert told.exit_code == 2
    assert "0<=x<=36500" in told.output


@pytest.mark.parametrize(
    "url", ["mysql://x", "sqlite://audit.db", "postgresql://h/d?host=a&host=b", "postgresql://h/d?connect_timeout=3"]
)
def test_a_trail_that_is_none_is_one_clear_line(files: list[str], url: str) -> None:
    told = run("list", *files[2:], "--url", url)
    assert told.exit_code == 1
    assert re.fullmatch(r"Error: no such trail: .+\n", told.output)
