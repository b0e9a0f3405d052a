"""Any OpenAI-compatible URL: the fast path. What the client sent goes on as it came, but for the model's name."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field

from corrector.strictyaml import Urls, Variable, secret
from gateway.exchange import ChatRequest, Json
from gateway.upstreams import LONGEST_ANSWER_S, PolicyOptions, Reply, Upstream
from wire.codec import dumps
from wire.endpoint import Endpoint, Opened, json_events

# The rest of a client's headers concerns the upstream. These are the connection's, or the gateway's: an organization or
# a project goes with a key, which is the gateway's own; Ollama answers 403 to a page's `Origin` that it does not know.
_KEPT_BACK = frozenset(
    """
    accept-encoding api-key authorization connection content-encoding content-length content-type cookie expect
    forwarded host http2-settings keep-alive openai-organization openai-project origin proxy-connection referer te
    trailer transfer-encoding upgrade via x-admin-key
    content-md5 if-match if-modified-since if-none-match max-forwards range x-http-method-override
    x-real-ip
    remote-email remote-groups remote-name remote-user
    """.split()  # noqa: SIM905 - a table of names reads better as words
)
# And what proxies say of who asks and from where, often with a token of his: the names that each keeps for itself.
_KEPT_BACK_PREFIXES = (
    "x-align-", "x-forwarded-", "sec-", "access-control-",
    "cf-access-", "cf-connecting-", "cf-ip", "cf-ray", "cf-visitor", "cf-warp-", "cf-worker",  # not `CF-AIG-Cache-TTL`
    "fly-", "tailscale-", "x-amzn-oidc-", "x-auth-request-", "x-authentik-", "x-goog-authenticated-user-",
    "x-envoy-", "x-goog-iap-", "x-ms-client-principal", "x-ms-token-", "x-original-", "x-pomerium-", "x-user-",
    "helicone-", "x-litellm-", "x-openwebui-", "x-portkey-",
)  # fmt: skip
# And keys for others than this gateway, as Azure's `Ocp-Apim-Subscription-Key`, and addresses under whatever name.
_KEPT_BACK_SUFFIXES = (
    "-api-key", "-auth", "-authorization", "-subscription-key", "-token",
    "-client-ip", "-forwarded-for",
)  # fmt: skip


class Options(PolicyOptions):
    kind: Literal["openai"]
    base_url: Urls
    api_key_env: Variable | None = None
    timeout_s: Annotated[float, Field(gt=0)] = LONGEST_ANSWER_S
    retries: Annotated[int, Field(ge=0, le=10)] = 2


def build(name: str, options: Options, run_dir: Path) -> Upstream:
    key = secret(options.api_key_env)
    endpoint = Endpoint(name, options.base_url, api_key=key, timeout_s=options.timeout_s, retries=options.retries)
    return OpenAIUpstream(endpoint, options.model or name)


class OpenAIUpstream:
    def __init__(self, endpoint: Endpoint, model: str, *, salts_prefixes: bool = False) -> None:
        self._endpoint = endpoint
        self._model = model
        self._salts_prefixes = salts_prefixes

    async def ask(self, request: ChatRequest) -> Reply:
        salt = {"cache_salt": request.salt} if self._salts_prefixes else {}
        as_it_came = request.raw if request.body["model"] == self._model and not salt else None
        body = as_it_came or dumps({**request.body, "model": self._model, **salt})
        opened = await self._endpoint.post("/chat/completions", body, forwarded(request.header_list), request.query)
        return OpenAIReply(opened)

    async def reachable(self) -> bool:
        return await self._endpoint.reachable()

    async def aclose(self) -> None:
        await self._endpoint.aclose()


class OpenAIReply:
    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @property
    def headers(self) -> Mapping[str, str]:
        return self._opened.headers

    @property
    def streamed(self) -> bool:
        return self._opened.streamed

    @property
    def done(self) -> bool:
        return self._opened.done

    async def read(self) -> bytes:
        return await self._opened.read()

    def relay(self) -> AsyncIterator[bytes]:
        return self._opened.chunks()

    def events(self) -> AsyncIterator[Json]:
        return cast(AsyncIterator[Json], json_events(self._opened))

    def close(self) -> None:
        self._opened.close()


def forwarded(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The client's headers that go on to the upstream; of one that comes twice, both values."""
    of_hop = {word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")}
    passed: dict[str, str] = {}
    for name, value in headers:
        if not (
            name in _KEPT_BACK
            or name in of_hop
            or name.startswith(_KEPT_BACK_PREFIXES)
            or name.endswith(_KEPT_BACK_SUFFIXES)
        ):
            passed[name] = f"{passed[name]}, {value}" if name in passed else value
    return passed
