"""A recall shard: everything a question needs about the current units of one bucket, in mapped files.

Rows are sorted by granularity, namespace, group (session or document, by time) and position, so that any granularity of
any namespace is one slice. `units.arrow` holds what a hit shows, `vectors.npy` the f32 vectors, `lexical/` the postings,
`ann/<granularity>/` an ANN index where a granularity has many rows. `low.npy` and `high.npy` say which leaf rows (turns,
sentences) each unit covers: evidence moves between granularities along these intervals. `days.npy` holds the day of each row's
event, `speaker.npy` who speaks in it, a number into `speakers.json`. `graph/` is the graph of entities,
passages and rounds. Opening maps files and reads one JSON; nothing is loaded.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ann, lexical
from pipelines.graph.graph_folder import GraphTables, write_graph
from pipelines.graph.knowledge_graph import KnowledgeGraph
from schemas.errors import StoreError

VERSION = 8
ANN_ROWS = 5_000
NO_DAY = -(2**31)
EPOCH = 719_163  # the ordinal of 1970-01-01
_SPEAKER = re.compile(r"([^:\n]{1,60}): ")
LEAVES = {"turn": "session_id", "sentence": "document_id"}
WHOLE_GROUP = ("summary", "keywords", "note", "qa")
SHOWN = [
    "unit_id", "namespace", "granularity", "text", "source_spans", "event_time", "zone", "time_source", "session_id", "document_id",
]  # fmt: skip
COLUMNS = [*SHOWN, "parent_id", "valid_to", "version", "content_hash"]


def sort_units(units: pa.Table) -> pa.Table:
    """Rows in shard order; groups of a namespace come by the time they began."""
    frame = pl.DataFrame(units).with_columns(group=pl.coalesce("session_id", "document_id"))
    began = frame.group_by("namespace", "group").agg(pl.col("event_time").min().alias("began"))
    order = ["granularity", "namespace", "began", "group", "ordinal", "unit_id"]
    ordered = frame.join(began, on=["namespace", "group"]).sort(order)
    return ordered.select(units.column_names).to_arrow().cast(units.schema)


def build_shard(
    units: pa.Table, vectors: np.ndarray, out: Path, *, encoder: str, graph: GraphTables | None = None
) -> dict:
    """Write a shard of `units` (in `sort_units` order) with vectors [n, dim] to the new folder `out`; returns its manifest."""
    out.mkdir(parents=True)
    ranges = _ranges(units)
    low, high = _leaf_intervals(units)
    with pa.OSFile(str(out / "units.arrow"), "wb") as sink, pa.ipc.new_file(sink, _hit_schema(units)) as writer:
        writer.write_table(units.select(COLUMNS), max_chunksize=65_536)
    np.save(out / "vectors.npy", np.ascontiguousarray(vectors, np.float32))
    np.save(out / "low.npy", low)
    np.save(out / "high.npy", high)
    np.save(out / "days.npy", _days(units))
    names, speaker = _speakers(units)
    np.save(out / "speaker.npy", speaker)
    (out / "speakers.json").write_text(json.dumps(names))
    lexical.build((t.as_py() for t in units["text"]), out / "lexical")
    if graph is not None:
        write_graph(units, low, high, graph, out / "graph")
    for granularity, spans in ranges.items():
        a, b = min(s[0] for s in spans.values()), max(s[1] for s in spans.values())
        if b - a >= ANN_ROWS:
            ann.build(vectors[a:b], out / "ann" / granularity, ids=np.arange(a, b), encoder=encoder)
    manifest = {
        "version": VERSION,
        "encoder": encoder,
        "dim": int(vectors.shape[1]),
        "units": units.num_rows,
        "ranges": ranges,
        "files": {str(f.relative_to(out)): _describe(f) for f in sorted(out.rglob("*")) if f.is_file()},
    }
    (out / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def _days(units: pa.Table) -> np.ndarray:
    """Ordinal of the day of each row's event where it happened; `NO_DAY` where only the arrival is known."""
    frame = pl.DataFrame(units.select(["event_time", "zone", "time_source"]))
    offset = pl.col("zone").str.extract(r"^[+-]\d\d:(\d\d)").cast(pl.Int32) + 60 * pl.col("zone").str.extract(
        r"^[+-](\d\d)"
    ).cast(pl.Int32)
    minutes = pl.when(pl.col("zone").str.starts_with("-")).then(-offset).otherwise(offset).fill_null(0)
    day = (pl.col("event_time").dt.epoch("s") + 60 * minutes).floordiv(86_400).cast(pl.Int32) + EPOCH
    known = pl.when(pl.col("time_source") == "arrival").then(NO_DAY).otherwise(day)
    return frame.select(known.alias("day"))["day"].fill_null(NO_DAY).to_numpy().astype(np.int32)


