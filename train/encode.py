"""Rows to token ids, rendered by the corrector's own templates, exactly as an engine will see them."""

from collections.abc import Iterable
from typing import Any

from corrector.templates import Prompt, load
from train.rows import Row


def prompt_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """As llama.cpp and vLLM tokenize it: a text with its special tokens in front, messages by the chat template."""
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode(tokenizer: Any, row: Row, template: str) -> dict[str, list[int]]:
    """`input_ids`, and `completion_mask`: 1 where the loss counts.

    Prompt and target are tokenized apart: a prompt that ends in a space must not melt into the
    target's first word, as it does not when it is served.
    """
    prompt = load(template).render(row.context, row.draft.strip(), row.objectives, equal=row.kind == "equal")
    before = prompt_ids(tokenizer, prompt)
    after = [*tokenizer(row.target.strip(), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return {"input_ids": before + after, "completion_mask": [0] * len(before) + [1] * len(after)}


def encoded(
    tokenizer: Any, rows: Iterable[Row], templates: tuple[str, ...], longest: int
) -> tuple[list[dict[str, list[int]]], int]:
    """Rows in turns over the templates; and how many were longer than `longest` tokens and left out."""
    kept, left_out = [], 0
    for number, row in enumerate(rows):
        ids = encode(tokenizer, row, templates[number % len(templates)])
        if len(ids["input_ids"]) > longest:
            left_out += 1
        else:
            kept.append(ids)
    return kept, left_out
