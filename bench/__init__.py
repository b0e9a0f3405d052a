"""What the gateway costs, against the bare floor, in one run: `make bench`."""

import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """In a line: numbers mean nothing without it."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    processor = model.group(1) if model else platform.machine()
    return f"{processor}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


class Table:
    """Lines to the screen as they come, and to NAME.md of what has been measured."""

    def __init__(self, name: str) -> None:
        self._path = Path("build/bench") / f"{name}.md"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("")

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(f"{line}\n")
