"""What training reads and writes: one correction to learn, a line of JSON. Knows nothing of models."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from click import ClickException

from corrector.objectives import Objective
from corrector.templates import Turn


class DataError(ClickException):
    """One line: file, row, and what is wrong."""


Kind = Literal["identical", "equal", "better"]
HARMLESS, HARMFUL = "harmless", "harmful"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one conversation; `scores` has, by objective, those of the first and of the second.

    `own`: objectives as they were worded where the pair comes from. `asks`: what is asked for, where that is known:
    `harmless`, `harmful` or, of what is harmful, the topic. `where`: file and row, where the data itself names what it
    is scored in.
    """

    source: str
    licence: str
    context: tuple[Turn, ...]
    first: str
    second: str
    scores: dict[str, tuple[float, float]]
    own: tuple[Objective, ...] = ()
    asks: str = ""
    where: str = field(default="", compare=False, repr=False)

    @property
    def declines(self) -> bool:
        """It asks for what is harmful, and has one answer, which declines."""
        return self.asks not in ("", HARMLESS) and self.first == self.second

    @property
    def part(self) -> str:
        """The source, or what part of it, as a mix names it: what is harmful is not to be taken for the rest."""
        if self.asks in ("", HARMLESS):
            return f"{self.source}:{self.asks}" if self.asks else self.source
        if self.declines:
            return f"{self.source}:declined"
        return f"{self.source}:{HARMFUL}" + (f":{self.asks}" if self.asks != HARMFUL else "")


@dataclass(frozen=True, slots=True)
class Row:
    """`draft` is to become `target`, under these objectives. `kind` is the stage that it belongs to."""

    kind: Kind
    source: str
    licence: str
    context: tuple[Turn, ...]
    draft: str
    target: str
    objectives: tuple[Objective, ...]


def write(path: Path, rows: Iterable[Row]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        for row in rows:
            plain = {**asdict(row), "objectives": [aim.model_dump(exclude_defaults=True) for aim in row.objectives]}
            file.write(json.dumps(plain, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Row]:
    """Raises `DataError` with the line of what is no row that `write` has written."""
    for number, plain in numbered(path):
        try:
            context = tuple(Turn(**turn) for turn in plain["context"])
            aims = tuple(Objective(**aim) for aim in plain["objectives"])
            yield Row(**{**plain, "context": context, "objectives": aims})
        except (TypeError, KeyError, ValueError):
            raise DataError(f"{path}:{number}: no training row, as `metaaligner train prepare` writes them") from None


def numbered(path: Path) -> Iterator[tuple[int, Any]]:
    """The lines of a JSON Lines file, gzip'd or not, with their numbers from 1; None for one that is not JSON.

    Raises `DataError` for a gzip file that has been cut off.
    """
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError:  # also of what is no UTF-8
                        yield number, None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise DataError(f"{path}: not a whole gzip file") from None


def lines(path: Path) -> Iterator[Any]:
    """The values of a JSON Lines file. Raises `DataError` with the line of one that is broken."""
    for number, value in numbered(path):
        if value is None:
            raise DataError(f"{path}:{number}: not JSON")
        yield value
