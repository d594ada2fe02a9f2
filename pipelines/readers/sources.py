"""Files, folders, globs and URLs -> a sorted list of files to read.

Everything goes through fsspec, so a source is a path of this machine or a URL (`memory://`, `s3://`). Folders are walked to
the bottom; hidden files and what lies in hidden folders are skipped; links to folders are not followed. `source_ref` is
the path relative to the source that was given. The one thing to know: a folder named `day=YYYY-MM-DD` is never the root,
so a night that delivers `corpus/day=2024-01-02` names its records as one build over `corpus` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipelines.readers.records import MIB, storable
from schemas.errors import UsageError

MAGIC = re.compile(r"[*?\[]")
DAY = re.compile(r"day=(\d{4}-\d{2}-\d{2})")
ADVICE = "give a file, a folder, a quoted glob such as 'data/**/*.jsonl' or a URL"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read: where it is, its path relative to the source given, the corpus it belongs to, its day if any."""

    path: str
    source_ref: str
    corpus: str
    day: date | None


def find_sources(patterns: Sequence[str]) -> list[SourceFile]:
    """All files of the given files, folders, globs and URLs, each once, sorted by source_ref and path.

    Raises `UsageError` for a path that does not exist or a pattern that matches nothing. A folder without files is
    returned itself, so that reading it refuses it by name.
    """
    found: dict[str, SourceFile] = {}
    for pattern in patterns:
        for source in _expand(str(pattern)):
            found.setdefault(source.path, source)
    return sorted(found.values(), key=lambda s: (s.source_ref, s.path))


def open_source(source: SourceFile) -> AbstractContextManager[BinaryIO]:
    """The file's bytes, seekable. Raises OSError where there is no such file."""
    if "://" not in source.path:
        return Path(source.path).open("rb")
    return fsspec.open(source.path, "rb", expand=False).open()


def file_hash(source: SourceFile) -> str:
    """128-bit BLAKE2b of the file's bytes, 32 hex digits, read in chunks. Raises `UsageError` if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open_source(source) as stream:
            while chunk := stream.read(MIB):
                digest.update(chunk)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {source.path}: {error}; {ADVICE}") from error
    return digest.hexdigest()


def _expand(pattern: str) -> list[SourceFile]:
    fs, path = source_file_system(pattern)
    if fs.isfile(path):
        return [_source(fs, path, str(PurePosixPath(path).parent), _stem(path))]
    if fs.isdir(path):
        return _walk(fs, path, path)
    if not MAGIC.search(path):
        raise UsageError(f"source {pattern!r} does not exist: {ADVICE}")
    root = path[: MAGIC.search(path).start()].rpartition("/")[0]  # type: ignore[union-attr]
    matches = sorted(fs.glob(path))
    files = [s for match in matches for s in (_walk(fs, match, root) if fs.isdir(match) else _plain(fs, match, root))]
    if not files:
        raise UsageError(f"no file matches {pattern!r}: {ADVICE}")
    return files


def source_file_system(pattern: str) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a path, glob or URL, and what it calls it. Raises `UsageError` for a protocol nobody knows."""
    if "://" not in pattern:
        return LocalFileSystem(), LocalFileSystem._strip_protocol(pattern)
    try:
        return fsspec.core.url_to_fs(pattern)
    except (ValueError, ImportError) as error:
        raise UsageError(f"cannot open source {pattern!r}: {error}; {ADVICE}") from error


def _walk(fs: AbstractFileSystem, folder: str, root: str) -> list[SourceFile]:
    """Every visible file below `folder`; empty folders that are named like files (`x.json/`) stand for themselves."""
    entries = fs.find(folder, withdirs=True, detail=True)
    files = [path for path, info in entries.items() if info["type"] != "directory"]
    filled = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    named = [p for p, info in entries.items() if info["type"] == "directory" and PurePosixPath(p).suffix]
    hollow = [path for path in named if path.rstrip("/") not in filled and path.rstrip("/") != folder.rstrip("/")]
    found = [s for path in sorted([*files, *hollow]) for s in _plain(fs, path, root)]
    return found or _plain(fs, folder, root)


def _plain(fs: AbstractFileSystem, path: str, root: str) -> list[SourceFile]:
    top = _above_days(root)
    relative = path.removeprefix(top).lstrip("/")
    if any(part.startswith(".") for part in PurePosixPath(path.removeprefix(root)).parts):
        return []
    return [_source(fs, path, top, _stem(top), relative or PurePosixPath(path).name)]


def _source(fs: AbstractFileSystem, path: str, root: str, corpus: str, ref: str | None = None) -> SourceFile:
    address = path if isinstance(fs, LocalFileSystem) else fs.unstrip_protocol(path)
    return SourceFile(address, storable(ref or PurePosixPath(path).name), storable(corpus or "corpus"), _day(path))


def _above_days(root: str) -> str:
    parts = PurePosixPath(root)
    while DAY.fullmatch(parts.name):
        parts = parts.parent
    return str(parts)


def _stem(path: str) -> str:
    """The name without its suffixes: `chat.jsonl.gz` -> `chat`; a suffix is letters first, so `v1.2` stays."""
    name = PurePosixPath(path).name
    return re.sub(r"(?<=.)(\.[A-Za-z][A-Za-z0-9]{0,9})+$", "", name) or name


def _day(path: str) -> date | None:
    for part in PurePosixPath(path).parts:
        if match := DAY.fullmatch(part):
            try:
                return date.fromisoformat(match[1])
            except ValueError:
                return None
    return None
