"""An engine that somebody else runs: any OpenAI-compatible URL, or several that are balanced."""

from pathlib import Path
from typing import Literal

from corrector.engines import EngineOptions, Launch
from corrector.strictyaml import Urls, Variable, secret


class Options(EngineOptions):
    kind: Literal["endpoint"]
    base_url: Urls
    model: str
    api_key_env: Variable | None = None
    cache_salt: bool = False  # the URL is vLLM's: a request may carry one

    @property
    def salts_prefixes(self) -> bool:
        return self.cache_salt


def launch(options: Options, socket: Path) -> Launch | None:
    return None


def base_urls(options: Options, socket: Path) -> tuple[str, ...]:
    return options.base_url


def api_key(options: Options) -> str | None:
    return secret(options.api_key_env) or None
