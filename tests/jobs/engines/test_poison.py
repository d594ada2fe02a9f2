"""Poison on real engines: what kills its process, breaks the encoder or crashes a reader is refused by name, nothing else."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.embed_shards import TEXT, TextShard, stage_texts
from jobs.embed_units import _embedded
from jobs.engines.engine import Engine, Piece
from jobs.engines.local import LocalEmbedder, LocalEngine
from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.engines.profile import Embedder, Engines
from jobs.read_sources import FileReader, Numbered, _merged
from jobs.run import Run
from jobs.store.lake import Lake
from pipelines.embedding import Encoder, resolve_encoder
from pipelines.readers import ReadParams, find_sources
from schemas.ids import content_hash
from schemas.manifest import Catalogue, Fileset, StoreInfo
from schemas.tables import TABLES

for name in ("ray.cloudpickle", "pyspark.cloudpickle"):  # workers cannot import this file
    pickler = pytest.importorskip(name, reason="the cluster profile is not installed: make setup-cluster")
    pickler.register_pickle_by_value(sys.modules[__name__])

DAY = dt.date(2026, 3, 1)
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
STAGE = Stage("test", 1, ("assignments",))


class Only(Engines):
    """Every stage on one engine that runs already."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def of(self, stage: str) -> Engine:
        return self._engine


def run_on(engine: Engine, lake: Lake) -> Run:
    return Run(
        lake=lake,
        info=StoreInfo(buckets=2, created_at=NOW),
        run_id="r",
        now=NOW,
        encoder=resolve_encoder(None),
        parent=Catalogue(),
        catalogue=Catalogue(),
        engines=Only(engine),
    )


@dataclass(frozen=True)
class Members:
    """Groups of one partition, 60 rows each."""

    ids: tuple[str, ...]

    def __call__(self) -> list[Group]:
        return [Group(id_, f"hash of {id_}", 60) for id_ in self.ids]


@dataclass(frozen=True)
class Deadly:
    """A stage function that kills its process on some conversations, and the first time on others."""

    always: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()
    folder: str = ""

    def __call__(self, ids: list[str]) -> dict[str, pa.Table]:
        for id_ in ids:
            mark = Path(self.folder) / id_
            if id_ in self.always or (id_ in self.once and not mark.exists()):
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        rows = [
            {"unit_id": f"{i}-{n}", "cluster_id": i, "level": 0, "namespace": "n", "day": DAY}
            for i in ids
            for n in (1, 2)
        ]
        owners = pa.array([row["cluster_id"] for row in rows], pa.string())
        return {"assignments": TABLES["assignments"].from_rows(rows).append_column(GROUP, owners)}


def made(engine: Engine, lake: Lake, compute: Deadly, buckets: Sequence[tuple[str, ...]]) -> Run:
    run = run_on(engine, lake)
    partitions = [Partition(STAGE, DAY, n, ids, Members(ids), compute) for n, ids in enumerate(buckets)]
    run_partitions(run, partitions)
    return run


def rows_in(run: Run, table: str) -> list[dict]:
    return run.lake.read(table, run.catalogue.select(table)).to_pylist()


@pytest.mark.parametrize("other_processes", ["spark", pytest.param("ray", marks=pytest.mark.soak)], indirect=True)
def test_a_conversation_that_kills_its_process_is_refused_by_name_and_the_rest_is_there(other_processes, tmp_path):
    compute = Deadly(always=frozenset({"c"}), folder=str(tmp_path))
    run = made(other_processes, Lake(tmp_path / "store"), compute, [("a", "b", "c", "d", "e"), ("f", "g")])
    assert {row["cluster_id"] for row in rows_in(run, "assignments")} == set("abdefg")
    assert len(rows_in(run, "assignments")) == 12
    (row,) = rows_in(run, "quarantine")
    assert (row["stage"], row["source_ref"]) == ("test", "c")
    assert row["reason"].startswith("stage test cannot take it: ")


def test_a_worker_that_is_killed_once_in_the_middle_of_a_shard_refuses_and_doubles_nothing(other_processes, tmp_path):
    (tmp_path / "marks").mkdir()
    compute = Deadly(once=frozenset({"b", "f"}), folder=str(tmp_path / "marks"))
    run = made(other_processes, Lake(tmp_path / "store"), compute, [("a", "b", "c"), ("f", "g")])
    assert sorted(p.name for p in (tmp_path / "marks").iterdir()) == ["b", "f"]
    assert sorted(row["unit_id"] for row in rows_in(run, "assignments")) == [
        f"{i}-{n}" for i in "abcfg" for n in (1, 2)
    ]
    assert rows_in(run, "quarantine") == []


