"""Who calls: the tenant of an API key, or the one that needs none. Knows nothing of what is asked.

A gateway on a loopback address answers whoever is on this machine, and so are browsers, which send what any web page in
them says: "in no-cors mode" a request whose answer the page does not see, and under a name that the page's own DNS has
turned to this machine one whose answer it does. Browsers say whose page it is; other clients say nothing of the kind.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope

from corrector.objectives import Objectives, Tenant
from gateway import plan
from gateway.errors import GatewayError

Headers = tuple[tuple[str, str], ...]

LOCAL = ("localhost", "local", "internal", "test")  # names under these are in no public DNS: nor is one without a dot


@dataclass(frozen=True, slots=True)
class Callers:
    """`anywhere`: the tenant without keys is everybody's, `--allow-anonymous`. `origins`: whose pages may ask."""

    origins: tuple[str, ...] = ()
    anywhere: bool = False

    def tenant(self, objectives: Objectives, headers: Iterable[tuple[str, str]]) -> tuple[str, Tenant]:
        """Raises `GatewayError`: 401 without a key that is known; 403 to a web page that may not ask without one."""
        said = dict(headers)
        name, tenant = plan.authenticate(objectives, said)
        if tenant.keys == "none" and not self.anywhere:
            self._refuse_pages(said)
        return name, tenant

    def _refuse_pages(self, said: Mapping[str, str]) -> None:
        host, origin = said.get("host", ""), said.get("origin")
        if origin is not None and ("*" in self.origins or origin in self.origins):
            return
        if not _is_local(host):
            raise _refused(f"{host!r} is no name of this machine")
        same = (
            origin is None or origin.partition("://")[2] == host.lower() or said.get("sec-fetch-site") == "same-origin"
        )
        if not same:
            raise _refused(f"pages of {origin!r} are not in `cors_origins`")


def headers_of(scope: Scope) -> Headers:
    """Names in lower case, values as text: their encoding is left open (RFC 9110), and most who need one send UTF-8."""
    return tuple((name.decode("latin-1"), _text(value)) for name, value in scope["headers"])


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _is_local(host: str) -> bool:
    """Can nobody else's DNS make this name this machine's? `host` may have a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.rpartition(".")[2] in LOCAL
    return True


def _refused(why: str) -> GatewayError:
    message = f"{why}; without an API key this machine alone is answered, unless by a start with --allow-anonymous"
    return GatewayError(403, "web_page_refused", message)
