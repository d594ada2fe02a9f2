"""One version of one unit at one granularity.

The lake holds every version (`memory_units_history`); the view of this name shows the current ones.
"""

import pyarrow as pa

from schemas.table import GRANULARITIES, SPANS, TIME, TIME_SOURCES, TableSchema, column, hex_hash, one_of

TABLE = TableSchema(
    name="memory_units",
    row="one version of one unit at one granularity",
    columns=pa.schema(
        [
            column("unit_id", pa.string(), "readable id"),
            column("unit_key", pa.int64(), "64-bit hash of unit_id, the key in ANN indexes"),
            column("version", pa.int32(), "1, 2, ... each time the unit's text or sources change"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column(
                "granularity",
                pa.string(),
                "one of GRANULARITIES: turn ... session, sentence ... document, summary, keywords, fact, note, qa",
            ),
            column("memory_type", pa.string(), "episodic (said), semantic (derived or documented)"),
            column("text", pa.string(), "the unit's text"),
            column("content_hash", pa.string(), "128-bit hash of text, joins embeddings"),
            column(
                "parent_id", pa.string(), "the unit this one is part of or derived from; null at the top", nullable=True
            ),
            column("session_id", pa.string(), "the session, for conversations", nullable=True),
            column("document_id", pa.string(), "the document, for documents", nullable=True),
            column("ordinal", pa.int32(), "position among units of its granularity in the session or document, from 0"),
            column("source_spans", SPANS, "where its text or evidence lies: source_ref and characters [start, end)"),
            column("quotes", pa.bool_(), "true when the spans' characters, joined by a line break, are the text"),
            column("event_time", TIME, "when it happened or was said (UTC)"),
            column("zone", pa.string(), "UTC offset the source gave", nullable=True),
            column("time_source", pa.string(), "where event_time comes from: turn, session, document, text or arrival"),
            column("valid_to", TIME, "when a later version or fact replaced it; null while it holds", nullable=True),
            column("recorded_at", TIME, "when this row was written (the run's clock)"),
            column("extractor", pa.string(), "name@version of what made it"),
            column("trust", pa.float32(), "0 to 1"),
            column("n_tokens", pa.int32(), "length in the encoder's tokens, 0 where not counted"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("unit_id", "version"),
    checks=(hex_hash("content_hash"), one_of("granularity", GRANULARITIES), one_of("time_source", TIME_SOURCES)),
)
