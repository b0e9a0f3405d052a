"""Rows one after the other, by the model's own `generate`: for models that cannot take several at once."""

from collections.abc import Sequence
from typing import Any

import torch

from corrector.serving.row import OUT_OF_MEMORY, Row


class Alone:
    def __init__(self, model: Any) -> None:
        from transformers import GenerationConfig

        # A checkpoint may ask for a penalty or a way to sample: what a request says is all that counts here.
        model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
        self._model = model

    def step(self, rows: Sequence[Row]) -> None:
        """The first row, from its prompt to its end."""
        row = rows[0]
        chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if row.sampling.temperature > 0:
            chosen = {
                "do_sample": True,
                "top_k": 0,
                "temperature": row.sampling.temperature,
                "top_p": row.sampling.top_p,
            }
            if row.sampling.seed is not None:
                torch.manual_seed(row.sampling.seed)
        ids = torch.tensor([row.ids], device=self._model.device)
        try:
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=row.limit,
                stopping_criteria=[lambda ids, *_, **__: _take(row, ids)],
                pad_token_id=next(iter(row.ends), 0),
                **chosen,
            )
        except torch.OutOfMemoryError:  # this row's alone: those that wait have taken nothing
            row.fail("there is not enough memory for this answer", OUT_OF_MEMORY)
            torch.cuda.empty_cache()


def _take(row: Row, ids: torch.Tensor) -> torch.Tensor:
    """Asked after every token: is this the end?"""
    if not row.cancelled:
        row.take([int(ids[0, -1])])
    return torch.tensor([row.cancelled or row.finish is not None], device=ids.device)
