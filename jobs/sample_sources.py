"""A bounded sample of source files: a few pieces of each large file, a few files of each kind, read by the real readers.

Files are put into strata by suffix. Each stratum gets its share of the bytes, spread over up to 16 of its files, evenly by name;
of a file of lines four windows are taken, of an archive or a compressed stream the beginning, of Parquet the first rows, of a
document the whole. What is read stands for the rest of its stratum in proportion to bytes. Cost: about a second a MiB of
text. The one thing to know: a file is taken to be like the parts of it that were read.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers import DocumentRecord, ReadParams, SourceFile, TurnRecord, read_source
from pipelines.readers.archives import BROKEN, decompressing, inner_name
from pipelines.readers.sources import open_source

SAMPLE_BYTES = 2 << 20
SMALLEST = 128 << 10  # of a file or a stratum: below that a prefix says too little
FILES_PER_KIND = 16
WINDOWS = 4
WHOLE_BYTES = 8 << 20  # a document up to this is read whole, a longer one counts by its bytes alone
LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
STREAMS = {".gz": "gzip", ".tgz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}
PREFIXES = (".json", ".txt", ".log", ".md", ".tar", ".mbox", "")  # whose beginning can be read by itself


@dataclass
class Stratum:
    """Files of one suffix: how many, how large, and what was read of `sampled` of them, `read` bytes of the delivered ones."""

    kind: str
    files: int = 0
    bytes: int = 0
    sampled: int = 0
    read: int = 0
    records: list[TurnRecord | DocumentRecord] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0

    @property
    def weight(self) -> float:
        """How often the sample fits into the stratum, 1 when all was read; 0 when nothing could be."""
        return self.bytes / self.read if self.read else 0.0


def take_sample(sources: Sequence[SourceFile], params: ReadParams, budget: int = SAMPLE_BYTES) -> list[Stratum]:
    """Strata of `sources`, each with the records of about its share of `budget` bytes. Writes to a temporary folder only."""
    by_kind: dict[str, list[tuple[SourceFile, int]]] = defaultdict(list)
    for source in sources:
        by_kind[_suffix(source)].append((source, size_of(source)))
    total = sum(size for files in by_kind.values() for _, size in files)
    with tempfile.TemporaryDirectory(prefix="engraph-sample-") as folder:
        return [
            _sampled(
                kind, files, params, max(SMALLEST, budget * sum(s for _, s in files) // max(total, 1)), Path(folder)
            )
            for kind, files in sorted(by_kind.items())
        ]


def size_of(source: SourceFile) -> int:
    """Bytes of a file; 0 for what cannot be opened (reading it will refuse it by name)."""
    try:
        with open_source(source) as stream:
            return stream.seek(0, os.SEEK_END)
    except (OSError, ValueError):
        return 0


def _suffix(source: SourceFile) -> str:
    return PurePosixPath(source.source_ref).suffix.lower()


def _sampled(kind: str, files: list[tuple[SourceFile, int]], params: ReadParams, budget: int, folder: Path) -> Stratum:
    stratum = Stratum(kind, len(files), sum(size for _, size in files))
    whole = stratum.bytes <= budget
    step = 1 if whole else max(1, -(-len(files) // FILES_PER_KIND))
    chosen = files[::step]
    share = budget if whole else max(SMALLEST, budget // len(chosen))
    for number, (source, size) in enumerate(chosen):
        if not whole and stratum.read >= budget:
            break
        begun = time.perf_counter()
        found, taken = _records(source, size, share, params, folder / f"{kind.lstrip('.') or 'file'}-{number}")
        stratum.seconds += time.perf_counter() - begun
        if taken:
            stratum.sampled += 1
            stratum.read += taken
            kept = [r for r in found if isinstance(r, TurnRecord | DocumentRecord)]
            stratum.records += kept
            stratum.refused += len(found) - len(kept)
    return stratum


def _records(source: SourceFile, size: int, share: int, params: ReadParams, piece: Path) -> tuple[list, int]:
    """(what the reader finds in a piece of the file, bytes of the file that the piece stands for)."""
    kind = _suffix(source)
    if size <= share:
        return list(read_source(source, params)), size
    if kind == ".parquet":
        return _first_rows(source, size, share, params)
    if kind in LINES + PREFIXES:
        with open_source(source) as stream:
            piece.write_bytes(_windows(stream, size, share, kind) if kind in LINES else stream.read(share))
        taken = piece.stat().st_size
    elif kind in STREAMS:
        taken = _unpack(source, STREAMS[kind], 4 * share, piece)
        source = replace(source, source_ref=inner_name(source.source_ref))
    elif size <= WHOLE_BYTES:
        return list(read_source(source, params)), size
    else:
        return [], 0
    return _without_cut(list(read_source(replace(source, path=str(piece)), params))), taken


def _without_cut(found: list) -> list:
    """A prefix ends inside a record: what is refused at its end is our doing."""
    return found[:-1] if found and not isinstance(found[-1], TurnRecord | DocumentRecord) else found


def _windows(stream: BinaryIO, size: int, share: int, kind: str) -> bytes:
    """Whole lines from `WINDOWS` places of the file, after the header where there is one."""
    out = io.BytesIO()
    if kind in (".csv", ".tsv"):
        out.write(stream.readline())
    for number in range(WINDOWS):
        start = size * number // WINDOWS
        if number or out.tell() == 0:
            stream.seek(start)
        if number:
            stream.readline()
        out.write(stream.read(share // WINDOWS))
        out.write(stream.readline())
    return out.getvalue()


def _unpack(source: SourceFile, form: str, most: int, piece: Path) -> int:
    """Unpack the first `most` bytes; returns how many packed bytes they took, at least 1."""
    with open_source(source) as packed, piece.open("wb") as out:
        try:
            with decompressing(packed, form) as stream:
                while out.tell() < most and (chunk := stream.read(64 << 10)):
                    out.write(chunk)
                return max(packed.tell(), 1)
        except BROKEN:
            return max(packed.tell(), 1) if out.tell() else 0


def _first_rows(source: SourceFile, size: int, share: int, params: ReadParams) -> tuple[list, int]:
    """The first rows of a Parquet file, as many as their share of its bytes."""
    try:
        with open_source(source) as stream:
            rows = pq.ParquetFile(stream).metadata.num_rows
    except (pa.ArrowException, OSError, ValueError):
        return [], 0
    wanted = max(1, rows * share // size // 2)  # its columns unpack to a multiple of their bytes
    found = list(islice(read_source(source, params), wanted))
    return found, max(1, size * min(len(found), rows) // max(rows, 1))
