"""The shape: which room may know which, and what an import must not cost."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = ("wire", "corrector", "gateway")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
HEAVY = ("litellm", "opentelemetry.sdk", "torch", "vllm", "transformers", "xllamacpp")
# From the outside in: a module imports what stands to the right of it, never to the left.
LADDER = (
    "cli", "serve", "http1", "app", "surfaces", "pipeline", "shadows", "corrections", "replies", "report", "batch",
    "reload", "snapshot", "audit", "admin", "callers", "editing", "figures", "spans", "limits", "record", "plan",
    "wishes", "config", "upstreams", "streams", "exchange", "citations", "errors", "worddiff", "telemetry", "tracing",
)  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    below = ROOMS[: ROOMS.index(own) + 1]
    ours = {*ROOMS, "train", "tests", "bench", "recipes"}
    assert {room(name) for name in imported(path)} & ours <= set(below)


@pytest.mark.parametrize("path", sorted((ROOT / "gateway").rglob("*.py")), ids=lambda path: path.name)
def test_the_gateways_modules_stand_on_a_ladder(path: Path) -> None:
    own = path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "gateway" and len(parts) > 1 and parts[1] in LADDER and parts[1] != own:
            assert LADDER.index(parts[1]) > LADDER.index(own), f"{own} imports {parts[1]}"


def test_every_module_of_the_gateway_stands_on_the_ladder() -> None:
    modules = {path.name.removesuffix(".py") for path in (ROOT / "gateway").iterdir() if path.name[0] != "_"}
    assert modules - {"web"} == set(LADDER)  # pages for a browser: no Python


@pytest.mark.parametrize(
    ("package", "file"), [("litellm", "gateway/upstreams/litellm.py"), ("opentelemetry", "gateway/tracing.py")]
)
def test_what_is_optional_is_imported_in_one_file(package: str, file: str) -> None:
    users = [path for path in FILES if any(room(name) == package for name in imported(path))]
    assert users == [ROOT / file]


@pytest.mark.parametrize("path", ["constraints.txt", "bench/peers-constraints.txt"])
def test_pinned_versions_name_no_address(path: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    assert lines
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)]


def test_starting_costs_no_heavy_import() -> None:
    code = f"import sys, gateway.app, gateway.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert not {"utils", "helpers", "common", "manager", "handler"} & set(path.stem.split("_"))
