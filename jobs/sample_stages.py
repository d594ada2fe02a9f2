"""What a sample of records becomes: the stages' own pure functions, timed, without a store.

Reading, cutting, extracting and resolving are run for real. Vectors are not needed to count: a summary is one a session or
document whichever sentences it takes. Distinct texts grow more slowly than texts (Heaps' law: n^beta); beta is measured between
the first half of the sample and the whole.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import polars as pl
import pyarrow as pa

from pipelines.extraction import ExtractParams, extract
from pipelines.graph import entity_id, resolve_entities
from pipelines.readers import DocumentRecord, TurnRecord
from pipelines.segmentation import PassageParams, segment_conversations, segment_documents
from pipelines.segmentation.units import CountTokens
from schemas.ids import content_hash
from schemas.tables import TABLES

ARRIVAL = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # of records without a date: estimates look at no clock
T = TypeVar("T")


@dataclass
class Texts:
    """Texts in the order in which they came: how many, the distinct ones, and the distinct ones of the first half."""

    total: int
    distinct: dict[str, int]
    first_half: int

    @classmethod
    def of(cls, texts: Sequence[str], count_tokens: CountTokens, *before: Texts) -> Texts:
        """Those of `texts` that none of `before` has."""
        texts = [t for t in texts if not any(t in other.distinct for other in before)]
        unique = list(dict.fromkeys(texts))
        tokens = dict(zip(unique, map(int, count_tokens(unique)), strict=True)) if unique else {}
        return cls(len(texts), tokens, len(set(texts[: len(texts) // 2])))

    @property
    def beta(self) -> float:
        """Heaps' exponent, 0 to 1: distinct texts grow as the texts to this power."""
        if not self.first_half:
            return 1.0
        return min(1.0, max(0.0, math.log2(len(self.distinct) / self.first_half)))

    def grown(self, weight: float, step: float = 0.0) -> float:
        """Distinct texts among `weight` times as many; `step` is added to beta."""
        return len(self.distinct) * max(weight, 1.0) ** min(1.0, max(0.0, self.beta + step))


@dataclass
class Outcome:
    """What the stages made of a sample; `units` by granularity, `groups` (leaves, characters, units) a session or document.

    Texts to embed come from three places: structural units, extracted units, names of entities.
    """

    turns: pa.Table
    documents: int
    units: Counter[str]
    structural: Texts
    extracted: Texts
    names: Texts
    mentions: int
    namespaces: Counter[str]
    record_chars: list[int]
    groups: list[tuple[int, int, int]]
    seconds: dict[str, float] = field(default_factory=dict)


def run_stages(records: Sequence[TurnRecord | DocumentRecord], count_tokens: CountTokens) -> Outcome:
    """Segment, extract and resolve `records`, each stage timed."""
    seconds: dict[str, float] = {}
    turns = _table([r for r in records if isinstance(r, TurnRecord)], "turns", "said_at")
    documents = _table([r for r in records if isinstance(r, DocumentRecord)], "documents", "published_at")
    said = _timed(seconds, "segment", lambda: segment_conversations(turns, count_tokens))
    written = _timed(seconds, "segment", lambda: segment_documents(documents, PassageParams(), count_tokens))
    units = pa.concat_tables([said, written])
    leaves = _leaves(turns, written)
    found = _timed(seconds, "extract", lambda: extract(leaves, None, ExtractParams()))
    names = _timed(seconds, "resolve", lambda: _names(found.mentions, leaves))
    structural = Texts.of(units["text"].to_pylist(), count_tokens)
    extracted = Texts.of(found.units["text"].to_pylist(), count_tokens, structural)
    return Outcome(
        turns,
        documents.num_rows,
        Counter(units["granularity"].to_pylist()) + Counter(found.units["granularity"].to_pylist()),
        structural,
        extracted,
        Texts.of(names, count_tokens, structural, extracted),
        found.mentions.num_rows,
        Counter(units["namespace"].to_pylist()),
        [len(r.text) for r in records],
        _groups(units, found.units),
        seconds,
    )


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], T]) -> T:
    begun = time.perf_counter()
    try:
        return work()
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun


def _table(records: Iterable[TurnRecord] | Iterable[DocumentRecord], name: str, time_column: str) -> pa.Table:
    """Records as the table `name` of a store that receives them now."""
    rows = []
    for record in records:
        row = asdict(record)
        hashes = {"content_hash": content_hash(row["text"]), "record_hash": content_hash(row["text"])}
        rows.append(row | hashes | {time_column: row[time_column] or ARRIVAL, "day": ARRIVAL.date()})
    return pa.Table.from_pylist(rows, schema=TABLES[name].schema)


def _leaves(turns: pa.Table, units: pa.Table) -> pa.Table:
    """What extraction reads: turns in order, and the sentences of documents."""
    said = pl.DataFrame(turns).sort("session_id", "said_at", "turn_no").select(
        pl.col("turn_id").alias("unit_id"), "namespace", pl.col("session_id").alias("group_id"),
        pl.lit("turn").alias("granularity"), "speaker", "role", "text", "source_ref",
        pl.col("said_at").alias("event_time"), "zone", pl.lit(0, pl.Int32).alias("start"),
    )  # fmt: skip
    first = pl.col("source_spans").list.first()
    written = pl.DataFrame(units).filter(pl.col("granularity") == "sentence").sort("document_id", "ordinal").select(
        "unit_id", "namespace", pl.col("document_id").alias("group_id"), "granularity",
        pl.lit(None, pl.String).alias("speaker"), pl.lit(None, pl.String).alias("role"), "text",
        first.struct.field("ref").alias("source_ref"), "event_time", "zone", first.struct.field("start").alias("start"),
    )  # fmt: skip
    leaves = pl.concat([said, written]).to_arrow()
    plain = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in leaves.schema]
    return leaves.cast(pa.schema(plain))


def _names(mentions: pa.Table, leaves: pa.Table) -> list[str]:
    """Names of the entities, the texts that `resolve` brings."""
    owners = pl.DataFrame(leaves).select("unit_id", "namespace")
    joined = pl.DataFrame(mentions).join(owners, on="unit_id")
    ids = [entity_id(namespace, normal) for namespace, normal in joined.select("namespace", "normal").iter_rows()]
    rows = joined.with_columns(entity_id=pl.Series(ids, dtype=pl.String)).to_arrow()
    return resolve_entities(rows, TABLES["entities"].empty(), day=ARRIVAL.date())["name"].to_pylist()


def _groups(units: pa.Table, derived: pa.Table) -> list[tuple[int, int, int]]:
    """(leaves, characters, units) of each session and document."""
    group = pl.coalesce("session_id", "document_id").alias("group_id")
    leaf = pl.col("granularity").is_in(["turn", "sentence"])
    counted = pl.DataFrame(units).group_by(group).agg(
        leaf.sum().alias("leaves"), pl.col("text").str.len_chars().filter(leaf).sum().alias("chars"), pl.len().alias("units")
    )  # fmt: skip
    more = pl.DataFrame(derived).group_by("group_id").agg(pl.len().alias("derived"))
    joined = counted.join(more, on="group_id", how="left").with_columns(pl.col("derived").fill_null(0))
    return joined.select("leaves", "chars", pl.col("units") + pl.col("derived")).rows()
