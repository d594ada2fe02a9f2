"""The bytes of one file or archive member, which can be opened again, and the spool that unpacked bytes go to.

A spool stays in memory up to 16 MiB and is an unnamed temporary file beyond, so no member of an archive ever gets a path
on disk. The one thing to know: a blob's `open` may be called many times, but only one of its streams may be in use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from pipelines.readers.records import MIB
from schemas.errors import InvalidRecord

HEAD_BYTES = 64 * 1024
SPOOL_BYTES = 16 * MIB
COPY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Blob:
    """`ref` is the place in ids, `name` the file name whose suffix may be looked at, `size` bytes."""

    ref: str
    name: str
    size: int
    open: Callable[[], AbstractContextManager[BinaryIO]]

    def head(self) -> bytes:
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    @property
    def suffix(self) -> str:
        return "." + self.name.rpartition(".")[2].lower() if "." in self.name else ""

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name


def spool() -> IO[bytes]:
    """An empty place for bytes that are made while reading."""
    return tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)


def spooled(file: IO[Any], ref: str, name: str) -> Blob:
    """A blob over a filled spool; opening it rewinds."""
    size = file.seek(0, 2)

    @contextmanager
    def rewind() -> Iterator[BinaryIO]:
        file.seek(0)
        yield cast(BinaryIO, file)

    return Blob(ref, name, size, rewind)


class Budget:
    """Bytes that may still be unpacked from one delivered file, all levels of nesting together.

    What a refused member had unpacked is given back, so that one bomb does not cost its neighbours; only as much as the whole
    budget is ever given back, so that a thousand bombs do not cost an hour.
    """

    def __init__(self, total: int) -> None:
        self.left = total
        self.refunds = total

    def copy(self, stream: BinaryIO, target: IO[bytes], limit: int) -> None:
        """Copy `stream` to `target`. Raises `InvalidRecord` as soon as it is longer than `limit` or the budget."""
        room, copied = min(limit, self.left), 0
        read = getattr(stream, "read1", stream.read)  # read1 gives what there is before a break, read loses it
        while chunk := read(COPY_BYTES):
            copied += len(chunk)
            if copied > room:
                self._give_back(copied)
                raise InvalidRecord(
                    f"unpacks to more than {room:,} bytes, which looks like a decompression bomb: "
                    "unpack it yourself and deliver the files, or raise the unpacking limits"
                )
            target.write(chunk)
        self.left -= copied

    def _give_back(self, copied: int) -> None:
        self.left -= max(copied - self.refunds, 0)
        self.refunds = max(self.refunds - copied, 0)


def unpacked_limit(packed: int, ratio: int) -> int:
    """How far `packed` bytes may grow: the ratio counts from 1 MiB on, small repetitive files are no bombs."""
    return max(packed * ratio, MIB)
