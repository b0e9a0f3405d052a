"""The paper's way of correcting a file: transformers `generate`, static batches, left padding, greedy.

(MetaAligner's released scripts: batches of 16, up to 1,024 new tokens.) Knows prompts, not what they ask for.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.export import from_gguf, merged
from train.model import base, load

BATCH = 16
NEW_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Generated:
    """Of every prompt the text, without special tokens, and how many tokens it had with the one that ended it."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    prompt_tokens: int
    seconds: float


def whole_model(model: str, adapter: Path, folder: Path) -> Path:
    """Base and GGUF adapter as one folder of safetensors, made once."""
    out = folder / adapter.stem
    if not (out / "model.safetensors").exists():
        plain = base(model, folder)
        from_gguf(plain, adapter, folder / "adapter")
        merged(plain, folder / "adapter", out)
    return out


def generate(folder: Path, prompts: Sequence[list[dict[str, str]]]) -> Generated:
    """In the order given, `BATCH` at a time: a batch is done when its longest answer is."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model, tokenizer = load(folder, dtype=torch.float32)  # without AVX512 or AMX, half precision is slower
    tokenizer.padding_side = "left"
    texts, tokens, read = [], [], 0
    _batch(model, tokenizer, prompts[:1], 8)  # the first one pays for buffers
    started = time.perf_counter()
    for begin in range(0, len(prompts), BATCH):
        some, answers = _batch(model, tokenizer, prompts[begin : begin + BATCH], NEW_TOKENS)
        read += some
        for answer in answers:
            texts.append(tokenizer.decode(answer, skip_special_tokens=True))
            tokens.append(len(answer))
    return Generated(tuple(texts), tuple(tokens), read, time.perf_counter() - started)


def _batch(
    model: Any, tokenizer: Any, prompts: Sequence[list[dict[str, str]]], new_tokens: int
) -> tuple[int, list[list[int]]]:
    """How many tokens the prompts had, and those of each answer, up to and with the one that ends it."""
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    asked = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    answered = model.generate(**asked, do_sample=False, max_new_tokens=new_tokens, pad_token_id=tokenizer.pad_token_id)[
        :, asked["input_ids"].shape[1] :
    ].tolist()
    end = tokenizer.eos_token_id
    ended = [answer[: answer.index(end) + 1] if end in answer else answer for answer in answered]
    return int(asked["attention_mask"].sum()), ended
