"""Judges, one file each: which of two answers is better, toward one objective.

A file has `Options` (its configuration) and `build`, which makes the judge. Its name is the judge's
`kind`. How far a judge is to be trusted says `agreement.py`. Knows nothing of correctors.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from corrector.objectives import Objective
from corrector.strictyaml import Strict
from corrector.templates import Turn
from wire.errors import WireError


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two answers to one conversation is better, toward one objective?"""

    context: tuple[Turn, ...]
    first: str
    second: str
    objective: Objective


class JudgeOptions(Strict):
    """What every judge's options have."""

    kind: str


class Judge(Protocol):
    name: str

    def decides(self, objective: str) -> bool:
        """Can it say anything on the objective of this key?"""

    async def compare(self, question: Question) -> int | None:
        """1: the second answer is better; -1: the first is; 0: a tie; None: it cannot say, which counts as a tie.

        Raises `WireError` where it is a model that cannot be asked, or that answers nothing that it is asked first.
        """

    def remarks(self) -> str:
        """What else there is to know of what it has said so far; empty if nothing."""

    async def aclose(self) -> None: ...


class Kind(Protocol):
    Options: type[JudgeOptions]

    def build(self, options: Any) -> Judge: ...


def kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(kind: str) -> Kind:
    """The kind of judge of that name, one of `kinds()`."""
    return cast(Kind, cast(Any, importlib.import_module(f"{__name__}.{kind}")))


async def compare_all(
    judge: Judge, questions: Sequence[Question], in_flight: int = 16, progress: Callable[[], None] = lambda: None
) -> list[int | None]:
    """What the judge says to each, in their order. Raises `WireError` as the judge does."""
    places = asyncio.Semaphore(in_flight)

    async def one(question: Question) -> int | None:
        async with places:
            said = await judge.compare(question)
        progress()
        return said

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
    except* WireError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
