"""Rows of JSONL, JSON, CSV, TSV and Parquet -> values, with the bytes of every row at hand for the quarantine.

CSV follows RFC 4180 through the csv module in strict mode; a row that is broken is refused by its first line and reading goes
on at the next, so an unclosed quote costs one line. Parquet is read in batches of 256 rows, known columns only.
The one thing to know: JSON is parsed strictly first and with Python's parser where that fails, so NaN in a field that nobody
reads does not cost the record.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers import fields, pieces
from pipelines.readers.encoding import ESCAPED
from pipelines.readers.records import MIB, PAYLOAD_BYTES, Candidate, Origin, Piece, Refused
from pipelines.readers.shapes import ValueReader
from schemas.errors import InvalidRecord

Found = Iterator[Candidate | Refused]
BATCH_ROWS = 256
SHAPED = (
    "messages",
    "conversations",
    "haystack_sessions",
    "haystack_session_ids",
    "haystack_dates",
    "question_id",
    "chat_id",
)
DELIMITERS = (",", "\t", ";", "|")
csv.field_size_limit(
    64 * MIB
)  # process-wide, only ever wider: the default of 128 Ki characters refuses longer documents


def parse(raw: bytes) -> Any:
    """One JSON value. Raises `InvalidRecord` that says where it breaks."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRecord(f"byte {error.start} is not UTF-8 ({error.reason}): save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidRecord(f"broken JSON, {error}: mend it or deliver the file again") from error
    except ValueError as error:  # a number with thousands of digits
        raise InvalidRecord(f"broken JSON, {error}") from error
    except RecursionError as error:
        raise InvalidRecord("JSON nested too deep to be read: flatten it") from error


def json_lines(stream: BinaryIO, origin: Origin) -> Found:
    """One value a line; blank lines are nothing."""
    reader = ValueReader(origin)
    for piece in pieces.lines(stream, origin.params.max_record_bytes):
        if piece.raw.strip() or piece.digest:
            yield from _piece_records(reader, piece, f"{origin.ref}#{piece.number}", f"line {piece.number}")


def json_document(stream: BinaryIO, origin: Origin, *, in_array: bool) -> Found:
    """The elements of one array, or one value after another. The first of the latter has the file itself as its place."""
    reader = ValueReader(origin)
    for piece in pieces.json_values(stream, origin.params.max_record_bytes):
        place = f"{origin.ref}#{piece.number}" if in_array or piece.number > 1 else origin.ref
        yield from _piece_records(reader, piece, place, f"record {piece.number}")


def _piece_records(reader: ValueReader, piece: Piece, place: str, what: str) -> Found:
    limit = reader.origin.params.max_record_bytes
    if piece.digest:
        reason = f"{what} has {piece.size:,} bytes, more than the {limit:,} that a record may have: split it"
        yield reader.origin.refuse(reason, piece, place)
        return
    try:
        if not piece.complete:
            raise InvalidRecord(f"the JSON ends inside {what}: it was cut off, deliver the whole file again")
        value = parse(piece.raw)
    except InvalidRecord as problem:
        yield reader.origin.refuse(str(problem), piece, place)
        return
    yield from reader.records(value, piece.number, place)


def delimited(stream: BinaryIO, origin: Origin) -> Found:
    """CSV or TSV with a header; the delimiter is the one that shows most known column names."""
    rows = _CsvRows(stream, origin.params.max_record_bytes)
    head = next((line for line in rows.lines if line.raw.strip()), Piece(0, b"", 0))
    delimiter, header = _columns(head.raw.decode("utf-8", "replace"))
    if head.digest or not set(header) & {*fields.TEXTS, *SHAPED}:
        reason = f"no column named text, content or message among {header[:12]}: rename the one it is"
        yield origin.refuse(reason, head if head.digest else pieces.whole(stream, PAYLOAD_BYTES, head=head.raw))
        return
    reader = ValueReader(origin)
    for number, (cells, piece, problem) in enumerate(rows.read(delimiter), 1):
        place = f"{origin.ref}#{number}"
        if problem is None and len(cells) != len(header):
            problem = f"line {piece.number} has {len(cells)} fields, the header has {len(header)}: quote or complete it"
        if problem is None and not piece.raw.isascii() and ESCAPED.search("".join(cells)):
            problem = f"line {piece.number} has bytes that are not UTF-8: save the file as UTF-8"
        if problem:
            yield origin.refuse(problem, piece, place)
        else:
            yield from reader.records(dict(zip(header, (c or None for c in cells), strict=True)), number, place)