TEXTS = ["The boat was built in Oslo.", " \n\t ", "Two hives stand behind the mill.", "Carla moved to Lisbon."]


def shard_of(run: Run, texts: list[str]) -> TextShard:
    """Texts laid down as the planner does."""
    rows = sorted((content_hash(text), text) for text in texts)
    table = pa.Table.from_pylist([dict(zip(TEXT.names, row, strict=True)) for row in rows], schema=TEXT)
    fileset = Fileset("embeddings", "embed", DAY, 0, content_hash(*texts) if len(texts) == 1 else "f" * 32)
    stage_texts(run.lake, "staging/test", table, None)
    return TextShard(fileset, 0, 1, len(texts), "staging/test", run.encoder)


@pytest.fixture(params=["local", "ray"])
def embedding(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, Embedder]]:
    id_ = resolve_encoder(None)
    if request.param == "local":
        with LocalEmbedder(id_, 1) as embedder:
            yield LocalEngine(), embedder
        return
    from jobs.engines.ray_data import RayEmbedder

    engine = request.getfixturevalue("ray_engine")
    with RayEmbedder(engine, id_, 1) as embedder:
        yield engine, embedder


def test_a_text_that_breaks_the_encoder_keeps_its_place_with_zeros_and_the_others_their_vectors(embedding, tmp_path):
    """A text of white space: the encoder refuses it, and the stream of its shard breaks off."""
    engine, embedder = embedding
    run = run_on(engine, Lake(tmp_path / "store"))
    shard = shard_of(run, TEXTS)
    (embedded,) = _embedded(run, [shard], embedder)
    poison = content_hash(TEXTS[1])
    assert embedded.mark.refused.keys() == {poison}
    assert "ValueError" in embedded.mark.refused[poison] and embedded.encoded == 3
    rows = {r["content_hash"]: r["vector"] for r in run.lake.read_shard(shard.fileset, embedded.mark).to_pylist()}
    assert rows.keys() == {content_hash(text) for text in TEXTS}
    assert not any(rows[poison])
    healthy = [text for text in TEXTS if text.strip()]
    expected = Encoder.load(run.encoder).encode(healthy).vectors
    for text, vector in zip(healthy, expected, strict=True):
        assert sum(a * b for a, b in zip(rows[content_hash(text)], vector, strict=True)) > 0.9998


@dataclass(frozen=True)
class Fragile(FileReader):
    """A reader that fails on a file, or dies of it."""

    dies: bool = False

    def _records(self, number, source, delivery, hash_) -> Iterator[Piece]:
        if number not in self.broken and source.source_ref == "bad.jsonl":
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RecursionError("maximum recursion depth exceeded")
        yield from super()._records(number, source, delivery, hash_)


@pytest.mark.parametrize("dies", [False, True])
def test_a_file_that_crashes_its_reader_is_refused_whole_with_the_reason_and_the_others_are_read(
    shuffling_engine, tmp_path, dies
):
    if dies and shuffling_engine.name == "local":
        pytest.skip("this process is the reader")
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("bad", "good", "other"):
        (folder / f"{name}.jsonl").write_text(f'{{"role": "user", "content": "Hello from {name}"}}\n' * 2)
    run = run_on(shuffling_engine, Lake(tmp_path / "store"))
    reader = Fragile(ReadParams(kind="auto", namespace=None), DAY, DAY, 2, frozenset(), dies=dies)
    files: list[Numbered] = list(enumerate(find_sources([str(folder)])))
    for part in _merged(run, shuffling_engine, reader, files):
        for fileset in part.filesets:
            run.catalogue.put(fileset)
    (refused,) = rows_in(run, "quarantine")
    assert refused["source_ref"] == "bad.jsonl" and refused["payload"] == (folder / "bad.jsonl").read_bytes()
    assert refused["reason"].startswith("reading it breaks the reader: ")
    assert dies or "RecursionError: maximum recursion depth exceeded" in refused["reason"]
    assert sorted(row["text"] for row in rows_in(run, "turns")) == [
        f"user: Hello from {name}" for name in ("good", "good", "other", "other")
    ]
