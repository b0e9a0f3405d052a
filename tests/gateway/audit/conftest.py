"""Trails on SQLite, and on a PostgreSQL of Debian's that the tests start."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.store import Store

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))
NOW = datetime.now(UTC)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server, without its database."""
    if BIN is None or not (BIN / "initdb").exists():
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    # It refuses to run as root; Debian's package has made a user for it.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="trail-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(directory, user, user)
    as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}
    as_user |= {"cwd": directory, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    try:
        initdb: list[str | Path] = [
            BIN / "initdb",
            "-D",
            directory / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, check=True, **as_user)
        settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={directory}")
        options = [part for setting in settings for part in ("-c", setting)]
        server = subprocess.Popen([BIN / "postgres", "-D", directory / "data", "-p", port, *options], **as_user)
        try:
            while subprocess.run([BIN / "pg_isready", "-h", "127.0.0.1", "-p", port], **as_user).returncode:
                assert server.poll() is None, "PostgreSQL did not start"
                time.sleep(0.05)
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def tell(postgres: str, statement: str) -> None:
    """An administrator's word, to the server and none of its trails."""
    assert BIN is not None
    subprocess.run([BIN / "psql", "-q", f"{postgres}/postgres", "-c", statement], check=True)


@pytest.fixture
def database(postgres: str, tmp_path: Path) -> str:
    """The name of a new one on the server."""
    name = f"trail_{abs(hash(str(tmp_path)))}"
    tell(postgres, f"CREATE DATABASE {name}")
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a trail that nobody has written to."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/audit.db"
    name = request.getfixturevalue("database")
    return f"{request.getfixturevalue('postgres')}/{name}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    made = Store(url)
    await made.open()
    yield made
    await made.aclose()


def row(
    request_id: str = "r", *, days_ago: float = 0, texts: tuple[str, str] | None = None, **told: Any
) -> dict[str, Any]:
    """A row as the trail writes it; with texts, a draft and its correction."""
    whole: dict[str, Any] = {
        "time": NOW - timedelta(days=days_ago),
        "request_id": request_id,
        "tenant": "t",
        "policy": "m",
        "served_by": "m",
        "corrector": "c",
        "mode": "full",
        "stream": False,
        "status": 200,
        "error": None,
        "objectives": ["helpfulness"],
        "configuration": "0" * 64,
        "verdict": "corrected",
        "reason": "rewritten",
        "changed": 0.25,
        **{f"{name}_ms": 1.5 for name in ("policy_ttft", "policy", "corrector_queue", "corrector_ttft", "corrector")},
        "total_ms": 4.0,
        "policy_tokens": 7,
        "corrector_tokens": 3,
        "descriptions": None,
        "context": None,
        **told,
    }
    if texts is not None:
        draft, correction = texts
        whole["descriptions"] = {"helpfulness": ["Helpfulness", "The response should be useful"]}
        whole["context"] = whole["context"] or [{"role": "user", "text": "Why?"}]
        said = {"choice": 0, "draft": draft, "correction": correction, "verdict": "corrected", "reason": "rewritten"}
        whole["texts"] = [said]
    return whole
