"""From what is known of a request to rows of the trail, as much as its tenant says. Knows no database."""

from datetime import UTC, datetime
from typing import Any

from corrector.correction import verdict_of_choices
from corrector.redaction import redacted
from gateway import exchange, worddiff
from gateway.record import Record
from gateway.streams import Fold
from wire import sse
from wire.codec import loads

Row = dict[str, Any]

DEFINED = "(defined)"
MAX_REQUEST_ID = 200  # characters; an upstream may call its answers as it likes


def row_of(record: Record) -> Row:
    """A row of `answers`; with `texts`, and what stands in them, if the tenant says `full`."""
    corrections = record.corrections
    verdict, reason = record.verdict, record.reason
    if record.mode == "shadow" and (told := verdict_of_choices(corrections.values())) is not None:
        verdict, reason = told.verdict, told.reason
    keys: list[str] = []
    if record.todo is not None:
        hidden = () if record.keeps_texts else record.todo.defined  # the client's words for them are texts
        keys = [DEFINED if aim in hidden else aim.key for aim in record.todo.objectives]
    row: Row = {
        "time": datetime.fromtimestamp(record.at, UTC),
        "request_id": storable(record.request_id)[:MAX_REQUEST_ID],
        "tenant": record.tenant,
        "policy": record.policy,
        "served_by": record.served_by,
        "corrector": record.corrector,
        "mode": record.mode,
        "stream": record.stream,
        "status": record.status,
        "error": record.error,
        "objectives": keys,
        "configuration": record.configuration,
        "verdict": verdict,
        "reason": reason,
        "changed": _changed(record),
        "policy_ttft_ms": _ms(record.policy_ttft_s),
        "policy_ms": _ms(record.policy_s),
        "corrector_queue_ms": _ms(record.corrector_queue_s),
        "corrector_ttft_ms": _ms(record.corrector_ttft_s),
        "corrector_ms": _ms(record.corrector_s or sum(told.total_s for told in corrections.values()) or None),
        "total_ms": _ms(record.total_s),
        "policy_tokens": _count(record.policy_tokens),
        "corrector_tokens": _count(sum(told.completion_tokens for told in corrections.values())),
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
    for choice, draft in sorted(drafts.items()):
        correction = record.corrections.get(choice)
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
    told = record.corrections
    shares = [worddiff.changed(record.drafts[at], told[at].text) for at in told if told[at].verdict != "skipped"]
    return max(shares, default=None)


def _read(raw: list[bytes]) -> dict[int, str]:
    """What an answer says that was relayed as bytes: one body, or a stream. Nothing, where that cannot be read."""
    joined = b"".join(raw)
    try:
        if joined.lstrip()[:1] == b"{":
            return exchange.texts(exchange.check(loads(joined), "message"))
        decoder, fold = sse.Decoder(), Fold()
        for event in [*decoder.feed(joined), *decoder.close()]:
            if event.data and event.data != "[DONE]":
                fold.take(exchange.check(loads(event.data), "delta"))
        return exchange.texts(fold.reply())
    except Exception:  # whatever an upstream sent: its answer has left, and the row says what became of it
        return {}


def _count(tokens: int | None) -> int | None:
    """As a database can hold it, whatever an upstream has counted."""
    return None if tokens is None else min(max(tokens, 0), 2**31 - 1)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
