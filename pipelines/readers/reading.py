"""One source file -> records: open it, unpack it, let its content choose a reader, and settle what the reader finds.

Settling is the last step for every record: text that UTF-8 cannot hold is refused, an id seen before in the same delivered file
is refused as a duplicate (a set of 16-byte hashes: 16 MB for a million records), and a source_ref that the data uses twice for
different turns gives way to the turn's id. The one thing to know: nothing here raises for bad content, nor for a file that
cannot be opened; every such thing is a `Refused`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from pipelines.readers import archives, documents, pieces, tables
from pipelines.readers.blobs import Blob, Budget, unpacked_limit
from pipelines.readers.encoding import as_utf8
from pipelines.readers.naming import NO_READER, STREAMS, TABLES, content_name
from pipelines.readers.records import (
    PAYLOAD_BYTES,
    Candidate,
    DocumentRecord,
    Origin,
    ReadParams,
    Refused,
    TurnRecord,
)
from pipelines.readers.sniffing import binary_format, text_format
from pipelines.readers.sources import SourceFile, open_source
from schemas.errors import InvalidRecord

Found = Iterator[Candidate | Refused]
MAX_DEPTH = 3
LINE_READERS = {"jsonl": tables.json_lines, "csv": tables.delimited, "mbox": documents.mailbox}


def read_source(source: SourceFile, params: ReadParams) -> Iterator[TurnRecord | DocumentRecord | Refused]:
    """Every record of one file, in the file's order, each as a record or as a `Refused`. Streams; raises nothing.

    Memory: one record (at most `max_record_bytes` of input) and the hashes of the ids seen.
    """
    origin = Origin(source.source_ref, PurePosixPath(source.source_ref).name, source.corpus, params)
    yield from _settled(_read_file(source, origin), origin)


def reader_name(source: SourceFile, params: ReadParams) -> str:
    """The reader that the content chooses: `locomo`, `longmemeval`, `chat`, `sharegpt`, `message`, `document` for the first
    readable record of JSON, CSV and Parquet, the format for the rest (`markdown`, `pdf`, `zip` ...), or `none`."""
    origin = Origin(source.source_ref, PurePosixPath(source.source_ref).name, source.corpus, params)
    try:
        return content_name(_blob(source, origin), origin)
    except (InvalidRecord, OSError):
        return NO_READER


def _blob(source: SourceFile, origin: Origin) -> Blob:
    """The file as a blob. Raises `InvalidRecord` for folders, pipes and what cannot be opened."""
    advice = "check the path and its permissions, then deliver it again"

    try:
        if "://" not in source.path and not stat.S_ISREG(Path(source.path).stat().st_mode):
            raise InvalidRecord("an empty folder or no regular file: put files into it, or take it out")
        with open_source(source) as stream:
            size = stream.seek(0, os.SEEK_END)
    except (OSError, ValueError) as error:
        raise InvalidRecord(f"cannot be opened ({type(error).__name__}: {error}): {advice}") from error
    return Blob(origin.ref, origin.name, size, partial(open_source, source))


def _read_file(source: SourceFile, origin: Origin) -> Found:
    try:
        blob = _blob(source, origin)
    except InvalidRecord as problem:
        yield origin.refuse(str(problem), b"")
        return
    params = origin.params
    budget = Budget(min(unpacked_limit(blob.size, params.max_unpacked_ratio), params.max_unpacked_bytes))
    try:
        yield from _read_blob(blob, origin, budget, depth=0)
    except OSError as error:  # the disk or the network failed while reading
        yield origin.refuse(f"reading broke off ({error}): deliver it again", b"")


def _read_blob(blob: Blob, origin: Origin, budget: Budget, depth: int) -> Found:
    origin = replace(origin, ref=blob.ref, name=blob.name)
    try:
        head = blob.head()
        if not head.strip():
            raise InvalidRecord("an empty file: deliver it with content, or take it out")
        form = binary_format(blob, head)
        if form is None:
            with as_utf8(blob) as text:
                yield from _read_text(text, origin)
        elif form in (*STREAMS, "zip", "tar"):
            if depth == MAX_DEPTH:
                raise InvalidRecord(f"archives nested more than {MAX_DEPTH} deep: unpack them and deliver the files")
            yield from (_read_stream if form in STREAMS else _read_members)(blob, origin, budget, depth, form)
        elif form == "parquet":
            with blob.open() as stream:
                yield from tables.parquet(stream, origin)
        else:
            yield _document(blob, origin, form)
    except InvalidRecord as problem:
        yield _refuse_blob(blob, origin, str(problem))


def _refuse_blob(blob: Blob, origin: Origin, reason: str) -> Refused:
    with blob.open() as stream:
        return origin.refuse(reason, pieces.whole(stream, PAYLOAD_BYTES))


def _read_text(blob: Blob, origin: Origin) -> Found:
    form = text_format(blob, blob.head())
    if form not in (*TABLES, "mbox"):
        yield _document(blob, origin, form)
        return
    in_array = blob.head().lstrip()[:1] == b"["
    with blob.open() as stream:
        if form == "json":
            yield from tables.json_document(stream, origin, in_array=in_array)
        else:
            yield from LINE_READERS[form](stream, origin)


def _document(blob: Blob, origin: Origin, form: str) -> Candidate | Refused:
    if origin.params.kind == "conversation":
        raise InvalidRecord(f"a document ({form}), but conversations were asked for: use --kind document or auto")
    return documents.document(blob, origin, form)


def _read_stream(blob: Blob, origin: Origin, budget: Budget, depth: int, form: str) -> Found:
    with archives.decompressed(blob, form, budget, origin.params) as (inner, problem):
        if problem is None:
            yield from _read_blob(inner, origin, budget, depth + (not inner.name.endswith(".tar")))
            return
        if inner.size and _survives_a_cut(inner):
            yield from _read_blob(inner, origin, budget, depth + 1)
        yield _refuse_blob(blob, origin, problem)


def _survives_a_cut(blob: Blob) -> bool:
    """Only JSON shows by itself where it was cut; half a CSV row or half a document would pass for a whole one."""
    try:
        return binary_format(blob, blob.head()) is None and text_format(blob, blob.head()) in ("json", "jsonl")
    except InvalidRecord:
        return False


def _read_members(blob: Blob, origin: Origin, budget: Budget, depth: int, form: str) -> Found:
    members = archives.zip_members if form == "zip" else archives.tar_members
    count = 0
    for ref, member in members(blob, budget, origin.params):
        count += 1
        if isinstance(member, InvalidRecord):
            yield origin.refuse(str(member), ref.encode("utf-8", "replace"), ref)
        else:
            yield from _read_blob(member, origin, budget, depth + 1)
    if not count:
        raise InvalidRecord("an archive without files: put files into it, or take it out")


def _settled(found: Found, origin: Origin) -> Iterator[TurnRecord | DocumentRecord | Refused]:
    ids: set[bytes] = set()
    refs: set[bytes] = set()
    for item in found:
        if isinstance(item, Refused):
            yield item
            continue
        record = item.record
        name = record.turn_id if isinstance(record, TurnRecord) else record.document_id
        if not _fits_utf8(record):
            problem = "has characters that are none (lone surrogates): mend the text"
        elif (key := _key(name)) in ids:
            problem = f"duplicate id {name}: give every record its own"
        else:
            ids.add(key)
            yield _with_own_ref(record, refs)
            continue
        yield origin.refuse(problem, item.raw, item.place, record.namespace)


def _with_own_ref(record: TurnRecord | DocumentRecord, refs: set[bytes]) -> TurnRecord | DocumentRecord:
    """The record; a turn whose source_ref another turn of the file has already gets its turn_id as source_ref."""
    if isinstance(record, TurnRecord) and record.source_ref != record.turn_id:
        key = _key(record.source_ref)
        if key in refs:
            return replace(record, source_ref=record.turn_id)
        refs.add(key)
    return record


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _fits_utf8(record: TurnRecord | DocumentRecord) -> bool:
    """Whether Arrow can hold all texts of the record: JSON may escape half of a surrogate pair."""
    if isinstance(record, TurnRecord):
        texts = (record.text, record.turn_id, record.source_ref, record.speaker, record.namespace)
    else:
        texts = (record.text, record.document_id, record.source_ref, record.title, record.namespace)
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
