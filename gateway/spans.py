"""A request as spans: the request itself, and in it policy, prefill, corrector and gate. Never a text of a user.

By OpenTelemetry's conventions for generative AI and for HTTP; what is ours begins with `metaaligner.`. Drawn from the
record once all is over; only the ids that others are to know are made before.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from corrector.correction import Correction, verdict_of_choices
from gateway.config import Config
from gateway.errors import from_wire
from gateway.exchange import ChatRequest
from gateway.plan import Plan
from gateway.record import Record
from wire.errors import Rejected, WireError

if TYPE_CHECKING:  # OpenTelemetry is optional
    from gateway.tracing import Trace, Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# litellm's names of providers, where the conventions have others. The rest are alike.
_PROVIDERS = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "bedrock": "aws.bedrock", "gemini": "gcp.gemini",
    "mistral": "mistral_ai", "vertex_ai": "gcp.vertex_ai", "watsonx": "ibm.watsonx.ai", "xai": "x_ai",
}  # fmt: skip


def tracing(log: Any) -> "Tracing | None":
    """By OpenTelemetry's own variables; None where they name no collector, or say that nothing is to be sent."""
    off = _said("OTEL_SDK_DISABLED") == "true" or _said("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(map(_said, ENDPOINTS)):
        return None
    try:
        from gateway.tracing import Tracing
    except ImportError as error:
        log.error(
            "tracing.missing",
            error=f"a collector is named, but {error.name} is not installed: "
            ".venv/bin/pip install -c constraints.txt -e '.[otel]'",
        )
        return None
    return Tracing(log)


def begin(made: "Tracing", scope: Mapping[str, Any]) -> "Trace":
    """A request has come."""
    host, port = scope.get("server") or (None, None)
    trace = made.begin(
        scope["headers"],
        {
            "http.request.method": scope["method"],
            "http.route": scope["path"],
            **({"server.address": host, "server.port": port} if host and port else {}),
        },
    )
    trace.operation = "align" if scope["path"] == "/v1/align" else "chat"
    return trace


def planned(request: ChatRequest, trace: "Trace", todo: Plan, config: Config) -> ChatRequest:
    """It is known what will be done. The request, with what its corrector is to be told of the trace."""
    ours = [aim for aim in todo.objectives if aim not in todo.defined]
    trace.planned = {
        "metaaligner.objectives": [aim.key for aim in ours],
        "metaaligner.objectives_defined": len(todo.defined),  # how many, but not the client's names for them
    }
    if todo.skip is not None:
        return request
    spec = config.correctors[todo.corrector]
    trace.corrector = trace.call(
        {
            "gen_ai.operation.name": "chat" if spec.options.template == "chat" else "text_completion",
            "gen_ai.provider.name": _provider(spec.engine),
            "gen_ai.request.model": spec.engine.model or todo.corrector,
            "metaaligner.corrector": todo.corrector,
            **_server(spec.engine),
        }
    )
    return replace(request, corrector_headers=trace.headers(trace.corrector))


def asking(request: ChatRequest, trace: "Trace", policy: str, config: Config) -> ChatRequest:
    """The request as this policy gets it: its span's parent is ours, and not the client's."""
    options = config.policies[policy]
    call = trace.call(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _provider(getattr(options, "engine", options), options.model),
            "gen_ai.request.model": options.model or getattr(getattr(options, "engine", None), "model", None) or policy,
            "gen_ai.request.stream": request.stream,
            "metaaligner.policy": policy,
            **_server(options),
        }
    )
    trace.calls.append(call)
    ours = trace.headers(call)
    theirs = [(name, value) for name, value in request.header_list if name not in ("traceparent", "tracestate")]
    return replace(request, header_list=(*theirs, *ours.items()))


def failed(trace: "Trace", error: WireError) -> None:
    """The policy that was asked last has failed before it began."""
    call = trace.calls[-1]
    call.ended = time.monotonic()
    call.error = str(error.status) if isinstance(error, Rejected) else from_wire(error).code


def note(trace: "Trace", answer: Mapping[str, Any]) -> None:
    """What the policy's answer, or a chunk of it, says of itself."""
    if not trace.wanted:
        return
    said = trace.said
    for name, key in (("gen_ai.response.model", "model"), ("gen_ai.response.id", "id")):
        if isinstance(value := answer.get(key), str) and value:
            said[name] = value[:256]
    for choice in answer.get("choices") or ():
        if isinstance(reason := choice.get("finish_reason"), str):
            said.setdefault("finish_reasons", {})[choice.get("index", 0)] = reason[:64]
    usage = answer.get("usage")
    if isinstance(usage, dict):
        for name, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            if isinstance(count := usage.get(key), int):
                said[f"gen_ai.usage.{name}_tokens"] = count


