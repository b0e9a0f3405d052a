"""Generations one after the other, by the model's own `generate`: for models that cannot take several at once."""

from typing import Any

import torch

from corrector.serving.generation import OUT_OF_MEMORY, Generation


class SequentialDecoding:
    def __init__(self, model: Any) -> None:
        from transformers import GenerationConfig

        # A checkpoint may ask for a penalty or a way to sample: what a request says is all that counts here.
        model.generation_config = GenerationConfig(eos_token_id=model.generation_config.eos_token_id)
        self._model = model

    def step(self, generations: list[Generation]) -> None:
        """The first one, from its prompt to its end."""
        generation = generations[0]
        sampling = generation.sampling
        chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if sampling.temperature > 0:
            chosen = {"do_sample": True, "top_k": 0, "temperature": sampling.temperature, "top_p": sampling.top_p}
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
        ids = torch.tensor([generation.ids], device=self._model.device)
        try:
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=generation.limit,
                stopping_criteria=[lambda ids, *_, **__: _take(generation, ids)],
                pad_token_id=next(iter(generation.eos_token_ids), 0),
                **chosen,
            )
        except torch.OutOfMemoryError:  # this one's alone: those that wait have taken nothing
            generation.fail("there is not enough memory for this answer", OUT_OF_MEMORY)
            torch.cuda.empty_cache()

    def step_tokens(self, generations: list[Generation]) -> int:
        return len(generations[0].ids) + generations[0].limit


def _take(generation: Generation, ids: torch.Tensor) -> torch.Tensor:
    """Asked after every token: is this the end?"""
    if not generation.cancelled:
        generation.take([int(ids[0, -1])])
    return torch.tensor([generation.cancelled or generation.finish is not None], device=ids.device)
