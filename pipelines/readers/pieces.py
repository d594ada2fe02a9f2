"""A byte stream -> the bytes of its records: lines, or the elements of a JSON array, each at most `limit` bytes in memory.

JSON is cut by a bracket-and-string scanner, not parsed: elements are what lies between the commas at depth 1 (or, outside
an array, one top-level value after another). A streaming parser stops at the first mistake and cannot give a record's own
bytes back; here one broken element is one refused element, hashed as it was delivered, and the next one is found again. A raw
newline ends a string, so an unclosed quote costs the lines it touches and not the rest of the file. Cost: one pass,
about 20 MB/s for JSON and the disk's speed for lines. The one thing to know: a piece may be anything, even no JSON at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.readers.records import MIB, PAYLOAD_BYTES, Piece

OUTSIDE = re.compile(rb'["\[\]{},]')
INSIDE = re.compile(rb'["\\\n]')
SPACE = b" \t\r\n"


class Gathering:
    """The bytes of one record as they come in; beyond `limit` only their hash, count and first 64 KiB are kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept = bytearray()
        self.size = 0
        self.digest: hashlib.blake2b | None = None

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.digest is None and self.size <= self.limit:
            self.kept += chunk
            return
        if self.digest is None:
            self.digest = hashlib.blake2b(self.kept, digest_size=16)
        self.digest.update(chunk)
        if len(self.kept) < PAYLOAD_BYTES:
            self.kept += chunk[: PAYLOAD_BYTES - len(self.kept)]
        del self.kept[PAYLOAD_BYTES:]

    def overflow(self, piece: Piece) -> None:
        """Take in a piece that was too long itself: its own hash stands for its bytes."""
        self.limit = -1
        self.add(piece.raw + (piece.digest or "").encode())
        self.size += piece.size - len(piece.raw) - len(piece.digest or "")

    def piece(self, number: int, *, complete: bool = True) -> Piece:
        digest = self.digest.hexdigest() if self.digest else None
        return Piece(number, bytes(self.kept), self.size, digest, complete)


def whole(stream: BinaryIO, limit: int, number: int = 1, *, head: bytes = b"") -> Piece:
    """Everything that is left in `stream` as one piece, after `head` which was read before."""
    gathering = Gathering(limit)
    gathering.add(head)
    while chunk := stream.read(MIB):
        gathering.add(chunk)
    return gathering.piece(number)


def lines(stream: BinaryIO, limit: int) -> Iterator[Piece]:
    """One piece a line, its newline included, numbered from 1."""
    number = 0
    while chunk := stream.readline(MIB):
        number += 1
        gathering = Gathering(limit)
        gathering.add(chunk)
        while not chunk.endswith(b"\n") and (chunk := stream.readline(MIB)):
            gathering.add(chunk)
        yield gathering.piece(number)


def json_values(stream: BinaryIO, limit: int) -> Iterator[Piece]:
    """Elements of the array that `stream` holds, or its top-level values one after another; numbered from 1.

    A last piece with `complete=False` (perhaps empty) says that the stream ended inside the array or a value.
    """
    scanner = _Scanner(limit)
    while chunk := stream.read(MIB):
        yield from scanner.feed(chunk)
    yield from scanner.close()


class _Scanner:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.base: int | None = (
            None  # depth at which elements lie: 1 in an array, 0 outside; unknown before the first byte
        )
        self.depth = 0
        self.in_string = False
        self.escaped = False
        self.number = 0
        self.current = Gathering(limit)

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        start = 0
        if self.base is None:
            start = len(chunk) - len(chunk.lstrip(SPACE))
            if start == len(chunk):
                return
            self.base = 1 if chunk[start : start + 1] == b"[" else 0
            self.depth = self.base
            start += self.base
        at = start
        while True:
            at, ends, skip = self._next(chunk, at)
            if at < 0:
                break
            if ends:
                self._take(chunk[start : at - skip])
                yield from self._flush()
                start = at
        self._take(chunk[start:])

    def _next(self, chunk: bytes, at: int) -> tuple[int, bool, int]:
        """The position after the next token, whether an element ends there, and whether the token is not part of it."""
        if self.escaped and at < len(chunk):
            self.escaped = False
            return at + 1, False, 0
        match = (INSIDE if self.in_string else OUTSIDE).search(chunk, at)
        if match is None:
            return -1, False, 0
        token, end = match.group(), match.end()
        if self.in_string:
            self.escaped = token == b"\\"
            self.in_string = self.escaped
            return end, False, 0
        return end, *self._structure(token)

    def _structure(self, token: bytes) -> tuple[bool, int]:
        if token == b'"':
            self.in_string = True
        elif token in b"[{":
            self.depth += 1
        elif token in b"]}":
            self.depth -= 1
            if self.base == 1 and self.depth == 0:  # the array is closed; whatever follows is top-level
                self.base = 0
                return True, 1
            self.depth = max(self.depth, self.base or 0)
            return self.base == 0 and self.depth == 0, 0
        elif self.base == 1 and self.depth == 1:
            return True, 1
        return False, 0

    def _take(self, part: bytes) -> None:
        if self.current.size == 0:
            part = part.lstrip(SPACE)
        if part:
            self.current.add(part)

    def _flush(self) -> Iterator[Piece]:
        if self.current.size:
            self.number += 1
            yield self.current.piece(self.number)
            self.current = Gathering(self.limit)

    def close(self) -> Iterator[Piece]:
        """What is left: nothing, a value that needs no bracket, or the part of a value that the stream broke off in."""
        if not self.in_string and self.depth == (self.base or 0):
            yield from self._flush()
            if self.base != 1:
                return
        yield self.current.piece(self.number + 1, complete=False)
