"""Ledger: one metric of one snapshot on one labelled set."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

TABLE = TableSchema(
    name="evaluations",
    row="one metric of one snapshot on one labelled set",
    columns=pa.schema(
        [
            column("snapshot", pa.int64(), "snapshot number"),
            column("dataset", pa.string(), "name of the labelled set"),
            column("category", pa.string(), "question category; all; folds: mean and spread over parts of the set"),
            column("metric", pa.string(), "name@k"),
            column("value", pa.float64(), "mean over questions"),
            column("low", pa.float64(), "2.5 % bootstrap bound"),
            column("high", pa.float64(), "97.5 % bootstrap bound"),
            column("n", pa.int64(), "questions"),
            column("at", TIME, "when measured (UTC)"),
            column("ranking", pa.string(), "recall, a variant of it, or a baseline; null means recall", nullable=True),
        ]
    ),
    key=(),
    ledger=True,
)
