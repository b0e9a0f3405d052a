"""Which answers of the trail are wanted. Knows no database."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """`q` is looked for in texts, conversations and request ids; `before` is an id."""

    tenant: str | None = None
    policy: str | None = None
    verdict: str | None = None
    mode: str | None = None
    q: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    correctors: tuple[str, ...] | None = None  # None: whatever corrected it, if anything did
    before: int | None = None
    with_texts: bool = False
    limit: int = 50
