"""What there is room for: of a conversation beside a draft, and where even that was too much. Pure."""

from collections import deque

from corrector import segments
from corrector.templates import Turn

SMALLEST_PART = 32  # estimated tokens; an engine without room for them has none for anything


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


def shrunk(text: str, context: tuple[Turn, ...]) -> tuple[list[str], tuple[Turn, ...]] | None:
    """What to ask in place of a text that found no room: it with half the context, then its halves, then nothing."""
    if context:
        return [text], fit(context, sum(segments.tokens(turn.text) for turn in context) // 2)
    if segments.tokens(text) >= SMALLEST_PART:
        return segments.split(text, (segments.tokens(text) + 1) // 2), context
    return None
