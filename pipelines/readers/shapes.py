"""One JSON value, or one row of a table, -> its records, by the keys it has.

`{sample_id, conversation: {session_N}}` is LoCoMo, `haystack_sessions` LongMemEval, `messages` a chat, `conversations` ShareGPT.
A row with a text is a message if it says who spoke or in which session, else a document if it has a title, an id or a url, else
a message; `kind` overrides that for rows. The one thing to know: rows are told apart one by one, so one file may hold both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.readers import conversations, fields, written_back
from pipelines.readers.dates import read_moment
from pipelines.readers.records import Candidate, DocumentRecord, Origin, Refused, undated
from schemas.errors import InvalidRecord
from schemas.ids import qualify

KNOWN = (
    "LoCoMo samples, LongMemEval questions, chats with messages, ShareGPT conversations, or rows with a text "
    "(and speaker or role for messages, title for documents)"
)
MESSAGE_SIGNS = (
    "speaker",
    "role",
    "from",
    "author",
    "session_id",
    "conversation_id",
    "turn_id",
    "message_id",
    "said_at",
)
DOCUMENT_SIGNS = ("title", "document_id", "url", "published_at", "published")


def shape_of(value: Any, kind: str = "auto") -> str:
    """`locomo`, `longmemeval`, `chat`, `sharegpt`, `written-back`, `message` or `document`. Raises `InvalidRecord` else."""
    if isinstance(value, list) and value and all(isinstance(m, Mapping) for m in value):
        return _conversation("chat", kind)
    if not isinstance(value, Mapping):
        raise InvalidRecord(f"a {type(value).__name__} where an object was expected: known are {KNOWN}")
    if written_back.KEY in value:
        return "written-back"
    talk = value.get("conversation")
    if isinstance(talk, Mapping) and ("sample_id" in value or any(conversations.SESSION.fullmatch(k) for k in talk)):
        return _conversation("locomo", kind)
    for key, shape in (("haystack_sessions", "longmemeval"), ("messages", "chat"), ("conversations", "sharegpt")):
        if key in value:
            return _conversation(shape, kind)
    if not any(name in value for name in fields.TEXTS):
        raise InvalidRecord(
            f"an object with the keys {sorted(map(str, value))[:12]} is of no known shape: known are {KNOWN}"
        )
    return _row_shape(value, kind)


def _conversation(shape: str, kind: str) -> str:
    if kind == "document":
        raise InvalidRecord("a conversation, but documents were asked for: use --kind conversation or auto")
    return shape


def _row_shape(row: Mapping[str, Any], kind: str) -> str:
    if kind != "auto":
        return "message" if kind == "conversation" else "document"
    if any(name in row for name in MESSAGE_SIGNS):
        return "message"
    if any(name in row for name in DOCUMENT_SIGNS):
        return "document"
    return (
        "document" if "id" in row and not any(n in row for n in ("user", "user_id", "timestamp", "time")) else "message"
    )


class ValueReader:
    """Turns the values of one file into candidates; keeps the row counts that positions in sessions need."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.rows = conversations.MessageRows()

    def records(self, value: Any, number: int, place: str) -> Iterator[Candidate | Refused]:
        """The records of the value at `place`. Never raises `InvalidRecord`: what is wrong is a `Refused`."""
        try:
            yield from self._records(value, number, place)
        except InvalidRecord as problem:
            yield self.origin.refuse(str(problem), value, place, self._namespace(value))
        except RecursionError:
            yield self.origin.refuse("nested too deep to be read: flatten it", value, place)

    def _namespace(self, value: Any) -> str:
        """The namespace that a refused value was meant for, as far as it says one."""
        said = fields.first(value, fields.NAMESPACES) if isinstance(value, Mapping) else None
        return self.origin.params.namespace or (said if isinstance(said, str) else self.origin.namespace)

    def _records(self, value: Any, number: int, place: str) -> Iterator[Candidate | Refused]:
        shape = shape_of(value, self.origin.params.kind)
        if shape == "message":
            yield self.rows.turn(value, self.origin, place)
        elif shape == "document":
            yield Candidate(document_row(value, self.origin, number), value, place)
        elif shape == "written-back":
            yield Candidate(written_back.written_back(value), value, place)
        elif shape == "locomo":
            yield from conversations.locomo(value, self.origin, place)
        elif shape == "longmemeval":
            yield from conversations.longmemeval(value, self.origin, place)
        elif isinstance(value, list):
            yield from conversations.chat({"messages": value}, self.origin, place)
        else:
            yield from conversations.chat(
                value, self.origin, place, key="messages" if shape == "chat" else "conversations"
            )


def document_row(row: Mapping[str, Any], origin: Origin, number: int) -> DocumentRecord:
    """A row with `text` and `title`, `document_id`|`id`|`url`, `published_at`|`date`. Raises `InvalidRecord`."""
    own = fields.identifier(row, fields.DOCUMENT_IDS)
    ref = f"{origin.ref}#{own or number}"
    text = fields.plain_text(fields.first(row, fields.TEXTS))
    if not text.strip():
        raise InvalidRecord("a document without text: give it a text, or take it out")
    title = fields.identifier(row, fields.TITLES)
    if title and title not in text[: len(title) + 200]:
        text = f"{title}\n\n{text}"  # a title is part of what a document says, and often names what its text only calls "it"
    given = fields.first(row, fields.DOCUMENT_TIMES)
    moment = read_moment(given) if given is not None else None
    return DocumentRecord(
        document_id=qualify(origin.namespace, undated(ref)),
        namespace=origin.namespace,
        title=title or own or f"{origin.name} {number}",
        text=text,
        media_type="text/plain",
        published_at=moment.at if moment else None,
        zone=moment.zone if moment else None,
        time_source="document" if moment else "arrival",
        source_ref=ref,
    )
