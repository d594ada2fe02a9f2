"""Where the sources of given extractions lie: turns, sessions and documents by their refs, documents also by their whole text."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.given_extractions import made_from_hash
from jobs.groups import latest
from jobs.run import Run
from pipelines.extraction.given_files import Given
from schemas.ids import content_hash

TURN = ["turn_id", "namespace", "session_id", "source_ref", "content_hash", "day"]
DOCUMENT = ["document_id", "namespace", "source_ref", "content_hash", "day"]


@dataclass(frozen=True)
class Wanted:
    """What is looked for: refs as they were given, and keys of whole passages."""

    refs: frozenset[str]
    passages: frozenset[str]

    @classmethod
    def of(cls, items: Iterable[Given]) -> Wanted:
        refs: set[str] = set()
        passages: set[str] = set()
        for item in items:
            if item.passage:
                passages.add(passage_key(item.passage))
            refs.update(item.refs)
        return cls(frozenset(refs), frozenset(passages))


@dataclass(frozen=True)
class Found:
    """A source, or several of one session: its group, its refs (none for a whole session), what they say, and since when."""

    namespace: str
    group_id: str
    refs: tuple[str, ...]
    made_from: str
    day: dt.date


def passage_key(text: str) -> str:
    """Passages are the same when they differ in white space only; never a key that could be a ref."""
    return "\x1f" + content_hash("".join(text.split()))


@dataclass(frozen=True)
class SourceFinder:
    """Looks into one bucket; runs where the engine runs. `made_from` of what it finds is the content hash of that one source."""

    run: Run
    wanted: Wanted

    def __call__(self, bucket: int) -> dict[str, list[Found]]:
        found: dict[str, list[Found]] = defaultdict(list)
        if self.wanted.refs:
            for ref, place in (*self._turns(bucket), *self._documents(bucket)):
                found[ref].append(place)
        if self.wanted.passages:
            for ref, place in self._passages(bucket):
                found[ref].append(place)
        return dict(found)

    def _turns(self, bucket: int) -> Iterator[tuple[str, Found]]:
        refs = pa.array(sorted(self.wanted.refs), pa.string())
        where = ds.field("source_ref").isin(refs) | ds.field("turn_id").isin(refs) | ds.field("session_id").isin(refs)
        filesets = self.run.catalogue.select("turns", bucket=bucket)
        rows = latest(self.run.lake.read("turns", filesets, columns=TURN, where=where), "turn_id").to_pylist()
        sessions: dict[tuple[str, str], dt.date] = {}
        for row in rows:
            place = Found(row["namespace"], row["session_id"], (row["source_ref"],), row["content_hash"], row["day"])
            yield from ((ref, place) for ref in {row["source_ref"], row["turn_id"]} & self.wanted.refs)
            key = (row["namespace"], row["session_id"])
            if row["session_id"] in self.wanted.refs:
                sessions[key] = max(sessions.get(key, row["day"]), row["day"])
        for (namespace, session), day in sessions.items():
            yield session, Found(namespace, session, (), "", day)

    def _documents(self, bucket: int) -> Iterator[tuple[str, Found]]:
        refs = pa.array(sorted(self.wanted.refs), pa.string())
        where = ds.field("source_ref").isin(refs) | ds.field("document_id").isin(refs)
        for row in self._newest(bucket, DOCUMENT, where):
            yield from ((ref, _of_document(row)) for ref in {row["source_ref"], row["document_id"]} & self.wanted.refs)

    def _passages(self, bucket: int) -> Iterator[tuple[str, Found]]:
        for row in self._newest(bucket, [*DOCUMENT, "title", "text"], None):
            keys = {passage_key(row["text"]), passage_key(f"{row['title'] or ''}{row['text']}")}
            yield from ((key, _of_document(row)) for key in keys & self.wanted.passages)

    def _newest(self, bucket: int, columns: list[str], where: ds.Expression | None) -> list[dict]:
        filesets = self.run.catalogue.select("documents", bucket=bucket)
        rows = self.run.lake.read("documents", filesets, columns=columns, where=where)
        return latest(rows, "document_id").to_pylist()


def _of_document(row: dict) -> Found:
    return Found(row["namespace"], row["document_id"], (row["source_ref"],), row["content_hash"], row["day"])


def placed(item: Given, places: list[Found]) -> Found | str:
    """The one source of an extraction, or why there is none. Of turns in several sessions those of the first session count."""
    mine = [place for place in places if item.namespace in (None, place.namespace)]
    if not mine:
        what = "passage with this text" if item.passage else " or ".join(item.refs)
        return f"no source {what} in the store: ingest it first, or under the namespace that the file names"
    namespaces = sorted({place.namespace for place in mine})
    if len(namespaces) > 1:
        return f"namespaces {', '.join(namespaces[:3])} all have that source: say which with --namespace"
    group = mine[0].group_id
    if item.passage:
        mine = mine[:1]
    turns = {place.refs[0]: place for place in mine if place.group_id == group and place.refs}
    if not turns:
        return mine[0]
    hash_ = made_from_hash([place.made_from for place in turns.values()])
    return Found(namespaces[0], group, tuple(turns), hash_, max(place.day for place in turns.values()))
