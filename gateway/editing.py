"""objectives.yaml changed by a program as a person would: comments and order stay, what is not valid is not written.

Knows how the file is written; what it means, `corrector/objectives.py` knows.
"""

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import CommentToken
from ruamel.yaml.util import load_yaml_guess_indent

from corrector.strictyaml import ConfigError


class Changed(Exception):
    """The file is not as it was when it was read."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that is valid. `diff` is unified; `version` is of the file with the change in it.

    `backup`: where the file as it was is kept, None for one that was not written.
    """

    diff: str
    version: str
    backup: Path | None


def version(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def why_not(path: Path) -> str | None:
    """Why the file cannot be written, if so."""
    if not os.access(path, os.W_OK):
        return f"{path} is read-only here"
    if not os.access(path.parent, os.W_OK):
        return f"{path.parent} is read-only here: there is no room for a backup"
    return None


def describe(
    path: Path, key: str, description: str, before: str, check: Callable[[Path], object], *, dry_run: bool = False
) -> Edit:
    """Writes a description of an objective, which may be new, into the file.

    `before` is the version that the change was made to; `check` raises `ConfigError` for a file that nobody should
    write. Raises `Changed`, and `ConfigError` with the line where the
    result would not be valid.
    """
    path = path.resolve()  # a link stays one
    with _alone(path.parent):
        old = path.read_bytes()
        if version(old) != before:
            raise Changed
        new = _described(path, old, key, description)
        _try(path, new, check)
        backup = None if dry_run else _written(path, old, new)
    was, will_be = (raw.decode("utf-8", "replace").splitlines(keepends=True) for raw in (old, new))
    diff = "".join(difflib.unified_diff(was, will_be, path.name, path.name, n=2))
    return Edit(diff, version(new), backup)


def _described(path: Path, old: bytes, key: str, description: str) -> bytes:
    text = old.decode("utf-8", "surrogateescape")
    try:
        as_it_is, changed = _dumped(text), _dumped(text, key, description)
    except YAMLError as error:
        raise ConfigError(path, 1, f"not valid YAML: {' '.join(str(error).split())[:200]}") from None
    except LookupError:
        raise ConfigError(path, 1, "there is no mapping `objectives` to write into") from None
    lines = text.splitlines(keepends=True)
    # What writing the file anew changes besides, such as its braces and where comments begin, stays as it was.
    steps = difflib.SequenceMatcher(None, as_it_is, changed, autojunk=False).get_opcodes()
    kept = [lines[i:j] if step == "equal" else changed[k:m] for step, i, j, k, m in steps]
    wanted = _with(_data(text), key, description)
    for new in ("".join(line for some in kept for line in some), "".join(changed)):
        if _data(new) == wanted and not _comments(text) - _comments(new):
            return new.encode("utf-8", "surrogateescape")
    raise ConfigError(path, 1, "the file is written in a way that only a person can change without losing any of it")


def _data(text: str) -> Any:
    """What it says, without its anchors; None for what is no YAML."""
    try:
        return json.loads(json.dumps(YAML(typ="safe", pure=True).load(text), default=str))
    except YAMLError:
        return None


def _with(data: Any, key: str, description: str) -> Any:
    aims = data["objectives"]
    if isinstance(aims.get(key), dict):
        aims[key]["description"] = description
    else:
        aims[key] = description
    return data


def _comments(text: str) -> Counter[str]:
    """Of lines that are nothing else, or end in one; a `#` within a value may count as well."""
    return Counter(found.strip() for found in re.findall(r"(?m)(?:^|[ \t])#(.*)$", text))


def _dumped(text: str, key: str | None = None, description: str = "") -> list[str]:
    """The lines of the file written anew, with the description if one is given. Raises `LookupError`, `YAMLError`."""
    data, sequence, offset = load_yaml_guess_indent(text, yaml=_yaml())
    aims = data.get("objectives") if isinstance(data, CommentedMap) else None
    if not isinstance(aims, CommentedMap):
        raise LookupError("objectives")
    yaml = _yaml()
    if aims and not aims.fa.flow_style():  # as deep as the file's own
        step = aims.lc.key(next(iter(aims)))[1] or 2
        yaml.indent(mapping=step, sequence=sequence or step, offset=offset or 0)
    if key is not None and isinstance(aims.get(key), CommentedMap):
        aims[key]["description"] = description
    elif key is not None:
        _put(aims, key, description)
    buffer = StringIO()
    yaml.dump(data, buffer)
    return buffer.getvalue().splitlines(keepends=True)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # no line is broken anew
    return yaml


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other gateway or worker changes files there meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written(path: Path, old: bytes, new: bytes) -> Path:
    """In one step where the folder allows that. Raises `Changed` for what an editor has saved meanwhile."""
    backup = path.with_name(f"{path.name}.bak")
    shutil.copy2(path, backup)
    coming = path.with_name(f".{path.name}.new")
    coming.write_bytes(new)
    shutil.copymode(path, coming)
    if path.read_bytes() != old:
        coming.unlink()
        raise Changed
    try:
        coming.replace(path)
    except OSError:  # a file that is mounted by itself cannot be replaced, but written
        coming.unlink(missing_ok=True)
        path.write_bytes(new)
    return backup


def _put(aims: CommentedMap, key: str, description: str) -> None:
    """A new one goes below the last, above the comments and the blank line that stand between it and what follows."""
    last = None if key in aims or not aims else list(aims)[-1]
    between = aims.ca.items.pop(last, None) if last is not None else None
    aims[key] = description
    if between is None or between[2] is None:
        return
    beside, _, below = between[2].value.partition("\n")
    for name, comment in ((last, f"{beside}\n" if beside.strip() else ""), (key, f"\n{below}" if below else "")):
        if comment:
            aims.ca.items[name] = [None, None, CommentToken(comment, between[2].start_mark), None]


def _try(path: Path, raw: bytes, check: Callable[[Path], object]) -> None:
    """Elsewhere: where the file cannot be written, a change can be tried all the same."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_bytes(raw)
        try:
            check(trial)
        except ConfigError as error:
            raise error if error.path != trial else ConfigError(path, error.line, error.message) from None
