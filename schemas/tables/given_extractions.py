"""One extraction that others made, found at its source: what `ingest --extractions` took in."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, one_of

KINDS = ("summary", "keywords", "fact", "note", "triple", "entity")

TABLE = TableSchema(
    name="given_extractions",
    row="one summary, fact, triple ... that others made of a session or document",
    columns=pa.schema(
        [
            column("extraction_id", pa.string(), "hash of what it says, of what, and of who says so"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("group_id", pa.string(), "the session or document it was made from"),
            column("granularity", pa.string(), "summary, keywords, fact, note, triple or entity"),
            column("text", pa.string(), "as given; of a triple its parts, joined by spaces"),
            column("subject", pa.string(), "of a triple or a fact with one", nullable=True),
            column("predicate", pa.string(), "of a triple or a fact with one", nullable=True),
            column("object", pa.string(), "of a triple or a fact with one", nullable=True),
            column(
                "refs", pa.list_(pa.string()), "source refs of the turns or the document; empty for the whole session"
            ),
            column("start", pa.int32(), "first character in the document", nullable=True),
            column("end", pa.int32(), "end in the document", nullable=True),
            column(
                "made_from", pa.string(), "hash of the texts it was made from; it no longer counts when they change"
            ),
            column("event_time", TIME, "when it happened, as given (UTC)", nullable=True),
            column("zone", pa.string(), "UTC offset that was given", nullable=True),
            column("trust", pa.float32(), "0 to 1"),
            column("extractor", pa.string(), "import:<who>@<first 8 digits of the file's hash>"),
            column("source_ref", pa.string(), "the file that gave it"),
            column("day", pa.date32(), "day on which the last of what it was made from arrived"),
        ]
    ),
    key=("extraction_id",),
    checks=(one_of("granularity", KINDS),),
)
