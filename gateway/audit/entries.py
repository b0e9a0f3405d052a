"""From what is known of a request to rows of the trail, as much as its tenant says. Knows no database."""

from datetime import UTC, datetime
from typing import Any

from corrector.redaction import redacted
from gateway import exchange, worddiff
from gateway.exchange import Fold
from gateway.record import Record
from wire import sse
from wire.codec import loads

Row = dict[str, Any]


def row_of(record: Record) -> Row:
    """A row of `answers`; with `texts`, and what stands in them, if the tenant says `full`."""
    corrections = record.corrections
    verdict, reason = record.verdict, record.reason
    if record.mode == "shadow" and corrections:
        verdict, reason = corrections[0].verdict, corrections[0].reason
    objectives = record.todo.objectives if record.todo is not None else ()
    row: Row = {
        "time": datetime.fromtimestamp(record.at, UTC),
        "request_id": storable(record.request_id),
        "tenant": record.tenant,
        "policy": record.policy,
        "served_by": record.served_by,
        "corrector": record.corrector,
        "mode": record.mode,
        "stream": record.stream,
        "status": record.status,
        "error": record.error,
        "objectives": [aim.key for aim in objectives],
        "configuration": record.configuration,
        "verdict": verdict,
        "reason": reason,
        "changed": _changed(record),
        "policy_ttft_ms": _ms(record.policy_ttft_s),
        "policy_ms": _ms(record.policy_s),
        "corrector_queue_ms": _ms(record.corrector_queue_s),
        "corrector_ttft_ms": _ms(record.corrector_ttft_s),
        "corrector_ms": _ms(record.corrector_s or sum(told.total_s for told in corrections) or None),
        "total_ms": _ms(record.total_s),
        "policy_tokens": record.policy_tokens,
        "corrector_tokens": sum(told.completion_tokens for told in corrections),
        "descriptions": None,
        "context": None,
    }
    if record.keeps_texts:
        row |= _in_full(record)
    return row


def _in_full(record: Record) -> Row:
    assert record.rules is not None
    patterns = record.rules.redact

    def kept(text: str) -> str:
        return redacted(storable(text), patterns)

    told: Row = {"texts": []}
    if record.todo is not None:
        told["descriptions"] = {aim.key: [aim.name, kept(aim.description)] for aim in record.todo.objectives}
    if record.asked is not None:
        turns = exchange.conversation(record.asked.body["messages"])
        told["context"] = [{"role": turn.role, "text": kept(turn.text)} for turn in turns]
    drafts = record.drafts or _read(record.unread)
    for choice, draft in enumerate(drafts):
        correction = record.corrections[choice] if choice < len(record.corrections) else None
        told["texts"].append(
            {
                "choice": choice,
                "draft": kept(draft),
                "correction": kept(correction.text) if correction is not None else None,
                "verdict": correction.verdict if correction is not None else record.verdict,
                "reason": correction.reason if correction is not None else record.reason,
            }
        )
    return told


def storable(text: str) -> str:
    """Without what PostgreSQL cannot keep in a text: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _changed(record: Record) -> float | None:
    """Of all choices, the one that was changed most; None where nothing was corrected."""
    pairs = zip(record.drafts, record.corrections, strict=False)
    shares = [worddiff.changed(draft, told.text) for draft, told in pairs if told.verdict != "skipped"]
    return max(shares, default=None)


def _read(raw: list[bytes]) -> list[str]:
    """What an answer says that was relayed as bytes: one body, or a stream. Nothing, where that cannot be read."""
    joined = b"".join(raw)
    try:
        if joined.lstrip()[:1] == b"{":
            return exchange.texts(exchange.check(loads(joined)))
        decoder, fold = sse.Decoder(), Fold()
        for event in [*decoder.feed(joined), *decoder.close()]:
            if event.data and event.data != "[DONE]":
                fold.take(exchange.check(loads(event.data)))
        return exchange.texts(fold.reply())
    except Exception:  # whatever an upstream sent: its answer has left, and the row says what became of it
        return []


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
