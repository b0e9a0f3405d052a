"""The console's files as they are served: nothing from elsewhere, nothing inline, nothing of a model as markup."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "gateway/web").iterdir())
MODULES = [path for path in FILES if path.suffix == ".js"]
PAGE = (ROOT / "gateway/web/index.html").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere(path: Path) -> None:
    named = set(re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.[a-z]{2,}", path.read_text()))
    assert named <= {"http://www.w3.org"}, "the name of a vocabulary is no address"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_text_never_becomes_markup_or_code(path: Path) -> None:
    assert not re.search(
        r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", path.read_text()
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_read_at_a_sitting(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 400
    assert max(map(len, lines)) <= 120 or path.suffix == ".svg"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert path.read_text().startswith("// ")


def test_nothing_is_inline() -> None:
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style|javascript:", PAGE)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", PAGE))


def test_every_file_stands_in_the_readme() -> None:
    drawn = README[README.index("\n  web/ ") : README.index("\n  upstreams/ ")]
    assert {path.name for path in FILES} == set(re.findall(r"^    (\S+)", drawn, re.MULTILINE))
