"""MetaAligner's IMHI family, for mental-health analysis (arXiv 2403.17141): text that ends in `Edit: `."""

from collections.abc import Sequence

from corrector.objectives import Objective
from corrector.templates import Turn, described, question

DELIMITERS = ("| Question:", "| Answer:", "| Edit:")


def render(context: Sequence[Turn], answer: str, objectives: Sequence[Objective], *, equal: bool = False) -> str:
    aim = "equal" if equal else "better"
    return (
        f"Edit the following Question-Answer pair to make it {aim} considering these aspects "
        f'"{described(objectives)}" | Question: {question(context)} | Answer: {answer} | Edit: '
    )
