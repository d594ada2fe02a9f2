"""One message of a conversation, as it came."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, hex_hash, one_of

TABLE = TableSchema(
    name="turns",
    row="one message of a conversation, as it came",
    columns=pa.schema(
        [
            column("turn_id", pa.string(), "readable id: <session_id>/<ref of the source>"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("conversation_id", pa.string(), "the conversation the turn belongs to"),
            column("session_id", pa.string(), "the session the turn belongs to"),
            column("turn_no", pa.int32(), "position in the session, from 0"),
            column("speaker", pa.string(), "name or role of who spoke"),
            column("role", pa.string(), "user, assistant, system, tool or speaker"),
            column("said_at", TIME, "when it was said (UTC)"),
            column("zone", pa.string(), "UTC offset the source gave (+02:00); null where it gave none", nullable=True),
            column(
                "time_source",
                pa.string(),
                "where said_at comes from: turn, session, or arrival (the source had no date)",
            ),
            column("text", pa.string(), "speaker: text [caption]"),
            column("source_ref", pa.string(), "the id the source itself gave, qualified by the namespace"),
            column("content_hash", pa.string(), "128-bit hash of text"),
            column("record_hash", pa.string(), "128-bit hash of everything the source said about the turn"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("turn_id",),
    checks=(hex_hash("content_hash"), hex_hash("record_hash"), one_of("time_source", ("turn", "session", "arrival"))),
)
