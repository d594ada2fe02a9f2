"""Ledger: what somebody said about one answer, written back in SQL."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, one_of

VERDICTS = ("right", "wrong", "outdated", "irrelevant")

TABLE = TableSchema(
    name="feedback",
    row="one verdict on one unit as an answer",
    columns=pa.schema(
        [
            column("feedback_id", pa.string(), "where it was staged, and its number there"),
            column("unit_id", pa.string(), "the unit that was recalled"),
            column("namespace", pa.string(), "namespace of the unit; null where there was no such unit", nullable=True),
            column("query", pa.string(), "the question", nullable=True),
            column("verdict", pa.string(), ", ".join(VERDICTS)),
            column("note", pa.string(), "in words", nullable=True),
            column("author", pa.string(), "who said so", nullable=True),
            column("snapshot", pa.int64(), "the snapshot that answered"),
            column("at", TIME, "when it was written (UTC)"),
        ]
    ),
    key=(),
    checks=(one_of("verdict", VERDICTS),),
    ledger=True,
)
