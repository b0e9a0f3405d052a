"""An engine that somebody else runs: any OpenAI-compatible URL, or several that are balanced."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, field_validator

from corrector.engines import EngineOptions, Launch, refuse_ours
from corrector.strictyaml import Urls, Variable, secret

# Of a correction's request, what the gateway says itself, and what to say instead.
OURS = {
    "cache_salt": "say `cache_salt: true` beside it",
    "messages": "the corrector's `template` makes them",
    "model": "say it beside `request`",
    "prompt": "the corrector's `template` makes it",
    "stream": "corrections are read as they are written",
}


class Options(EngineOptions):
    kind: Literal["endpoint"]
    base_url: Urls
    model: str
    api_key_env: Variable | None = None
    cache_salt: bool = False  # the URL is vLLM's: a request may carry one
    request: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def salts_prefixes(self) -> bool:
        return self.cache_salt

    @property
    def request_fields(self) -> Mapping[str, JsonValue]:
        return self.request

    @field_validator("request")
    @classmethod
    def _is_not_ours(cls, request: dict[str, JsonValue]) -> dict[str, JsonValue]:
        refuse_ours(request, OURS, "`request`")
        return request


def launch(options: Options, socket: Path) -> Launch | None:
    return None


def base_urls(options: Options, socket: Path) -> tuple[str, ...]:
    return options.base_url


def api_key(options: Options) -> str | None:
    return secret(options.api_key_env) or None
