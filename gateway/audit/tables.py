"""The trail's tables. What changes here needs a revision in `migrations/versions`, and its name in `HEAD`."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)  # fmt: skip

HEAD = "0001"

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself in INTEGER only


class Moment(TypeDecorator[datetime]):
    """A time with its zone, UTC; SQLite has none, and gets it without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value and dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def _ms(name: str) -> Column[Any]:
    return Column(f"{name}_ms", Float)


# One answer. In mode `shadow`, verdict and reason are of the correction that was not sent.
answers = Table(
    "answers",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("time", Moment, nullable=False),
    Column("request_id", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("served_by", String, nullable=False),
    Column("corrector", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", String),
    Column("objectives", JSON, nullable=False),
    Column("configuration", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("changed", Float),
    _ms("policy_ttft"),
    _ms("policy"),
    _ms("corrector_queue"),
    _ms("corrector_ttft"),
    _ms("corrector"),
    _ms("total"),
    Column("policy_tokens", Integer),
    Column("corrector_tokens", Integer),
    # Where the tenant says `audit: full`:
    Column("descriptions", JSON(none_as_null=True)),
    Column("context", JSON(none_as_null=True)),
    Index("answers_by_tenant", "tenant", "time"),
    Index("answers_by_request", "request_id"),
)

# What one choice of an answer said, where the tenant says `audit: full`; without a correction, what was sent.
texts = Table(
    "texts",
    metadata,
    Column("answer_id", _Id, ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True),
    Column("choice", Integer, primary_key=True),
    Column("draft", Text, nullable=False),
    Column("correction", Text),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("answer_id", _Id, ForeignKey("answers.id", ondelete="CASCADE"), nullable=False),
    Column("time", Moment, nullable=False),
    Column("choice", String, nullable=False),
    Column("objective", String),
    Column("comment", Text),
    Column("by", String, nullable=False),
    Index("feedback_by_answer", "answer_id"),
)
