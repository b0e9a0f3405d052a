"""Of a conversation, what there is room for beside a draft. Pure."""

from collections import deque

from corrector import segments
from corrector.templates import Turn


def fit(context: tuple[Turn, ...], size: int) -> tuple[Turn, ...]:
    """The newest turns that fit into so many estimated tokens; a last one that is too long loses its middle."""
    kept: deque[Turn] = deque()
    for turn in reversed(context):
        cost = segments.tokens(turn.text) + 8
        if cost > size:
            if not kept and size > 32:
                kept.appendleft(Turn(turn.role, segments.shorten(turn.text, size - 16)))
            break
        kept.appendleft(turn)
        size -= cost
    return tuple(kept)
