"""A tethered command: it ends with its starter, with all that it started, and its exit code comes through."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Starts a child of its own, says both process ids, and waits. `deaf`: it does not hear SIGTERM.
COMMAND = """
import os, signal, subprocess, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
child.wait()
"""


@contextlib.contextmanager
def tethered(*argv: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "corrector.tether", *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def gone(pids: list[int], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


def said(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_comes_through(code: int) -> None:
    with tethered(sys.executable, "-c", f"raise SystemExit({code})") as process:
        assert process.wait(20) == code


def test_what_killed_it_comes_through() -> None:
    with tethered(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)") as process:
        assert process.wait(20) == 128 + signal.SIGKILL


def test_a_command_that_is_not_there_is_said() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "corrector.tether", "/no/such/program"], stdin=subprocess.PIPE, capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr == "/no/such/program: No such file or directory\n"


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
def test_it_ends_with_its_starter_and_takes_its_children_along(how: str) -> None:
    with tethered(sys.executable, "-c", COMMAND) as process:
        pids = said(process)
        assert all(map(alive, pids))
        if how == "stdin":
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.terminate()
        assert gone(pids, 3.0)


def test_one_that_does_not_hear_is_killed() -> None:
    with tethered(sys.executable, "-c", COMMAND, "deaf") as process:
        pids = said(process)
        process.terminate()
        time.sleep(1)
        assert alive(pids[0])
        assert gone(pids, 6.0)


def test_it_has_a_group_of_its_own() -> None:
    with tethered(sys.executable, "-c", COMMAND) as process:
        assert {os.getpgid(pid) for pid in said(process)} == {process.pid}
