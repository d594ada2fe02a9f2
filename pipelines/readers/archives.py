"""Compressed files and archives -> the blobs inside them, within a budget.

gzip, bzip2, xz, zstd (one stream: keeps the name of the file), zip and tar (`archive.zip/inner/path` each). Nothing is written
under a member's name; a member is spooled, read and dropped before the next. Limits stop bombs: unpacked : packed per member,
bytes and ratio for the whole delivery, three levels of nesting. A stream that breaks off yields what was unpacked, marked.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

import pyarrow as pa

from pipelines.readers.blobs import Blob, Budget, spool, spooled, unpacked_limit
from pipelines.readers.records import MIB, ReadParams, storable
from schemas.errors import InvalidRecord

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, ValueError)
STREAM_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".tgz", ".tbz", ".tbz2", ".txz")


def decompressing(stream: BinaryIO, form: str) -> BinaryIO:
    """The stream inside a compressed stream. Reading it raises one of `BROKEN` where it is damaged."""
    if form == "zstd":
        return cast(BinaryIO, pa.CompressedInputStream(stream, "zstd"))
    if form == "gzip":
        return cast(BinaryIO, gzip.open(stream, "rb"))
    return cast(BinaryIO, bz2.open(stream, "rb") if form == "bzip2" else lzma.open(stream, "rb"))


def inner_name(name: str) -> str:
    """`chat.jsonl.gz` -> `chat.jsonl`, `all.tgz` -> `all.tar`."""
    for suffix in STREAM_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] + (".tar" if suffix.startswith(".t") else "")
    return name


@contextmanager
def decompressed(blob: Blob, form: str, budget: Budget, params: ReadParams) -> Iterator[tuple[Blob, str | None]]:
    """The one stream inside, and what was wrong with it (then the blob holds what came before the break)."""
    problem = None
    with spool() as target:
        with blob.open() as packed:
            try:
                with decompressing(packed, form) as stream:
                    budget.copy(stream, target, unpacked_limit(blob.size, params.max_unpacked_ratio))
            except BROKEN as error:
                problem = f"damaged {form} stream ({error}): deliver the file again"
        yield spooled(target, blob.ref, inner_name(blob.name)), problem


def zip_members(blob: Blob, budget: Budget, params: ReadParams) -> Iterator[tuple[str, Blob | InvalidRecord]]:
    """Every file in a zip by its place, or why it cannot be read. Raises `InvalidRecord` for a damaged directory."""
    with blob.open() as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise InvalidRecord(f"a damaged zip file ({error}): deliver it again") from error
        with archive:
            for info in archive.infolist():
                if info.is_dir() or _hidden(info.filename):
                    continue
                ref = storable(f"{blob.ref}/{info.filename}")
                with spool() as target:
                    try:
                        _fill_from_zip(archive, info, target, budget, params)
                        yield ref, spooled(target, ref, PurePosixPath(info.filename).name)
                    except InvalidRecord as problem:
                        yield ref, problem


def _fill_from_zip(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: IO[bytes], budget: Budget, params: ReadParams
) -> None:
    _check_name(info.filename)
    if info.flag_bits & 1:
        raise InvalidRecord("protected by a password: deliver the archive without one")
    try:
        with archive.open(info) as member:
            budget.copy(cast(BinaryIO, member), target, unpacked_limit(info.compress_size, params.max_unpacked_ratio))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, *BROKEN) as error:
        raise InvalidRecord(f"a damaged member of a zip file ({error}): deliver the archive again") from error


def tar_members(blob: Blob, budget: Budget, params: ReadParams) -> Iterator[tuple[str, Blob | InvalidRecord]]:
    """Every file in a tar by its place, or why it cannot be read; the last may say that the archive breaks off."""
    with blob.open() as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isdir() or _hidden(member.name):
                        continue
                    ref = storable(f"{blob.ref}/{member.name}")
                    with spool() as target:
                        try:
                            _fill_from_tar(archive, member, target, budget)
                            yield ref, spooled(target, ref, PurePosixPath(member.name).name)
                        except InvalidRecord as problem:
                            yield ref, problem
        except (tarfile.TarError, *BROKEN) as error:
            yield blob.ref, InvalidRecord(f"a damaged tar archive ({error}): deliver it again")


def _fill_from_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, target: IO[bytes], budget: Budget) -> None:
    _check_name(member.name)
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise InvalidRecord("a link or a device, not a file: put the file itself into the archive")
    with content:
        budget.copy(cast(BinaryIO, content), target, max(member.size, MIB))


def _hidden(name: str) -> bool:
    return any(
        (part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in PurePosixPath(name).parts
    )


def _check_name(name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or name[1:2] == ":":
        raise InvalidRecord(f"the name {name[:200]!r} leads out of the archive: pack it with relative names")
