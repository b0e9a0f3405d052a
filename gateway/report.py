"""What an answer tells of its own alignment: the `align` object, the headers, and the figures of its record."""

from collections.abc import Mapping
from string import punctuation
from typing import Any
from urllib.parse import quote

from corrector.correction import Correction, verdict_of_choices
from gateway import spans
from gateway.errors import passed_headers
from gateway.exchange import Json
from gateway.plan import Plan
from gateway.record import Record

_PRINTED = " " + punctuation.replace("%", "")


def headers(upstream: Mapping[str, str], todo: Plan, record: Record) -> dict[str, str]:
    """Of the upstream's headers those that are the client's business, and ours."""
    headers = {name: value for name, value in passed_headers(upstream).items() if name.lower() != "x-request-id"}
    headers["X-Request-Id"] = record.request_id
    if todo.objectives:
        headers["X-Align-Objectives"] = ", ".join(_in_header(objective.key) for objective in todo.objectives)
    headers["X-Align-Corrector"] = _in_header(todo.corrector)
    return headers


def _in_header(name: str) -> str:
    """Names may be of any script; in a header they are as `X-Align-Define` has them: percent-encoded UTF-8."""
    return quote(name, safe=_PRINTED)


def overhead_header(record: Record) -> dict[str, str]:
    """What the request took beyond its policy."""
    return {"X-Align-Overhead-Ms": f"{(record.since() - (record.policy_s or 0)) * 1000:.1f}"}


def verdict_headers(record: Record) -> dict[str, str]:
    return {"X-Align-Verdict": record.verdict, "X-Align-Reason": record.reason}


def note(record: Record) -> None:
    """Takes the figures of its corrections into the record, all choices together."""
    corrections = list(record.corrections.values())
    speaking = verdict_of_choices(corrections)
    if speaking is None:  # an answer without a choice
        record.verdict, record.reason = "skipped", "empty_draft"
        return
    record.verdict, record.reason = speaking.verdict, speaking.reason
    record.corrector_s = max(correction.total_s for correction in corrections)
    waits = [correction.first_token_s for correction in corrections if correction.first_token_s is not None]
    record.corrector_ttft_s = min(waits) if waits else None
    queues = [correction.queue_s for correction in corrections if correction.queue_s is not None]
    record.corrector_queue_s = min(queues) if queues else None
    record.corrector_tokens = sum(correction.completion_tokens for correction in corrections)


def note_usage(record: Record, body: Mapping[str, Any]) -> None:
    if record.trace is not None:
        spans.note(record.trace, body)
    usage = body.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        record.policy_tokens = usage["completion_tokens"]


def align(todo: Plan, record: Record, corrections: list[Correction], drafts: list[str]) -> Json:
    """The `align` object beside an answer, or beside one choice of a stream."""

    def one(correction: Correction, draft: str) -> Json:
        entry: Json = {"verdict": correction.verdict, "reason": correction.reason}
        if correction.parts > 1:
            entry["parts"] = correction.parts
        if correction.dropped_turns:
            entry["dropped_turns"] = correction.dropped_turns
        if correction.shortened_turn:
            entry["shortened_turn"] = True
        if correction.resumed_at is not None:
            entry["resumed_at"] = correction.resumed_at
        if todo.return_draft:
            entry["draft"] = draft
        return entry

    prompt = sum(correction.prompt_tokens for correction in corrections)
    completion = sum(correction.completion_tokens for correction in corrections)
    said: Json = {"verdict": record.verdict, "reason": record.reason}
    if len(corrections) == 1:
        said = one(corrections[0], drafts[0])
    said |= {
        "objectives": [objective.key for objective in todo.objectives],
        "policy": record.served_by,
        "corrector": todo.corrector,
        "mode": todo.mode,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
        "timings_ms": {
            "policy_first": _ms(record.policy_ttft_s),
            "policy": _ms(record.policy_s),
            "corrector_queue": _ms(record.corrector_queue_s),
            "corrector_first_token": _ms(record.corrector_ttft_s),
            "corrector": _ms(record.corrector_s),
            "total": _ms(record.since()),
        },
    }
    if len(corrections) > 1:
        said["choices"] = [one(correction, draft) for correction, draft in zip(corrections, drafts, strict=True)]
    return said


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