def finish(record: Record, trace: "Trace") -> None:
    """The answer has left."""
    if not trace.wanted:
        return
    ended = trace.started + record.total_s
    said = dict(trace.said)
    if reasons := said.pop("finish_reasons", None):
        said["gen_ai.response.finish_reasons"] = [reasons[index] for index in sorted(reasons)]
    known = record.todo is not None
    _policies(record, trace, said, ended)
    if record.mode != "shadow" or trace.operation == "align":
        corrected(record, trace)
    trace.end(
        f"{trace.operation} {record.policy}" if known else trace.operation,
        ended,
        {**_attributes(record, trace.operation), **trace.planned, **(said if known else {})},
        failed=record.status >= 500,
    )


def corrected(record: Record, trace: "Trace") -> None:
    """What the corrector did; of a correction in shadow, later than its answer."""
    call = trace.corrector
    if call is None or not trace.wanted:
        return
    if record.ahead is not None:
        ahead_ended = record.ahead.ended or trace.started + record.total_s
        trace.draw("prefill", record.ahead.started, ahead_ended, {"metaaligner.ahead": True})
    made = [one for one in record.corrections.values() if one.total_s]
    if not made:
        if record.error == "corrector_unavailable" or (record.error == "client_gone" and record.policy_s is not None):
            trace.draw(
                "corrector", trace.started + (record.policy_s or 0), trace.started + record.total_s, call.attributes,
                kind="client", error=record.error, span_id=call.span_id,
            )  # fmt: skip
        return
    speaking = verdict_of_choices(made) if record.mode == "shadow" else record
    assert speaking is not None, "something was made"
    verdict = {"metaaligner.verdict": speaking.verdict, "metaaligner.reason": speaking.reason}
    started = min(one.started for one in made)
    ended = max(one.started + one.total_s for one in made)
    begun = [one.started + one.first_token_s for one in made if one.first_token_s is not None]
    if begun:
        trace.draw("prefill", started, min(begun), {"metaaligner.ahead": False})
    trace.draw(
        "corrector", started, ended, {**call.attributes, **_spent(made, started, begun), **verdict}, kind="client",
        error=next((one.reason for one in made if one.verdict == "failed"), None), span_id=call.span_id,
    )  # fmt: skip
    # All its looks together, put where it has the last word.
    gate_s = sum(one.gate_s for one in made)
    trace.draw("gate", max(started, ended - gate_s), ended, verdict)


def _policies(record: Record, trace: "Trace", said: Mapping[str, Any], ended: float) -> None:
    for call in trace.calls:
        attributes = dict(call.attributes)
        if call is trace.calls[-1] and call.error is None:
            attributes |= said
            call.ended = ended if record.policy_s is None else trace.started + record.policy_s
            if record.error and (record.error.startswith("upstream_") or record.policy_s is None):
                call.error = record.error
            if record.stream and record.policy_ttft_s is not None:
                first_s = trace.started + record.policy_ttft_s - call.started
                attributes["gen_ai.response.time_to_first_chunk"] = max(0.0, first_s)
        trace.draw(
            "policy", call.started, call.ended or ended, attributes,
            kind="client", error=call.error, span_id=call.span_id,
        )  # fmt: skip


def _spent(made: list[Correction], started: float, begun: list[float]) -> dict[str, Any]:
    spent: dict[str, Any] = {
        "gen_ai.usage.input_tokens": sum(one.prompt_tokens for one in made),
        "gen_ai.usage.output_tokens": sum(one.completion_tokens for one in made),
        "gen_ai.request.stream": True,
        "metaaligner.parts": sum(one.parts for one in made),
    }
    if begun:
        spent["gen_ai.response.time_to_first_chunk"] = min(begun) - started
    return spent


def _attributes(record: Record, operation: str) -> dict[str, Any]:
    """The request's own attributes."""
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "metaaligner",
        "metaaligner.request_id": record.request_id,
        "metaaligner.tenant": record.tenant,
        "http.response.status_code": record.status,
    }
    if record.error:
        attributes["error.type"] = record.error
    if record.todo is not None:
        attributes |= {
            "gen_ai.request.model": record.policy,
            "gen_ai.request.stream": record.stream,
            "metaaligner.served_by": record.served_by,
            "metaaligner.corrector": record.corrector,
            "metaaligner.mode": record.mode,
            "metaaligner.verdict": record.verdict,
            "metaaligner.reason": record.reason,
        }
    return attributes


def _said(variable: str) -> str:
    return os.environ.get(variable, "").strip().lower()


def _provider(options: Any, model: str | None = None) -> str:
    """As the conventions name them: who is behind an OpenAI-compatible URL, nobody knows."""
    if options.kind == "litellm":
        name, slash, _ = (model or "").partition("/")
        return _PROVIDERS.get(name, name) if slash else "openai"
    return "openai" if options.kind == "endpoint" else str(options.kind)


def _server(options: Any) -> dict[str, Any]:
    """Of one that is reached at a single address."""
    urls = getattr(options, "base_url", None) or ()
    if len(urls) != 1 if isinstance(urls, tuple) else not urls:
        return {}
    parts = urlsplit(urls[0] if isinstance(urls, tuple) else urls)
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or {"http": 80}.get(parts.scheme, 443)}
