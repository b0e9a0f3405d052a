"""Where a trail may be kept, and how long: what `metaaligner check` says of it."""

import importlib.util
import inspect
import json
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner, Result

from corrector.strictyaml import ConfigError
from gateway.audit.trail import Trail
from gateway.cli import cli
from gateway.config import DRIVER, PARAMETERS, AuditOptions, read
from gateway.telemetry import Metrics
from tests.conftest import OBJECTIVES, ROOT


def check(tmp_path: Path, audit: dict[str, str], **tenant: Any) -> Result:
    policies, objectives = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
    policies.write_text(f"{(ROOT / 'policies.yaml').read_text()}\nserver: {json.dumps({'audit': audit})}\n")
    tenants = {"t": {"keys": "none", "audit": "metadata", **tenant}}
    objectives.write_text(f"{OBJECTIVES.partition('tenants:')[0]}tenants: {json.dumps(tenants)}\n")
    return CliRunner().invoke(cli, ["check", "--policies", str(policies), "--objectives", str(objectives)])


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///audit.db",
        "sqlite:////var/lib/trail/audit.db",
        "postgresql://ada@db.example:5432/trail?sslmode=require&command_timeout=5",
        "postgresql:///trail?host=/run/postgresql",
        "postgresql://db.example/trail?passfile=/run/secrets/pgpass",
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_trail_may_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, named: bool) -> None:
    monkeypatch.setenv("TRAIL", url)
    told = check(tmp_path, {"url_env": "TRAIL"} if named else {"url": url})
    assert told.exit_code == 0, told.exception


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite://audit.db", "must be sqlite:///FILE or"),
        ("sqlite:audit.db", "must be sqlite:///FILE or"),
        ("sqlite:///", "must be sqlite:///FILE or"),
        ("sqlite:///:memory:", "must be sqlite:///FILE or"),
        ("sqlite:///file:trail?mode=memory&uri=true", "must be sqlite:///FILE or"),
        ("mysql://h/trail", "must be sqlite:///FILE or"),
        ("postgresql:trail", "must be sqlite:///FILE or"),
        ("postgresql://h:some/trail", "must be sqlite:///FILE or postgresql://HOST:PORT/DATABASE"),
        ("postgresql://h/trail?connect_timeout=3", "has an unknown parameter 'connect_timeout'; did you mean"),
        ("postgresql://h/trail?timeout=3", "has an unknown parameter 'timeout'"),  # asyncpg takes it as a number only
        ("postgresql://h/trail?dsn=x", "has an unknown parameter 'dsn'"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_no_trail_can_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str, named: bool
) -> None:
    monkeypatch.setenv("TRAIL", url)
    told = check(tmp_path, {"url_env": "TRAIL"} if named else {"url": url})
    assert f"{'TRAIL' if named else 'url:'} {expected}" in str(told.exception)


@pytest.mark.parametrize(
    "url", ["postgresql://ada:hush@h/trail", "postgresql://h/trail?password=hush", "postgresql://ada:h?x=hush@h/trail"]
)
def test_a_password_stands_in_the_environment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    told = check(tmp_path, {"url": url})
    assert "holds a password" in str(told.exception)
    assert "hush" not in str(told.exception)
    monkeypatch.setenv("TRAIL", url)
    assert check(tmp_path, {"url_env": "TRAIL"}).exit_code == 0


@pytest.mark.parametrize("named", ["postgresql://ada:hush@h/trail", "NOT_SET_ANYWHERE"])
def test_a_variable_that_is_none_or_holds_nothing(tmp_path: Path, named: str) -> None:
    ran = check(tmp_path, {"url_env": named})
    told = str(ran.exception or ran.output)
    assert "environment variable" in told
    assert "hush" not in told


def test_who_answers_no_request_needs_no_trail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` says what is missing, and who serves cannot do without it."""
    told = check(tmp_path, {"url_env": "TRAIL"})
    missing = "the environment variable TRAIL is not set"
    assert (told.exit_code, told.stderr) == (0, f"\nwarning: the audit trail has no address: {missing}\n")
    files = tmp_path / "policies.yaml", tmp_path / "objectives.yaml"
    with pytest.raises(ConfigError, match=rf"policies\.yaml:\d+: {missing}"):
        read(*files)
    monkeypatch.setenv("TRAIL", "postgresql://db.example/trail")
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "asyncpg" else there(name))
    assert read(*files, keys=False).unset() == [DRIVER]
    with pytest.raises(ConfigError, match="needs asyncpg"):
        read(*files)


def test_a_user_without_a_home_is_told_where_a_trail_could_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert check(tmp_path, {}).exit_code == 0
    with pytest.raises(ConfigError, match=r"policies\.yaml:\d+: this user has no home: .*server\.audit\.url"):
        read(tmp_path / "policies.yaml", tmp_path / "objectives.yaml")
    assert not Trail(AuditOptions(), Metrics(), None).keeps


def test_the_driver_takes_the_parameters_that_are_known() -> None:
    ours = {"sslmode", "prepared_statement_cache_size"}  # the store's name of `ssl`, and SQLAlchemy's own
    assert set(PARAMETERS) - ours <= set(inspect.signature(asyncpg.connect).parameters)


@pytest.mark.parametrize("days", [0, 36501, 1_000_000])
def test_retention_is_within_what_a_calendar_has(tmp_path: Path, days: int) -> None:
    assert "retention_days" in str(check(tmp_path, {}, retention_days=days).exception)
    assert check(tmp_path, {}, retention_days=36500).exit_code == 0
