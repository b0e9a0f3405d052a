"""A model that this gateway runs itself, on an engine of `corrector/engines`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from corrector.engines import EngineOptions
from corrector.running import endpoint_of
from gateway.upstreams import LONGEST_ANSWER_S, PolicyOptions, Upstream
from gateway.upstreams.openai import OpenAIUpstream


class Options(PolicyOptions):
    kind: Literal["local"]
    engine: SerializeAsAny[EngineOptions]
    timeout_s: Annotated[float, Field(gt=0)] = LONGEST_ANSWER_S


def build(name: str, options: Options, run_dir: Path) -> Upstream:
    endpoint = endpoint_of(name, options.engine, run_dir, options.timeout_s)
    model = options.model or options.engine.model
    return OpenAIUpstream(endpoint, model, salts_prefixes=options.engine.salts_prefixes)
