"""Where a trail may be kept, and how long: what `metaaligner check` says of it."""

import inspect
import json
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.config import PARAMETERS
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
    told = str(check(tmp_path, {"url_env": named}).exception)
    assert "environment variable" in told
    assert "hush" not in told


def test_the_driver_takes_the_parameters_that_are_known() -> None:
    ours = {"sslmode", "prepared_statement_cache_size"}  # the store's name of `ssl`, and SQLAlchemy's own
    assert set(PARAMETERS) - ours <= set(inspect.signature(asyncpg.connect).parameters)


@pytest.mark.parametrize("days", [0, 36501, 1_000_000])
def test_retention_is_within_what_a_calendar_has(tmp_path: Path, days: int) -> None:
    assert "retention_days" in str(check(tmp_path, {}, retention_days=days).exception)
    assert check(tmp_path, {}, retention_days=36500).exit_code == 0
