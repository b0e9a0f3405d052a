"""objectives.yaml changed by a program as a person would: comments and order stay, what is not valid is not written.

Knows how the file is written; what it means, `corrector/objectives.py` knows.
"""

import difflib
import hashlib
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from corrector import objectives
from corrector.strictyaml import ConfigError


class Changed(Exception):
    """The file is not as it was when it was read."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that is valid. `diff` is unified; `version` is of the file with the change in it."""

    raw: bytes
    diff: str
    version: str


def version(path: Path) -> str:
    return _hash(path.read_bytes())


def why_not(path: Path) -> str | None:
    """Why the file cannot be written, if so."""
    if not os.access(path, os.W_OK):
        return f"{path} is read-only here"
    if not os.access(path.parent, os.W_OK):
        return f"{path.parent} is read-only here: there is no room for a backup"
    return None


def describe(path: Path, key: str, description: str, before: str, policies: Collection[str]) -> Edit:
    """The file with this description of an objective, which may be new.

    `before` is the version that the change was made to. Raises `Changed`, and `ConfigError` with the line where the
    result would not be valid.
    """
    old = path.read_bytes()
    if _hash(old) != before:
        raise Changed
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # no line is broken anew
    try:
        data = yaml.load(old)
    except YAMLError as error:
        raise ConfigError(path, 1, f"not valid YAML: {' '.join(str(error).split())[:200]}") from None
    aims = data.get("objectives") if isinstance(data, CommentedMap) else None
    if not isinstance(aims, CommentedMap):
        raise ConfigError(path, 1, "there is no mapping `objectives` to write into")
    if isinstance(aims.get(key), CommentedMap):
        aims[key]["description"] = description
    else:
        _put(aims, key, description)
    buffer = BytesIO()
    yaml.dump(data, buffer)
    new = buffer.getvalue()
    _check(path, new, policies)
    lines = [raw.decode("utf-8", "replace").splitlines(keepends=True) for raw in (old, new)]
    diff = "".join(difflib.unified_diff(*lines, path.name, path.name, n=2))
    return Edit(new, diff, _hash(new))


def save(path: Path, edit: Edit) -> Path:
    """Writes it, in one step where the folder allows that, and says where the file as it was is kept."""
    backup = path.with_name(f"{path.name}.bak")
    shutil.copy2(path, backup)
    coming = path.with_name(f".{path.name}.new")
    try:
        coming.write_bytes(edit.raw)
        shutil.copystat(path, coming)
        coming.replace(path)
    except OSError:  # a file that is mounted by itself cannot be replaced, but written
        coming.unlink(missing_ok=True)
        path.write_bytes(edit.raw)
    return backup


def _put(aims: CommentedMap, key: str, description: str) -> None:
    """A new one goes below the last, above the comments and the blank line that stand between it and what follows."""
    if key in aims or not aims:
        aims[key] = description
        return
    last = list(aims)[-1]
    trailing = aims.ca.items.pop(last, None)
    aims[key] = description
    if trailing is not None:
        aims.ca.items[key] = trailing


def _check(path: Path, raw: bytes, policies: Collection[str]) -> None:
    trial = path.with_name(f".{path.name}.trial")
    try:
        trial.write_bytes(raw)
        objectives.read(trial, policies=policies)
    except ConfigError as error:
        raise ConfigError(path, error.line, error.message) from None
    finally:
        trial.unlink(missing_ok=True)


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