def header_of(stream: BinaryIO) -> tuple[str, list[str]]:
    """The delimiter and the lower-cased column names of a CSV or TSV."""
    return _columns(stream.readline(MIB).decode("utf-8", "replace"))


def _columns(line: str) -> tuple[str, list[str]]:
    best: tuple[int, str, list[str]] = (-1, ",", [])
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"').lower() for name in line.strip("\r\n").split(delimiter)]
        known = sum(name in fields.COLUMNS for name in names)
        best = max(best, (known, delimiter, names), key=lambda b: b[0])
    return best[1], best[2]


class _CsvRows:
    """Rows of CSV with the lines they came from; lines after the first of a broken row are read again."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self.lines = pieces.lines(stream, limit)
        self.limit = limit
        self.again: deque[Piece] = deque()
        self.taken: list[Piece] = []
        self.size = 0

    def _feed(self) -> Iterator[str]:
        while (line := self.again.popleft() if self.again else next(self.lines, None)) is not None:
            self.taken.append(line)
            self.size += line.size
            if line.digest or self.size > self.limit:
                raise csv.Error(f"more than {self.limit:,} bytes")
            yield line.raw.decode("utf-8", "surrogateescape")

    def read(self, delimiter: str) -> Iterator[tuple[list[str], Piece, str | None]]:
        while True:
            self.taken, self.size = [], 0
            try:
                cells = next(csv.reader(self._feed(), delimiter=delimiter, strict=True), None)
            except csv.Error as error:
                first, *others = self.taken
                self.again.extendleft(reversed(others))
                yield [], first, f"line {first.number} is broken CSV ({error}): close the quote or split the record"
                continue
            if cells is None:
                return
            if cells:
                raw = b"".join(line.raw for line in self.taken)
                yield cells, Piece(self.taken[0].number, raw, len(raw)), None


def parquet(stream: BinaryIO, origin: Origin) -> Found:
    """Rows of a Parquet file. What cannot be read from some batch on is one refusal, the batches before it stand."""
    reader, number = ValueReader(origin), 0
    try:
        file = pq.ParquetFile(stream)
        wanted = [name for name in file.schema_arrow.names if name.lower() in fields.COLUMNS | {*SHAPED}]
        if not {name.lower() for name in wanted} & {*fields.TEXTS, *SHAPED}:
            names = file.schema_arrow.names[:12]
            raise InvalidRecord(f"no column named text, content or message among {names}: rename the one it is")
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
            for row in _rows(batch):
                number += 1
                if isinstance(row, str):
                    yield origin.refuse(row, b"", f"{origin.ref}#{number}")
                    continue
                value = {name.lower(): cell for name, cell in row.items()}
                yield from reader.records(value, number, f"{origin.ref}#{number}")
    except InvalidRecord as problem:
        yield origin.refuse(str(problem), _whole_file(stream))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = f"damaged Parquet after row {number} ({str(error)[:200]}): write the file again"
        yield origin.refuse(reason, _whole_file(stream), f"{origin.ref}#{number + 1}")


def _rows(batch: pa.RecordBatch) -> list[dict | str]:
    """Rows as dicts, or what is wrong with a row that Python cannot hold (a year 30000)."""
    for at, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            micros = batch.column(at).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(at, field.name, micros)
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [_row(batch.slice(at, 1)) for at in range(batch.num_rows)]


def _row(batch: pa.RecordBatch) -> dict | str:
    try:
        return batch.to_pylist()[0]
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return f"a value that is out of range ({str(error)[:200]}): write dates between the years 1 and 9999"


def _whole_file(stream: BinaryIO) -> Piece:
    stream.seek(0)
    return pieces.whole(stream, PAYLOAD_BYTES)
