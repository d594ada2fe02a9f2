"""One document: its text as it came or as it was extracted from its file."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, hex_hash, one_of

TABLE = TableSchema(
    name="documents",
    row="one document, as it came",
    columns=pa.schema(
        [
            column("document_id", pa.string(), "readable id: <namespace>/<path relative to the source>"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("title", pa.string(), "title, first heading, subject or file name"),
            column("text", pa.string(), "the text that spans of units refer to, in characters"),
            column(
                "media_type", pa.string(), "what it was: text/markdown, text/plain, text/html, application/pdf, ..."
            ),
            column("published_at", TIME, "when it was written or sent (UTC)"),
            column("zone", pa.string(), "UTC offset the source gave; null where it gave none", nullable=True),
            column("time_source", pa.string(), "where published_at comes from: document or arrival"),
            column("source_ref", pa.string(), "path relative to the source that was given"),
            column("content_hash", pa.string(), "128-bit hash of text"),
            column("record_hash", pa.string(), "128-bit hash of everything the source said about the document"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("document_id",),
    checks=(hex_hash("content_hash"), hex_hash("record_hash"), one_of("time_source", ("document", "arrival"))),
)
