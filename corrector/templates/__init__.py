"""Prompt families, one file each. A file has `DELIMITERS` and `render`; its name is the template's name.

Serving and training render through the same files, so the two cannot drift apart. Nothing here
quotes or shortens: what comes in is already fit to stand in a prompt.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, cast

from corrector.objectives import Objective


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation that led to the answer; `role` is `user` or `assistant`."""

    role: str
    text: str


Messages = list[dict[str, str]]
Prompt = str | Messages  # completed as text, or answered as a chat


class Template(Protocol):
    DELIMITERS: tuple[str, ...]

    def render(
        self, context: Sequence[Turn], answer: str, objectives: Sequence[Objective], *, equal: bool = False
    ) -> Prompt: ...


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Template:
    """The template of that name, one of `names()`."""
    module: ModuleType = importlib.import_module(f"{__name__}.{name}")
    return cast(Template, cast(Any, module))


def described(objectives: Sequence[Objective]) -> str:
    """`Name: description; Name: description`, as in every published MetaAligner."""
    return "; ".join(f"{objective.name}: {objective.description}" for objective in objectives)


def transcript(context: Sequence[Turn]) -> str:
    """`Human: ...` and `Assistant: ...` turns, a blank line between, as HH-RLHF writes them."""
    speaker = {"user": "Human", "assistant": "Assistant"}
    return "\n\n".join(f"{speaker[turn.role]}: {turn.text}" for turn in context)


def question(context: Sequence[Turn]) -> str:
    """A lone question as it is, a longer conversation as its transcript."""
    if len(context) == 1 and context[0].role == "user":
        return context[0].text
    return transcript(context)