def _speakers(units: pa.Table) -> tuple[list[str], np.ndarray]:
    """(names, for each row the number of the name): a turn's text is `speaker: text`. -1 for rows that are no turns."""
    names: dict[str, int] = {}
    codes = np.full(units.num_rows, -1, np.int32)
    turns = pc.index_in(units["granularity"], pa.array(["turn"])).is_valid().to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(turns):
        if found := _SPEAKER.match(units["text"][row].as_py()):
            codes[row] = names.setdefault(found[1], len(names))
    return list(names), codes


def _hit_schema(units: pa.Table) -> pa.Schema:
    return units.select(COLUMNS).schema.remove_metadata()


def _describe(file: Path) -> dict:
    with file.open("rb") as f:
        return {
            "bytes": file.stat().st_size,
            "checksum": hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest(),
        }


def _ranges(units: pa.Table) -> dict[str, dict[str, tuple[int, int]]]:
    """granularity -> namespace -> [first, end) row."""
    frame = pl.DataFrame(units.select(["granularity", "namespace"])).with_row_index("row")
    spans = frame.group_by("granularity", "namespace", maintain_order=True).agg(
        pl.col("row").min().alias("a"), (pl.col("row").max() + 1).alias("b")
    )
    out: dict[str, dict[str, tuple[int, int]]] = {}
    for granularity, namespace, a, b in spans.iter_rows():
        out.setdefault(granularity, {})[namespace] = (a, b)
    return out


