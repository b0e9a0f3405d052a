"""Answers, their texts, and feedback on them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "answers",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("time", _MOMENT, nullable=False),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in ("request_id", "tenant", "policy", "served_by", "corrector", "mode")
        ),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("objectives", sa.JSON, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("configuration", "verdict", "reason")),
        sa.Column("changed", sa.Float),
        *(
            sa.Column(f"{name}_ms", sa.Float)
            for name in ("policy_ttft", "policy", "corrector_queue", "corrector_ttft", "corrector", "total")
        ),
        sa.Column("policy_tokens", sa.Integer),
        sa.Column("corrector_tokens", sa.Integer),
        sa.Column("descriptions", sa.JSON),
        sa.Column("context", sa.JSON),
    )
    op.create_index("answers_by_tenant", "answers", ["tenant", "time"])
    op.create_index("answers_by_request", "answers", ["request_id"])
    op.create_table(
        "texts",
        sa.Column("answer_id", _ID, sa.ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("choice", sa.Integer, primary_key=True),
        sa.Column("draft", sa.Text, nullable=False),
        sa.Column("correction", sa.Text),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("answer_id", _ID, sa.ForeignKey("answers.id", ondelete="CASCADE"), nullable=False),
        sa.Column("time", _MOMENT, nullable=False),
        sa.Column("choice", sa.String, nullable=False),
        sa.Column("objective", sa.String),
        sa.Column("comment", sa.Text),
        sa.Column("by", sa.String, nullable=False),
    )
    op.create_index("feedback_by_answer", "feedback", ["answer_id"])


def downgrade() -> None:
    for table in ("feedback", "texts", "answers"):
        op.drop_table(table)
