"""How many requests are in flight, and no more: over the limit an answer says when to come back."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import GatewayError


class InFlight:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises `GatewayError` 503 where there is none."""
        if self.count >= self._limit:
            raise GatewayError(
                503, "overloaded", "too many requests in flight; try again soon", headers={"Retry-After": "1"}
            )
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
