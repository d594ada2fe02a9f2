"""Corpora: which days of which configured corpora have files, and whether those have changed.

A source with `{day}` is one folder or file a day; one without is a source that grows in place, whose files belong to the day on
which they are taken. Files are known by name, size and time (or tag) of their last change: a night lists, it does not read.
Records that name no user get the name that the corpus has in the settings as their namespace, whatever its folder is called.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.readers import ReadParams, SourceFile, find_sources, source_file_system
from schemas.errors import UsageError
from schemas.settings import Corpus

DAY = "{day}"
ANY_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


@dataclass(frozen=True)
class Observed:
    """A source file as a listing shows it."""

    file: SourceFile
    bytes: int
    version: str

    def to_row(self) -> dict:
        return {"source_ref": self.file.source_ref, "bytes": self.bytes, "version": self.version}


@dataclass(frozen=True)
class CorpusDay:
    """One day of one corpus: what lies there, or why it cannot be read. `dated` is false where the day is only that of the run."""

    corpus: str
    day: dt.date
    files: tuple[Observed, ...]
    read: ReadParams
    dated: bool = True
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.corpus} {self.day}"


def corpus_days(
    corpora: Mapping[str, Corpus],
    *,
    now: dt.datetime,
    first: dt.date | None = None,
    last: dt.date | None = None,
) -> list[CorpusDay]:
    """Days with files, ascending by day and corpus; `last` defaults to each corpus's last ended day."""
    found = [day for name, corpus in corpora.items() for day in _days(name, corpus, now, first, last)]
    return sorted(found, key=lambda d: (d.day, d.corpus))


def _days(name: str, corpus: Corpus, now: dt.datetime, first: dt.date | None, last: dt.date | None) -> list[CorpusDay]:
    today = corpus.today(now)
    until = last or today - dt.timedelta(days=1)
    since = max((d for d in (first, corpus.first_day) if d), default=dt.date.min)
    if DAY not in corpus.source:
        taken = now.astimezone(dt.UTC).date()
        return [d for d in [_day(name, corpus, taken, corpus.source, dated=False)] if d.files or d.error]
    days = [day for day in _named_days(corpus.source) if since <= day <= until]
    found = [_day(name, corpus, day, corpus.source.replace(DAY, day.isoformat())) for day in sorted(days)]
    return [d for d in found if d.files or d.error]


def _named_days(source: str) -> set[dt.date]:
    """The days for which there is a folder or file at the part of the path that names the day."""
    head, _, rest = source.partition(DAY)
    part = head + ANY_DAY + rest.partition("/")[0].replace(DAY, ANY_DAY)
    fs, pattern = source_file_system(part)
    at = re.compile(
        re.escape(head.rpartition("/")[2]).replace(r"\*", ".*").replace(r"\?", ".") + r"(\d{4}-\d{2}-\d{2})"
    )
    days = set()
    for path in fs.glob(pattern):
        name = str(path).rstrip("/").rpartition("/")[2]
        if match := at.search(name):
            try:
                days.add(dt.date.fromisoformat(match[1]))
            except ValueError:  # 2026-02-31 is a name, not a day
                continue
    return days


def _day(name: str, corpus: Corpus, day: dt.date, pattern: str, *, dated: bool = True) -> CorpusDay:
    read = ReadParams(kind=corpus.kind, namespace=corpus.namespace)
    try:
        files = tuple(_observed(replace(file, corpus=name)) for file in find_sources([pattern]))
    except (UsageError, OSError) as error:
        broken = _why(pattern, error)
        return CorpusDay(name, day, (), read, dated, broken)
    return CorpusDay(name, day, tuple(f for f in files if f is not None), read, dated)


def _observed(file: SourceFile) -> Observed | None:
    """What a listing says of a file; None for a folder that stands for itself because it is empty."""
    if "://" not in file.path:
        if Path(file.path).is_dir():
            return None
        stat = Path(file.path).stat()
        return Observed(file, stat.st_size, str(stat.st_mtime_ns))
    fs, path = source_file_system(file.path)
    info = fs.info(path)
    if info["type"] == "directory":
        return None
    version = next(
        (info[k] for k in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if info.get(k)), ""
    )
    return Observed(file, int(info.get("size") or 0), str(version))


def _why(pattern: str, error: Exception) -> str | None:
    """One line for what is there and cannot be read; None where nothing is there: a day on which nothing arrived."""
    if isinstance(error, OSError):
        return f"cannot list {pattern}: {error}"
    if "://" in pattern:
        return None
    path = Path(pattern.partition("*")[0].rstrip("/"))
    for part in (path, *path.parents):
        if part.is_symlink() and not part.exists():
            return f"{part} is a link to {part.readlink()}, which is not there: is its disk mounted?"
    return None
