"""Index: current memory_units and their vectors -> one recall shard per bucket, rebuilt only where the bucket changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.engine import Failed
from jobs.engines.isolate import too_many
from jobs.groups import current_units, latest
from jobs.run import Run
from jobs.store.lake import Lake
from pipelines.graph.entities import RULES, triple_texts
from pipelines.graph.graph_folder import GraphTables
from pipelines.recall import RecallShard, build_shard
from pipelines.recall.shard import VERSION, sort_units
from schemas.errors import StoreError
from schemas.fingerprint import fingerprint
from schemas.ids import content_hash

STAGE = "index"
GRAPH = ("entities", "mentions", "triples", "edges", "documents")


@dataclass(frozen=True)
class _Wanted:
    """The shard that one bucket should have."""

    bucket: int
    fingerprint: str

    @property
    def shard_id(self) -> str:
        return f"{self.fingerprint}/shard-{self.bucket:04d}"


def build_indexes(run: Run, damaged: Collection[str] = ()) -> dict[str, str]:
    """Bring all shards up to date, each where the engine runs; returns bucket -> shard id, what a snapshot names.

    Those that are missing are built, and those in `damaged` built again: the new one takes the place of the old when it is whole.
    """
    shards = _all_wanted(run)
    stale = [w for w in shards if w.shard_id in damaged or not run.lake.exists(f"index/{w.shard_id}/manifest.json")]
    engine = run.engine(STAGE)
    with run.timed_partitions(STAGE, len(shards)) as log:
        reports = [log.open(None, w.bucket, w.fingerprint) for w in stale]
        for done, (number, built) in enumerate(engine.map(ShardBuilder(run), stale), 1):
            if isinstance(built, Failed):
                raise too_many(built, f"building the index of bucket {stale[number].bucket}", "its units")
            report = reports[number]
            report.rows_in = report.rows_out = built.units
            report.seconds, report.skipped, report.finished = built.seconds, False, True
            run.progress(STAGE, done, len(stale))
    return {str(w.bucket): w.shard_id for w in shards}


def wanted_shards(run: Run) -> dict[str, str]:
    """bucket -> the shard it should have, whether it is there or not."""
    return {str(w.bucket): w.shard_id for w in _all_wanted(run)}


def _all_wanted(run: Run) -> list[_Wanted]:
    wanted = [_wanted(run, bucket) for _, bucket in run.catalogue.buckets_of("memory_units")]
    return [w for w in wanted if w is not None]


def what_is_wrong(lake: Lake, shard_id: str) -> str | None:
    """Why a shard cannot be used: missing, of another version, or not the bytes that its manifest promises; None where it can."""
    found = lake.find_bytes(f"index/{shard_id}/manifest.json")
    if found is None:
        return "missing"
    try:
        manifest = json.loads(found)
        if manifest["version"] != VERSION:
            return "built by another version"
        for name, told in manifest["files"].items():
            if _checksum(lake, f"index/{shard_id}/{name}") != (told["bytes"], told["checksum"]):
                return f"damaged: {name} is not what was written"
    except (ValueError, KeyError, TypeError):
        return "damaged: its manifest cannot be read"
    return None


def _checksum(lake: Lake, name: str) -> tuple[int, str] | None:
    """(bytes, 128-bit BLAKE2b) of a file, read in pieces; None where it is missing."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    try:
        with lake.fs.open(lake.path(name), "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return None
    return size, digest.hexdigest()


def _wanted(run: Run, bucket: int) -> _Wanted | None:
    units = run.catalogue.select("memory_units", bucket=bucket)
    if not units:
        return None
    others = [f for table in ("operations", *GRAPH) for f in run.catalogue.select(table, bucket=bucket)]
    inputs = [(f.table, f.day, f.stage, f.fingerprint) for f in units + others]
    return _Wanted(bucket, fingerprint(STAGE, VERSION, run.encoder.name, inputs))


@dataclass(frozen=True)
class _Built:
    units: int
    seconds: float


@dataclass(frozen=True)
class ShardBuilder:
    """Builds one bucket's shard beside its place and moves it there when it is whole."""

    run: Run

    def __call__(self, wanted: _Wanted) -> _Built:
        run, begun = self.run, time.perf_counter()
        units = sort_units(current_units(run, wanted.bucket))
        vectors = run.vectors().get(units["content_hash"])
        parent = run.lake.local_path("index") if run.lake.local else None
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
        try:
            graph = graph_tables(run, wanted.bucket, units)
            build_shard(units, vectors, work / "shard", encoder=run.encoder.name, graph=graph)
            _install(run.lake, work / "shard", f"index/{wanted.shard_id}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return _Built(units.num_rows, time.perf_counter() - begun)


def graph_tables(run: Run, bucket: int, units: pa.Table) -> GraphTables:
    """What the graph of a bucket is made of: mentions and triples of current versions, the newest row of each entity."""

    def read(table: str, columns: list[str], where: ds.Expression | None = None) -> pa.Table:
        return run.lake.read(table, run.catalogue.select(table, bucket=bucket), columns=columns, where=where)

    current = pl.DataFrame(units.select(["unit_id", "version"]))

    def of_current(rows: pa.Table) -> pa.Table:
        versions = current.rename({"version": "unit_version"})
        return pl.DataFrame(rows).join(versions, on=["unit_id", "unit_version"], how="semi").to_arrow()

    mentions = read("mentions", ["unit_id", "entity_id", "unit_version"])
    triples = of_current(
        read("triples", ["subject_id", "predicate", "object_id", "unit_id", "unit_version", "extractor"])
    )
    entities = latest(read("entities", ["entity_id", "namespace", "name", "kind"]), "entity_id")
    synonyms = read("edges", ["source", "target", "weight"], ds.field("relation") == "synonym")
    titles = latest(read("documents", ["document_id", "namespace", "title"]), "document_id")
    return GraphTables(entities, of_current(mentions), triples, synonyms, titles, _fact_vectors(run, triples))


def _fact_vectors(run: Run, triples: pa.Table) -> np.ndarray | None:
    """Vectors of the triples that are embedded, those that others than the rules made; zeros for the rest."""
    given = np.flatnonzero(pc.invert(pc.starts_with(triples["extractor"], RULES)).to_numpy())
    if not len(given):
        return None
    found = run.vectors().get([content_hash(text) for text in triple_texts(triples.take(pa.array(given)))])
    vectors = np.zeros((triples.num_rows, found.shape[1]), np.float32)
    vectors[given] = found
    return vectors


def _install(lake: Lake, built: Path, name: str) -> None:
    """Move a finished shard into place: one rename, or an upload whose manifest goes last."""
    if lake.local:
        target = lake.local_path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # what a killed run left there without a manifest
            target.rename(lake.local_path(f"index/.stale-{uuid.uuid4().hex[:8]}"))  # gc removes it
        built.rename(target)
        return
    files = sorted((f for f in built.rglob("*") if f.is_file()), key=lambda f: f.name == "manifest.json")
    for file in files:
        lake.write_atomic(f"{name}/{file.relative_to(built).as_posix()}", file.read_bytes())


def open_shard(lake: Lake, shard_id: str, cache: Path | None = None) -> RecallShard:
    """A shard of a snapshot, mapped. A shard of a remote store is first copied to `cache`."""
    name = f"index/{shard_id}"
    if lake.local:
        return RecallShard(lake.local_path(name))
    if cache is None:
        raise StoreError("a remote store needs a local folder for its index shards")
    target = cache / shard_id
    if not (target / "manifest.json").exists():
        lake.fetch(name, target)
    return RecallShard(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build index shards alone: `python -m jobs.build_indexes --store DIR`."""
    from jobs import alone

    parser = alone.parser_of("Build the index shards of the newest snapshot that are not there; publish nothing.")
    return alone.report(STAGE, parser.parse_args(arguments), lambda run, given, settings: {"index": build_indexes(run)})


if __name__ == "__main__":
    raise SystemExit(main())
