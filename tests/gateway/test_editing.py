"""objectives.yaml, changed by a program as a person would."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corrector import objectives
from corrector.strictyaml import ConfigError
from gateway import editing
from tests.conftest import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "objectives.yaml", tmp_path))


def changed_lines(edit: editing.Edit) -> list[str]:
    return [line for line in edit.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def described(path: Path, key: str, description: str, *, dry_run: bool = False) -> editing.Edit:
    return editing.describe(path, key, description, editing.version(path.read_bytes()), check, dry_run=dry_run)


def check(path: Path) -> None:
    objectives.read(path, policies=["smollm2"])


def test_a_description_is_changed_and_nothing_else(path: Path) -> None:
    edit = described(path, "repetition", "Say it in one sentence")
    assert changed_lines(edit) == [
        "-  repetition: The response should avoid repetitive statements of the same point",
        "+  repetition: Say it in one sentence",
    ]


def test_a_new_objective_stands_below_the_others(path: Path) -> None:
    edit = described(path, "rhyme", "Rhyme: always # yes")
    assert changed_lines(edit) == ["+  rhyme: 'Rhyme: always # yes'"]
    assert edit.backup is not None
    before, _, after = path.read_text().partition("  rhyme:")
    assert before.splitlines()[-1].startswith("  length:")
    assert after.split("\n", 1)[1].startswith("\nsets:")


def test_the_long_form_keeps_its_name(path: Path) -> None:
    text = path.read_text().replace(
        "  humour: The response", "  humour: {name: Wit, description: now}  # ours\n  humor: The response"
    )
    path.write_text(text)
    assert changed_lines(described(path, "humour", "then")) == [
        "-  humour: {name: Wit, description: now}  # ours",
        "+  humour: {name: Wit, description: then} # ours",
    ]


@pytest.mark.parametrize(
    "description", ["yes", "12", "- a", "{a: b}", "'quoted'", 'say "why"', "a: b", "# no", "~", "é ☃"]
)
def test_whatever_is_said_is_read_again(path: Path, description: str) -> None:

    described(path, "length", description)
    assert objectives.read(path).objectives["length"].description == description


def test_what_would_not_be_valid_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"objectives.yaml:\d+: .* may hold letters"):
        described(path, "two words", "x")
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["objectives.yaml"]


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(path: Path) -> None:
    version = editing.version(path.read_bytes())
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(editing.Changed):
        editing.describe(path, "length", "x", version, check)


def test_saving_keeps_the_file_as_it_was_beside_it(path: Path) -> None:
    before = path.read_bytes()
    path.chmod(0o640)
    edit = described(path, "repetition", "x")
    assert edit.backup is not None
    assert edit.backup.read_bytes() == before
    assert "\n  repetition: x\n" in path.read_text()
    assert editing.version(path.read_bytes()) == edit.version
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(one.name for one in path.parent.iterdir()) == ["objectives.yaml", "objectives.yaml.bak"]


def test_a_file_that_cannot_be_replaced_is_written_in_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(self: Path, target: Path) -> Path:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", mounted)
    described(path, "repetition", "x")
    assert "\n  repetition: x\n" in path.read_text()
    assert sorted(one.name for one in path.parent.iterdir()) == ["objectives.yaml", "objectives.yaml.bak"]


def test_what_is_read_only_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the system says of each: root may write everywhere, but for a file that is mounted so."""
    assert editing.why_not(path) is None
    for closed, said in ((path, "read-only here"), (path.parent, "no room for a backup")):
        monkeypatch.setattr(os, "access", lambda asked, mode, closed=closed: asked != closed)
        why = editing.why_not(path) or ""
        assert why.startswith(f"{closed} is read-only here")
        assert said in why


def test_a_dry_run_writes_nothing(path: Path) -> None:
    """Not for a moment either: the folder may be read-only."""
    before, touched = path.read_bytes(), path.parent.stat().st_mtime_ns
    edit = described(path, "repetition", "x", dry_run=True)
    assert changed_lines(edit)[1] == "+  repetition: x"
    assert (path.read_bytes(), edit.backup) == (before, None)
    assert path.parent.stat().st_mtime_ns == touched
    assert [one.name for one in path.parent.iterdir()] == ["objectives.yaml"]


INDENTED = """\
objectives:   # ours
    length: Be short
    humour: Be funny   # but not too much

sets:
    default:
        - length
        - humour
tenants:
    public:
        keys: none
"""


def test_a_file_keeps_its_own_indentation(path: Path) -> None:
    path.write_text(INDENTED)
    assert changed_lines(described(path, "length", "Be brief")) == ["-    length: Be short", "+    length: Be brief"]
    assert "+    rhyme: Rhyme" in changed_lines(described(path, "rhyme", "Rhyme"))


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link.yaml")
    link.symlink_to(path)
    described(link, "repetition", "x")
    assert link.is_symlink()
    assert "\n  repetition: x\n" in path.read_text()


def test_two_that_save_at_once_do_not_undo_each_other(path: Path) -> None:
    version = editing.version(path.read_bytes())

    def save(key: str) -> bool:
        try:
            editing.describe(path, key, f"new {key}", version, check)
        except editing.Changed:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        saved = list(threads.map(save, ["length", "humour", "honesty", "fairness"]))
    assert saved.count(True) == 1


def test_what_is_written_another_way_elsewhere_stays(path: Path) -> None:
    elsewhere = 'tenants:\n  acme: { keys: [{sha256: "' + "a" * 64 + '"}],   objectives: [ length ] }   # ours\n'
    path.write_text(path.read_text().partition("tenants:")[0] + elsewhere)
    assert len(changed_lines(described(path, "length", "x"))) == 2
    assert path.read_text().endswith(elsewhere)


BROKEN = """\
objectives:
  helpfulness: help
  plain: The response should use short sentences
    and everyday words
tenants:
  acme:
    objectives: [helpfulness]
    keys: [{env: K1},   # rotated 2026-01
           {env: K2}]   # partner
"""
LISTED = """\
objectives:
  helpfulness: help
  harmlessness: no harm
  humour: fun
sets:
  kids: [
    harmlessness,   # never drop this one: legal
    humour,
  ]
tenants: {public: {keys: none, objectives: kids}}
"""


@pytest.mark.parametrize("key", ["brevity", "helpfulness"])
def test_a_save_changes_that_one_objective(path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K1", "one")
    monkeypatch.setenv("K2", "two")
    path.write_text(BROKEN)
    before = objectives.read(path)
    described(path, key, "The response should be brief")
    after = objectives.read(path)
    assert after.objectives[key].description == "The response should be brief"
    assert {name: aim for name, aim in after.objectives.items() if name != key} == {
        name: aim for name, aim in before.objectives.items() if name != key
    }
    assert (after.sets, after.tenants) == (before.sets, before.tenants)
    assert all(said in path.read_text() for said in ("# rotated 2026-01", "# partner"))


@pytest.mark.parametrize("key", ["brevity", "helpfulness"])
def test_a_save_that_would_lose_a_comment_changes_nothing(path: Path, key: str) -> None:
    path.write_text(LISTED)
    with pytest.raises(ConfigError, match="only a person can change"):
        described(path, key, "The response should be brief")
    assert path.read_text() == LISTED


def test_an_objective_that_another_is_an_alias_of_is_not_changed_with_it(path: Path) -> None:
    path.write_text(
        "objectives:\n  a: &x {name: A, description: d}\n  b: *x\ntenants: {public: {keys: none, objectives: a}}\n"
    )
    with pytest.raises(ConfigError, match="only a person can change"):
        described(path, "b", "of its own")