def _leaf_intervals(units: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """For every row the leaf rows [low, high) it covers: those its spans touch; all of its group's for summaries and the like."""
    columns = ["granularity", "namespace", "session_id", "document_id", "source_spans"]
    frame = pl.DataFrame(units.select(columns)).with_row_index("row")
    frame = frame.with_columns(group=pl.coalesce("session_id", "document_id"))
    spans = frame.explode("source_spans").with_columns(
        ref=pl.col("source_spans").struct.field("ref"),
        start=pl.col("source_spans").struct.field("start"),
        end=pl.col("source_spans").struct.field("end"),
    )
    leaf = spans.filter(pl.col("granularity").is_in(list(LEAVES))).select(
        "namespace",
        "group",
        "ref",
        pl.col("row").alias("leaf"),
        pl.col("start").alias("l_start"),
        pl.col("end").alias("l_end"),
    )
    whole = pl.col("granularity").is_in(WHOLE_GROUP)
    place, group = ["namespace", "group", "ref"], ["namespace", "group"]
    # leaves of a source lie in row order and do not overlap, so two look-ups find the first and the last one touched
    probes = spans.filter(~whole).with_columns(first=pl.col("start") + 1, last=pl.col("end") - 1)
    firsts = probes.sort("first").join_asof(
        leaf.sort("l_end"), left_on="first", right_on="l_end", by=place, strategy="forward", check_sortedness=False
    )
    lasts = probes.sort("last").join_asof(
        leaf.sort("l_start"), left_on="last", right_on="l_start", by=place, check_sortedness=False
    )
    by_span = firsts.select("row", *place, "start", "end", low="leaf").join(
        lasts.select("row", *place, "start", "end", high="leaf"), on=["row", *place, "start", "end"]
    )
    by_span = by_span.filter(pl.col("low") <= pl.col("high"))
    ends = leaf.group_by(group).agg(pl.col("leaf").min().alias("low"), pl.col("leaf").max().alias("high"))
    by_group = frame.filter(whole).join(ends, on=group)
    touched = pl.concat([by_span.select("row", "low", "high"), by_group.select("row", "low", "high")])
    bounds = touched.group_by("row").agg(pl.col("low").min(), pl.col("high").max() + 1)
    full = frame.select("row").join(bounds, on="row", how="left").sort("row").fill_null(0)
    return full["low"].to_numpy().astype(np.int32), full["high"].to_numpy().astype(np.int32)


class RecallShard:
    """An open, mapped shard."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "manifest.json").exists():
            raise StoreError(f"index shard {folder.name} is missing or incomplete: run the ingest again to rebuild it")
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        if self.manifest["version"] != VERSION:
            raise StoreError("the index was built by another version of Engraph: run any ingest again to rebuild it")
        for name, told in self.manifest["files"].items():
            if not (folder / name).exists() or (folder / name).stat().st_size != told["bytes"]:
                raise StoreError(
                    f"index file {name} is damaged or missing: run `engraph doctor`, then the ingest again"
                )
        self._source = pa.memory_map(str(folder / "units.arrow"))
        self.units = pa.ipc.open_file(self._source).read_all()
        self._shown = [batch.columns for batch in self.units.select(SHOWN).to_batches()]
        self._ends = np.cumsum([len(columns[0]) for columns in self._shown])
        self.vectors = np.asarray(np.load(folder / "vectors.npy", mmap_mode="r"))
        self.low = np.asarray(np.load(folder / "low.npy", mmap_mode="r"))
        self.high = np.asarray(np.load(folder / "high.npy", mmap_mode="r"))
        self.days = np.asarray(np.load(folder / "days.npy", mmap_mode="r"))
        self.speaker = np.asarray(np.load(folder / "speaker.npy", mmap_mode="r"))
        self.speakers: list[str] = json.loads((folder / "speakers.json").read_text())
        self.lexical = lexical.Lexical(folder / "lexical")
        self.ranges: dict[str, dict[str, list[int]]] = self.manifest["ranges"]
        self._ann: dict[str, object] = {}

    @cached_property
    def graph(self) -> KnowledgeGraph | None:
        """The graph of entities, passages and rounds; None where the shard was built without."""
        folder = self.folder / "graph"
        return KnowledgeGraph(folder, self.units) if folder.exists() else None

    def rows(self, numbers: Sequence[int]) -> list[dict]:
        """What hits show of some rows, batch by batch: `take` on the whole table would copy its strings."""
        wanted = np.asarray(numbers, np.int64)
        batches = np.searchsorted(self._ends, wanted, "right")
        out: list[dict] = [{}] * len(wanted)
        for batch in np.unique(batches).tolist():
            columns, places = self._shown[batch], np.flatnonzero(batches == batch)
            inside = pa.array(wanted[places] - int(self._ends[batch]) + len(columns[0]))
            found = [_values(column.take(inside)) for column in columns]
            for place, row in zip(places.tolist(), zip(*found, strict=True), strict=True):
                out[place] = dict(zip(SHOWN, row, strict=True))
        return out

    def namespaces(self) -> set[str]:
        return {namespace for spans in self.ranges.values() for namespace in spans}

    def slices(self, granularity: str, namespaces: set[str] | None) -> list[tuple[int, int]]:
        """Row ranges of a granularity in some namespaces; one range for all of them."""
        spans = self.ranges.get(granularity, {})
        if namespaces is None:
            return [(min(a for a, _ in spans.values()), max(b for _, b in spans.values()))] if spans else []
        return [(spans[n][0], spans[n][1]) for n in sorted(namespaces) if n in spans]

    def ann(self, granularity: str):
        """The ANN index of a granularity, or None where it is small."""
        if granularity not in self._ann:
            folder = self.folder / "ann" / granularity
            self._ann[granularity] = ann.open(folder, verify="none") if folder.exists() else None
        return self._ann[granularity]


def _values(column: pa.Array) -> list:
    """`to_pylist`, which makes moments slowly, one by one."""
    if not pa.types.is_timestamp(column.type) or column.null_count:
        return column.to_pylist()
    return [moment.replace(tzinfo=dt.UTC) for moment in column.to_numpy(zero_copy_only=False).tolist()]
