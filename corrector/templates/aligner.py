"""PKU Aligner's prompt (arXiv 2402.02416), with the objectives added to its instruction."""

from collections.abc import Sequence

from corrector.objectives import Objective
from corrector.templates import Turn, described, question

DELIMITERS = ("##Question:", "##Answer:", "##Correction:")


def render(context: Sequence[Turn], answer: str, objectives: Sequence[Objective], *, equal: bool = False) -> str:
    aim = "equal" if equal else "better"
    return (
        f"BEGINNING OF CONVERSATION: USER: Edit the following Question-Answer pair to make it {aim} "
        f"considering these aspects: {described(objectives)}: "
        f"##Question: {question(context)} ##Answer: {answer} ##Correction: "
    )
