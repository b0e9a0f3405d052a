"""MetaAligner's HH-RLHF family (arXiv 2403.17141, release SteveKGYang/MetaAligner): text that ends in `Edit: `."""

from collections.abc import Sequence

from corrector.objectives import Objective
from corrector.templates import Turn, described, transcript

DELIMITERS = ("| Context:", "| Answer:", "| Edit:")


def render(context: Sequence[Turn], answer: str, objectives: Sequence[Objective], *, equal: bool = False) -> str:
    aim = "make it equal" if equal else "improve it"
    return (
        "You are an assistant to human. You will be provided with a context and an answer. "
        f"Consider the context, then edit the answer to {aim} considering these aspects: {described(objectives)} "
        f"| Context: {transcript(context)} | Answer: {answer} | Edit: "
    )
