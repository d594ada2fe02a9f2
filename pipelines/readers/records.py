"""What reading yields: turns, documents and refusals, and the parameters that decide how a file is read.

One record of a file becomes exactly one of the three, so that read = written + quarantined can be checked by counting.
Inside the readers a record travels as a `Candidate` together with the raw form it came from: the last step, which finds
duplicates and text that cannot be stored, needs the raw form to quarantine it. The one thing to know: `payload` is cut at
64 KiB, `payload_hash` and `payload_bytes` are those of the whole record.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

PAYLOAD_BYTES = 64 * 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReadParams:
    """How files are read; part of the identity of what is read. Sizes in bytes.

    `kind` forces tables whose rows could be both to messages or documents; `namespace` overrides every namespace that
    the data or the file name would give. `max_unpacked_ratio` is unpacked : packed, counted from 1 MiB upwards.
    """

    kind: Literal["auto", "conversation", "document"] = "auto"
    namespace: str | None = None
    max_record_bytes: int = 64 * MIB
    max_unpacked_ratio: int = 200
    max_unpacked_bytes: int = 8 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One message. `said_at` is aware (UTC) and None exactly when `time_source` is "arrival"."""

    turn_id: str
    namespace: str
    conversation_id: str
    session_id: str
    turn_no: int
    speaker: str
    role: str
    said_at: datetime | None
    zone: str | None
    time_source: Literal["turn", "session", "arrival"]
    text: str
    source_ref: str


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One document. `text` is what the spans of its units refer to, in characters."""

    document_id: str
    namespace: str
    title: str
    text: str
    media_type: str
    published_at: datetime | None
    zone: str | None
    time_source: Literal["document", "arrival"]
    source_ref: str


@dataclass(frozen=True, slots=True)
class Refused:
    """One record that cannot be used: where it lies, what is wrong and what to do, and its first 64 KiB."""

    namespace: str
    source_ref: str
    reason: str
    payload: bytes
    payload_hash: str
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of one record. `digest` is set where it was too long to keep: then `raw` is only its first 64 KiB."""

    number: int
    raw: bytes
    size: int
    digest: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A readable record, the raw form it came from, and the place to name if it is refused after all."""

    record: TurnRecord | DocumentRecord
    raw: object
    place: str


DAY_FOLDER = re.compile(r"(^|/)day=\d{4}-\d{2}-\d{2}/")


def undated(ref: str) -> str:
    """A path without its `day=YYYY-MM-DD` folder: the same file delivered on another day is the same document or session."""
    return DAY_FOLDER.sub(r"\1", ref)


@dataclass(frozen=True, slots=True)
class Origin:
    """The file (or member of an archive) that records come from. `name` carries the suffix, `ref` the path."""

    ref: str
    name: str
    corpus: str
    params: ReadParams

    @property
    def namespace(self) -> str:
        """The namespace of whatever does not say its own."""
        return self.params.namespace or self.corpus

    def refuse(self, reason: str, raw: object, place: str | None = None, namespace: str | None = None) -> Refused:
        """A `Refused` for `raw`: a Piece, bytes, or any JSON value (then its JSON is the payload).

        `place` is the file where it is not given, `namespace` the file's.
        """
        piece = raw if isinstance(raw, Piece) else None
        whole = piece.raw if piece else _as_bytes(raw)
        return Refused(
            namespace=storable(namespace or self.namespace),
            source_ref=storable(self.ref if place is None else place),
            reason=storable(reason),
            payload=whole[:PAYLOAD_BYTES],
            payload_hash=(piece.digest if piece else None) or hash_bytes(whole),
            payload_bytes=piece.size if piece else len(whole),
        )


def hash_bytes(raw: bytes) -> str:
    """128-bit BLAKE2b of some bytes, 32 hex digits."""
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def storable(text: str) -> str:
    """Text that Arrow can hold: lone surrogates (from odd file names or damaged bytes) are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _as_bytes(raw: object) -> bytes:
    if isinstance(raw, bytes):
        return raw
    try:
        return json.dumps(raw, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):  # nested too deep, or a cycle: its type must do
        return f"<{type(raw).__name__}>".encode()
