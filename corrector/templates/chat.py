"""Any instruction-tuned chat model as a corrector, asked in its own chat format.

The wording is the one of the rewriting tasks that SmolLM2-Instruct was tuned on (smoltalk's
smol-rewrite), which it follows best without further training.
"""

from collections.abc import Sequence

from corrector.objectives import Objective
from corrector.templates import Messages, Turn, described, question

DELIMITERS = ("Input text:",)


def render(context: Sequence[Turn], answer: str, objectives: Sequence[Objective], *, equal: bool = False) -> Messages:
    aim = "to make it equal" if equal else "to improve it"
    system = (
        f"You're an AI assistant for text re-writing. Rewrite the input text {aim} considering these aspects, "
        f"while keeping its main points: {described(objectives)}"
    )
    # Objectives come first: an engine that keeps what it has read reads them once a tenant, and not once a request.
    if context:
        system += f'\nThe input text is an answer to "{question(context)}"'
    return [{"role": "system", "content": system}, {"role": "user", "content": answer}]
