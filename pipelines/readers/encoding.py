"""Text in whatever encoding -> a blob in UTF-8.

In this order: a byte order mark; NULs in every other byte (UTF-16 without a mark); valid UTF-8; the charset that HTML or XML
declares; Windows-1252 where the high bytes look like Western letters alone among ASCII; charset-normalizer where there is
enough to judge by (at least 24 high bytes). A file with more valid than invalid sequences is damaged UTF-8: it stays as it
is and only the records with the damage are refused. Cost: one pass at about 1 GB/s for UTF-8, which is not copied.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from charset_normalizer import from_bytes

from pipelines.readers.blobs import Blob, spool, spooled
from pipelines.readers.records import MIB
from schemas.errors import InvalidRecord

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DECLARED = re.compile(
    rb"""<(?:meta[^>]{0,200}charset|\?xml[^>]{0,100}encoding)\s*=\s*["']?([\w-]{2,30})""", re.IGNORECASE
)
WESTERN = set("‘’“”‚„–—…•€£§°«»·´¡¿ºª©®™ŠšŽžŒœŸß\xa0\xad") | {
    chr(c) for c in range(0xC0, 0xFF) if chr(c) not in "×÷ÞþÐð"
}
HIGH = re.compile(r"[^\x00-\x7f]+")
ESCAPED = re.compile("[\udc80-\udcff]")  # how surrogateescape shows bytes that are not UTF-8
SURVEY_CHARACTERS = 1_000_000
SAMPLE_BYTES = 64 * 1024
ENOUGH_TO_JUDGE = 24


@contextmanager
def as_utf8(blob: Blob) -> Iterator[Blob]:
    """The blob without its mark, transcoded if needed. Raises `InvalidRecord` for UTF-16/32 that breaks off."""
    encoding, skip = _encoding(blob)
    if encoding == "utf-8":
        yield _after(blob, skip) if skip else blob
        return
    with spool() as target:
        with blob.open() as stream:
            _transcode(stream, target, encoding)
        yield spooled(target, blob.ref, blob.name)


def looks_wide(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of ASCII text is NUL. None for anything else."""
    pairs = len(head) // 2
    if pairs < 2:
        return None
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if even == 0 and odd > 0.7 * pairs:
        return "utf-16-le"
    return "utf-16-be" if odd == 0 and even > 0.7 * pairs else None


def has_mark(head: bytes) -> bool:
    """Whether a byte order mark says that this is text."""
    return any(head.startswith(mark) for mark, _ in MARKS)


def _encoding(blob: Blob) -> tuple[str, int]:
    head = blob.head()
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if wide := looks_wide(head):
        return wide, 0
    if _decodes(blob, "utf-8"):
        return "utf-8", 0
    declared = DECLARED.search(head[:4096])
    if declared and _decodes(blob, declared[1].decode("ascii", "replace")):
        return declared[1].decode(), 0
    guess = _guess(blob)
    return (guess, 0) if guess and _decodes(blob, guess) else ("utf-8", 0)


def _decodes(blob: Blob, encoding: str) -> bool:
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        with blob.open() as stream:
            while chunk := stream.read(MIB):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except (UnicodeError, LookupError, TypeError):  # TypeError: a codec that is no text encoding (base64)
        return False
    return True


def _guess(blob: Blob) -> str | None:
    valid, invalid, sample = _survey(blob)
    if valid >= invalid:
        return None
    if _looks_western(sample):
        return "cp1252"
    best = from_bytes(sample).best() if invalid >= ENOUGH_TO_JUDGE else None
    return best.encoding if best is not None and best.coherence > 0 else None


def _survey(blob: Blob) -> tuple[int, int, bytes]:
    """Counts of valid and invalid non-ASCII characters as UTF-8, and the first lines that have any."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    valid = invalid = 0
    sample = bytearray()
    with blob.open() as stream:
        while valid + invalid < SURVEY_CHARACTERS and (chunk := stream.read(MIB)):
            runs = HIGH.findall(decoder.decode(chunk))
            bad = len(ESCAPED.findall("".join(runs)))
            invalid += bad
            valid += sum(map(len, runs)) - bad
            if bad and len(sample) < SAMPLE_BYTES:
                odd = b"\n".join(line for line in chunk.splitlines() if not line.isascii())
                sample += odd[: SAMPLE_BYTES - len(sample)]
    return valid, invalid, bytes(sample)


def _looks_western(sample: bytes) -> bool:
    """High letters stand mostly alone in Western words; in Cyrillic or Greek read as Windows-1252 they stand in runs."""
    try:
        runs = HIGH.findall(sample.decode("cp1252"))
    except UnicodeDecodeError:
        return False
    high = "".join(runs)
    western = sum(c in WESTERN for c in high)
    return bool(high) and western >= 0.95 * len(high) and len(high) <= 1.6 * len(runs)


def _transcode(stream: BinaryIO, target: IO[bytes], encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        while chunk := stream.read(MIB):
            target.write(decoder.decode(chunk).encode("utf-8", "replace"))
        target.write(decoder.decode(b"", final=True).encode("utf-8", "replace"))
    except UnicodeError as error:
        raise InvalidRecord(f"is marked as {encoding} but cannot be decoded ({error}): save it as UTF-8") from error


def _after(blob: Blob, skip: int) -> Blob:
    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with blob.open() as stream:
            stream.seek(skip)
            yield stream

    return Blob(blob.ref, blob.name, blob.size - skip, opened)
