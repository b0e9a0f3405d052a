"""A model that this gateway runs itself, on an engine of `corrector/engines`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from corrector.engines import EngineOptions, load, socket_path
from gateway.upstreams import PolicyOptions, Upstream
from gateway.upstreams.openai import OpenAIUpstream
from wire.endpoint import Endpoint


class Options(PolicyOptions):
    kind: Literal["local"]
    engine: SerializeAsAny[EngineOptions]
    timeout_s: Annotated[float, Field(gt=0)] = 300


def build(name: str, options: Options, run_dir: Path) -> Upstream:
    engine = load(options.engine.kind)
    endpoint = Endpoint(
        name,
        engine.base_urls(options.engine, socket_path(run_dir, options.engine)),
        api_key=engine.api_key(options.engine),
        timeout_s=options.timeout_s,
        retries=1,
    )
    return OpenAIUpstream(endpoint, options.model or options.engine.model)
