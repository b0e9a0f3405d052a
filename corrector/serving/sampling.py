"""Tokens drawn by temperature and top_p, each answer's by a generator of its own: so a seed tells what comes out."""

import torch

from corrector.serving.generation import Generation


def choose(logits: torch.Tensor, generation: Generation) -> int:
    """One token from the logits of one place, (vocabulary,). Raises `RuntimeError` where they are no numbers."""
    sampling = generation.sampling
    if generation.random is None:
        generation.random = torch.Generator()
        generation.random.manual_seed(sampling.seed) if sampling.seed is not None else generation.random.seed()
    likely = torch.softmax(logits.float().cpu() / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, order = likely.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        beyond[0] = False  # the likeliest stays, also where top_p is too small for a float
        ordered[beyond] = 0
        likely = torch.zeros_like(likely).scatter_(0, order, ordered)
    return int(torch.multinomial(likely, 1, generator=generation.random))
