"""The name of the reader that a file's content chooses, for the `sources` table.

For JSON, CSV and Parquet it is the shape of the first record that has one, among the first hundred; of a compressed file
16 MiB are unpacked at most. The one thing to know: a name is a label, reading decides anew, record by record.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers import archives, pieces, tables
from pipelines.readers.blobs import Blob, spool, spooled
from pipelines.readers.encoding import as_utf8
from pipelines.readers.records import MIB, Origin
from pipelines.readers.shapes import shape_of
from pipelines.readers.sniffing import binary_format, text_format
from schemas.errors import InvalidRecord

STREAMS = ("gzip", "bzip2", "xz", "zstd")
TABLES = ("jsonl", "json", "csv", "parquet")
NO_READER = "none"
PREFIX_BYTES = 16 * MIB
TRIES = 100


def content_name(blob: Blob, origin: Origin) -> str:
    """See `reading.reader_name`. Raises `InvalidRecord` for what no reader takes."""
    head = blob.head()
    if not head.strip():
        return NO_READER
    form = binary_format(blob, head)
    if form in STREAMS:
        return _inner_name(blob, form, origin)
    if form == "parquet":
        return _first_shape(_parquet_keys(blob), origin, form)
    if form is not None:
        return form
    with as_utf8(blob) as text:
        form = text_format(text, text.head())
        return _first_shape(_values(text, origin, form), origin, form) if form in TABLES else form


def _inner_name(blob: Blob, form: str, origin: Origin) -> str:
    with spool() as target:
        with blob.open() as packed:
            try:
                with archives.decompressing(packed, form) as stream:
                    target.write(stream.read(PREFIX_BYTES))
            except archives.BROKEN:
                return NO_READER
        return content_name(spooled(target, blob.ref, archives.inner_name(blob.name)), origin)


def _first_shape(values: Iterator[Any], origin: Origin, form: str) -> str:
    for value in islice(values, TRIES):
        try:
            return shape_of(value, origin.params.kind)
        except InvalidRecord:
            continue
    return form


def _values(blob: Blob, origin: Origin, form: str) -> Iterator[Any]:
    with blob.open() as stream:
        if form == "csv":
            yield dict.fromkeys(tables.header_of(stream)[1], "")
            return
        cut = pieces.lines if form == "jsonl" else pieces.json_values
        for piece in cut(stream, origin.params.max_record_bytes):
            try:
                yield tables.parse(piece.raw)
            except InvalidRecord:
                continue


def _parquet_keys(blob: Blob) -> Iterator[Any]:
    with blob.open() as stream:
        try:
            yield {name.lower(): "" for name in pq.ParquetFile(stream).schema_arrow.names}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidRecord(f"damaged Parquet ({error}): write the file again") from error
