"""The audit trail: what became of every answer, as much of it as its tenant says, in SQLite or PostgreSQL."""
