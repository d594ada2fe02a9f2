"""The names under which sources keep the same thing, and how a value becomes a text or an id.

The first name that is there and says something wins, in the order written here. Everything else in a record (labels,
answers, scores, pictures) is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.readers.dates import is_given
from schemas.errors import InvalidRecord

TEXTS = ("text", "content", "message", "value")
SPEAKERS = ("speaker", "name", "author")
ROLE_NAMES = ("role", "from")
NAMESPACES = ("namespace", "user", "user_id")
CONVERSATIONS = ("conversation_id",)
SESSIONS = ("session_id",)
TURN_IDS = ("turn_id", "message_id", "dia_id", "id")
TURN_TIMES = ("said_at", "timestamp", "time", "created_at", "create_time", "date")
TITLES = ("title",)
DOCUMENT_IDS = ("document_id", "id", "url")
DOCUMENT_TIMES = ("published_at", "published", "date", "created_at", "timestamp")
_GROUPS = (TEXTS, SPEAKERS, ROLE_NAMES, NAMESPACES, CONVERSATIONS, SESSIONS, TURN_IDS, TURN_TIMES, TITLES, DOCUMENT_IDS)
COLUMNS = frozenset(name for group in (*_GROUPS, DOCUMENT_TIMES, ("blip_caption",)) for name in group)
ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "ai": "assistant", "bot": "assistant",
    "model": "assistant", "system": "system", "developer": "system", "tool": "tool", "function": "tool",
    "observation": "tool",
}  # fmt: skip


def first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of these fields that is there and not blank, or None."""
    for name in names:
        if is_given(value := record.get(name)):
            return value
    return None


def identifier(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these fields as an id. Raises `InvalidRecord` where it is no string or number."""
    value = first(record, names)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidRecord(f"field {next(n for n in names if n in record)!r} must be a string or a number to be an id")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def plain_text(value: Any) -> str:
    """A text, a list of parts that have texts, or an object with `text` or `parts`; "" for what has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "\n".join(text for part in value if (text := plain_text(part)))
    if isinstance(value, Mapping):
        return plain_text(first(value, ("text", "parts")))
    if value is None:
        return ""
    raise InvalidRecord(f"the text is a {type(value).__name__}, not a string: quote it")


def speaker_and_role(record: Mapping[str, Any]) -> tuple[str, str]:
    """Who spoke, and as what: user, assistant, system, tool, or speaker where the role is none of these."""
    author = record.get("author")
    if isinstance(author, Mapping):
        record = {**record, "author": author.get("name"), "role": first(record, ROLE_NAMES) or author.get("role")}
    said_role, name = identifier(record, ROLE_NAMES), identifier(record, SPEAKERS)
    role = ROLES.get((said_role or name or "").lower(), "speaker")
    return name or (role if role != "speaker" else said_role) or identifier(record, NAMESPACES) or "speaker", role
