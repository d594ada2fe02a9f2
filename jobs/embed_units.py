"""Embed: distinct texts -> embeddings, once per text and encoder.

Texts are shared between namespaces, so embeddings are bucketed by content hash. What an earlier day holds is not embedded
again; what any fileset of the lake holds (an unpublished run's, an older segmentation's) is copied instead of computed.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jobs.engines.embedding_pool import EmbeddingPool
from jobs.run import Run
from schemas.fingerprint import fingerprint
from schemas.ids import hash_bucket
from schemas.manifest import Fileset, Shard

VERSION = 1
SHARD_TEXTS = 2_048
TEXT = pa.schema([("content_hash", pa.string()), ("text", pa.string())])


@dataclass
class _Work:
    """One shard to be written: texts to encode, and vectors that exist already."""

    fileset: Fileset
    number: int
    of: int
    texts: pa.Table
    copied: pa.Table | None


def embed_day(run: Run, day: dt.date, stage: str, upstream: tuple[str, ...], pool: EmbeddingPool) -> None:
    """Embed every text that the `upstream` stages (and, for entity names, `resolve`) brought on `day`."""
    with run.timed(stage, day=day) as piece, tempfile.TemporaryDirectory(prefix="engraph-texts-") as folder:
        _spool_texts(run, day, upstream, Path(folder))
        plans = {
            bucket: plan
            for bucket in range(run.info.buckets)
            if (plan := _plan(run, day, stage, bucket, Path(folder) / f"{bucket}.parquet")) is not None
        }
        total = sum(table.num_rows for _, table in plans.values())
        shards: dict[int, list[Shard]] = {bucket: [] for bucket in plans}
        done = 0
        for work, fresh in _encode(run, plans, shards, pool):
            rows = fresh if work.copied is None else pa.concat_tables([work.copied, fresh])
            rows = rows.sort_by("content_hash")
            shards[work.fileset.bucket].append(run.lake.write_shard(work.fileset, work.number, work.of, rows, {}))
            piece.rows_in += fresh.num_rows
            piece.rows_out += fresh.num_rows
            piece.skipped = piece.skipped and not fresh.num_rows
            done += rows.num_rows
            run.progress(stage, done, total)
        for bucket, (fileset, _) in plans.items():
            if not run.lake.complete(fileset):
                marks = sorted(shards[bucket], key=lambda s: s.number)
                run.lake.write_manifest(
                    fileset, marks, version=VERSION, params={"encoder": run.encoder.name}, inputs=[]
                )
            run.catalogue.put(fileset)
        for bucket in set(range(run.info.buckets)) - plans.keys():
            run.catalogue.drop("embeddings", stage, day, bucket)


def _spool_texts(run: Run, day: dt.date, upstream: tuple[str, ...], folder: Path) -> None:
    """All texts of the day on disk, by hash bucket, so that memory follows one bucket."""
    writers: dict[int, pq.ParquetWriter] = {}
    try:
        for batch in _texts(run, day, upstream):
            buckets = pa.array([hash_bucket(h, run.info.buckets) for h in batch["content_hash"].to_pylist()])
            for bucket in pc.unique(buckets).to_pylist():
                writer = writers.get(bucket)
                if writer is None:
                    writer = writers[bucket] = pq.ParquetWriter(folder / f"{bucket}.parquet", TEXT)
                writer.write_batch(batch.filter(pc.equal(buckets, bucket)))
    finally:
        for writer in writers.values():
            writer.close()


def _texts(run: Run, day: dt.date, upstream: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    filesets = [f for s in upstream for f in run.catalogue.select("memory_units", stage=s, day=day)]
    yield from run.lake.batches("memory_units", filesets, columns=TEXT.names)
    if "extract" in upstream:
        names = run.catalogue.select("entities", day=day)
        for batch in run.lake.batches("entities", names, columns=["content_hash", "name"]):
            yield batch.rename_columns(TEXT.names)


def _plan(run: Run, day: dt.date, stage: str, bucket: int, texts: Path) -> tuple[Fileset, pa.Table] | None:
    """The fileset of one hash bucket and its distinct texts, sorted; None where the day brings no new text."""
    if not texts.exists():
        return None
    table = pq.read_table(texts)
    select = run.catalogue.select
    earlier = select("embeddings", bucket=bucket, before=day)
    if stage != "embed":
        earlier += select("embeddings", bucket=bucket, day=day, stage="embed")
    held = _hashes(run, earlier)
    table = _distinct(table).sort_by("content_hash")
    table = table.filter(pc.invert(pc.is_in(table["content_hash"], held)))
    if not table.num_rows:
        return None
    fp = fingerprint(stage, VERSION, run.encoder.name, table["content_hash"].to_pylist())
    return Fileset("embeddings", stage, day, bucket, fp), table


def _hashes(run: Run, filesets: list[Fileset]) -> pa.Array:
    where = ds.field("encoder") == run.encoder.name
    table = run.lake.read("embeddings", filesets, columns=["content_hash"], where=where)
    return table["content_hash"].combine_chunks()


def _encode(run: Run, plans, shards, pool: EmbeddingPool) -> Iterator[tuple[_Work, pa.Table]]:
    """Shards with their new vectors; shards that a killed run finished are taken as they are."""
    waiting: deque[_Work] = deque()

    def texts() -> Iterator[pa.Table]:
        for bucket, (fileset, table) in plans.items():
            if run.lake.complete(fileset):
                continue
            of = -(-table.num_rows // SHARD_TEXTS)
            cache = _copies(run, fileset.day, bucket, table)
            for number in range(of):
                mark = run.lake.shard_mark(fileset, number, of)
                if mark:
                    shards[bucket].append(mark)
                    continue
                piece = table.slice(number * SHARD_TEXTS, SHARD_TEXTS)
                copied = (
                    cache.filter(pc.is_in(cache["content_hash"], piece["content_hash"])) if cache is not None else None
                )
                if copied is not None:
                    piece = piece.filter(pc.invert(pc.is_in(piece["content_hash"], copied["content_hash"])))
                waiting.append(
                    _Work(fileset, number, of, piece, copied if copied is not None and copied.num_rows else None)
                )
                yield piece

    for vectors in pool.embed(texts()):
        yield waiting.popleft(), vectors


def _copies(run: Run, today: dt.date, bucket: int, texts: pa.Table) -> pa.Table | None:
    """Vectors of `texts` in any complete fileset of this hash bucket, published or not.

    The draft's earlier days are left out: `_plan` has looked there, and reading all vectors every night would cost the corpus.
    """
    found = []
    seen = {f.folder for f in run.catalogue.select("embeddings", bucket=bucket, before=today)}
    for day in run.lake.names("lake/embeddings"):
        folder = f"lake/embeddings/{day}/bucket={bucket:02d}"
        for fp in run.lake.names(folder):
            if f"{folder}/{fp}" in seen or not run.lake.exists(f"{folder}/{fp}/manifest.json"):
                continue
            fileset = Fileset("embeddings", "", dt.date.fromisoformat(day.removeprefix("day=")), bucket, fp)
            if run.lake.manifest(fileset).params.get("encoder") == run.encoder.name:
                where = ds.field("content_hash").isin(texts["content_hash"].combine_chunks())
                dataset = run.lake.dataset("embeddings", [fileset])
                if dataset is not None:
                    found.append(dataset.to_table(filter=where))
    table = pa.concat_tables([t for t in found if t.num_rows]) if any(t.num_rows for t in found) else None
    if table is None:
        return None
    return _distinct(table).replace_schema_metadata(None)


def _distinct(table: pa.Table) -> pa.Table:
    """The first row of each content hash."""
    rows = pa.table({"content_hash": table["content_hash"], "row": pa.array(range(table.num_rows), pa.int64())})
    return table.take(rows.group_by("content_hash").aggregate([("row", "min")])["row_min"])
