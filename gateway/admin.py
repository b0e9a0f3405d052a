"""Who may see and change what concerns all tenants: who has the admin key, or without one, who sits at this machine."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import Request

from gateway.errors import GatewayError

KEY_ENV = "METAALIGNER_ADMIN_KEY"
HEADER = "x-admin-key"
# A proxy on this machine makes everybody a neighbour.
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Admin:
    """`digest` is the key's SHA-256, None where there is none; `loopback`: nobody from elsewhere can connect."""

    digest: bytes | None
    loopback: bool

    @classmethod
    def of_environment(cls, *, loopback: bool) -> "Admin":
        key = os.environ.get(KEY_ENV, "")
        return cls(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest() if key else None, loopback)

    def state(self, request: Request) -> Literal["open", "key", "off"]:
        if self.digest is not None:
            return "key"
        return "open" if self.loopback and _at_this_machine(request) else "off"

    def admit(self, request: Request) -> None:
        """Raises `GatewayError` 401 or 403."""
        if not _same_origin(request.headers):
            raise GatewayError(403, "other_origin", "the console's own page only may ask this")
        state = self.state(request)
        if state == "off":
            raise GatewayError(403, "admin_off", f"start the gateway with {KEY_ENV} set to see this from elsewhere")
        if state == "key":
            told = hashlib.sha256(request.headers.get(HEADER, "").encode("utf-8", "surrogateescape")).digest()
            assert self.digest is not None
            if not hmac.compare_digest(told, self.digest):
                raise GatewayError(401, "admin_key_required", f"send the admin key as {HEADER.title()}")


def _at_this_machine(request: Request) -> bool:
    """The connection comes from it, and the name that was asked for is its own: a page from elsewhere that has its
    name point here (DNS rebinding) is no neighbour."""
    client = request.client.host if request.client is not None else ""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return (
        _loopback(client)
        and (name == "localhost" or _loopback(name))
        and not any(header in request.headers for header in _PROXIED)
    )


def _same_origin(headers: Mapping[str, str]) -> bool:
    """A browser names the page that asks: others that are open beside the console are not to ask in its name."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return urlsplit(origin).netloc == headers.get("host")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
