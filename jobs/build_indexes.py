"""Index: current memory_units and their vectors -> one recall shard per bucket, rebuilt only where the bucket changed."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

from jobs.groups import live_units
from jobs.run import Run
from jobs.store.lake import Lake
from pipelines.recall import RecallShard, build_shard
from pipelines.recall.shard import VERSION, sort_units
from schemas.errors import StoreError
from schemas.fingerprint import fingerprint

STAGE = "index"


def build_indexes(run: Run) -> dict[str, str]:
    """Bring all shards up to date; returns bucket -> shard id, what a snapshot names."""
    shards = {}
    buckets = [b for _, b in run.catalogue.buckets_of("memory_units")]
    for i, bucket in enumerate(buckets):
        filesets = run.catalogue.select("memory_units", bucket=bucket) + run.catalogue.select(
            "operations", bucket=bucket
        )
        if not any(f.table == "memory_units" for f in filesets):
            continue
        fp = fingerprint(STAGE, VERSION, run.encoder.name, [(f.table, f.day, f.stage, f.fingerprint) for f in filesets])
        shard_id = f"{fp}/shard-{bucket:04d}"
        with run.timed(STAGE, bucket=bucket, fingerprint=fp) as piece:
            if not run.lake.exists(f"index/{shard_id}/manifest.json"):
                piece.rows_in = piece.rows_out = _build(run, bucket, shard_id)
                piece.skipped = False
        shards[str(bucket)] = shard_id
        run.progress(STAGE, i + 1, len(buckets))
    return shards


def _build(run: Run, bucket: int, shard_id: str) -> int:
    units = sort_units(live_units(run, bucket, until=max(run.catalogue.days())))
    vectors = run.vectors().get(units["content_hash"])
    parent = run.lake.local_path("index") if run.lake.local else None
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
    try:
        build_shard(units, vectors, work / "shard", encoder=run.encoder.name)
        _install(run.lake, work / "shard", f"index/{shard_id}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return units.num_rows


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
        target.parent.mkdir(parents=True, exist_ok=True)
        lake.fs.get(lake.path(name), str(target), recursive=True)
    return RecallShard(target)
