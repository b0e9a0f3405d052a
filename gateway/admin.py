"""Who may see and change what concerns all tenants: who has the admin key.

It is told by `METAALIGNER_ADMIN_KEY`. Where the gateway listens on a loopback address only, one is made up at its start
and printed: that somebody connects from this machine says nothing, for he may be a proxy.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from corrector.strictyaml import secret
from gateway.callers import headers_of
from gateway.errors import GatewayError

KEY_ENV = "METAALIGNER_ADMIN_KEY"
HEADER = "X-Admin-Key"


@dataclass(frozen=True, slots=True)
class Admin:
    """`digest` is the key's SHA-256; None where there is no key, and nobody is admin."""

    digest: bytes | None

    @classmethod
    def of_environment(cls) -> "Admin":
        key = secret(KEY_ENV)
        return cls(_digest(key) if key else None)

    @property
    def state(self) -> Literal["key", "off"]:
        return "off" if self.digest is None else "key"

    def admit(self, request: Request) -> None:
        """Raises `GatewayError` 401 or 403. No other page can send such a header in an admin's name."""
        if self.digest is None:
            raise GatewayError(403, "admin_off", f"start the gateway with {KEY_ENV} set to see this from elsewhere")
        said = dict(headers_of(request.scope)).get(HEADER.lower(), "")
        if not hmac.compare_digest(_digest(said), self.digest):
            raise GatewayError(401, "admin_key_required", f"send the admin key as {HEADER}")


def made_up_key() -> str | None:
    """A key for this start, which workers find where a given one would be; None if one is given."""
    if secret(KEY_ENV):
        return None
    os.environ[KEY_ENV] = key = secrets.token_urlsafe(18)
    return key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
