"""Tokens drawn by temperature and top_p, each row by a generator of its own, so that a seed tells what comes out."""

import torch

from corrector.serving.row import Row


def choose(logits: torch.Tensor, row: Row) -> int:
    """One token from the logits of one place, (vocabulary,). Raises `RuntimeError` where they are no numbers."""
    if row.generator is None:
        row.generator = torch.Generator()
        row.generator.manual_seed(row.sampling.seed) if row.sampling.seed is not None else row.generator.seed()
    likely = torch.softmax(logits.float().cpu() / row.sampling.temperature, -1)
    if row.sampling.top_p < 1:
        ordered, order = likely.sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= row.sampling.top_p
        beyond[0] = False  # the likeliest stays, also where top_p is too small for a float
        ordered[beyond] = 0
        likely = torch.zeros_like(likely).scatter_(0, order, ordered)
    return int(torch.multinomial(likely, 1, generator=row.generator))
