"""Embed: distinct texts -> embeddings, once per text and encoder.

Texts are shared between namespaces, so embeddings are bucketed by content hash. What an earlier day holds is not embedded
again; what any fileset of the lake holds (an unpublished run's, an older segmentation's) is copied instead of computed. The plan is
a shuffle (texts come together by hash bucket, distinct), the work is shards of texts that the plan has laid down by address.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.embed_shards import SHARD_TEXTS, TEXT, Embedded, ShardEncoder, TextProbe, TextShard, stage_texts, texts_of
from jobs.engines.engine import Failed, ItemFailed, Piece, Pieces
from jobs.engines.isolate import culprits, too_many
from jobs.engines.profile import Embedder
from jobs.quarantine import quarantine_texts
from jobs.run import Run
from pipelines.graph.entities import RULES, triple_texts
from schemas.fingerprint import fingerprint
from schemas.ids import content_hash, hash_bucket
from schemas.manifest import Fileset, Shard

VERSION = 1
PLANNING = "distinct_texts"
STAGING = "staging"


@dataclass(frozen=True)
class _Planned:
    """The fileset of one hash bucket, and where its texts wait; `shards` is 0 where it is complete."""

    fileset: Fileset
    shards: int
    texts: int
    staged: str


def embed_day(run: Run, day: dt.date, stage: str, upstream: tuple[str, ...], embedder: Embedder) -> None:
    """Embed every text that the `upstream` stages (and, for entity names, `resolve`) brought on `day`.

    Triples of the rules are not embedded: they are co-occurrences, eight a sentence, and seeding a walk with those that a question
    is near to found nothing that names did not find.
    """
    with run.timed(stage, day=day, on=embedder.name) as piece:
        plans = _plans(run, day, stage, upstream)
        total = sum(plan.texts for plan in plans.values())
        marks: dict[int, list[Shard]] = {bucket: [] for bucket in plans}
        done = 0
        for embedded in _embedded(run, list(_unfinished(run, plans, marks)), embedder):
            marks[embedded.shard.fileset.bucket].append(embedded.mark)
            piece.rows_in += embedded.encoded
            piece.rows_out += embedded.encoded
            piece.skipped = piece.skipped and not embedded.encoded
            done += embedded.mark.rows
            run.progress(stage, done, total)
        for bucket, plan in plans.items():
            if plan.shards:
                shards = sorted(marks[bucket], key=lambda s: s.number)
                run.lake.write_manifest(
                    plan.fileset, shards, version=VERSION, params={"encoder": run.encoder.name}, inputs=[]
                )
            run.catalogue.put(plan.fileset)
        for bucket in set(range(run.info.buckets)) - plans.keys():
            run.catalogue.drop("embeddings", stage, day, bucket)
        quarantine_texts(run, stage, day, upstream)
        run.lake.remove(f"{STAGING}/{stage}-{day}")


def _plans(run: Run, day: dt.date, stage: str, upstream: tuple[str, ...]) -> dict[int, _Planned]:
    """What each hash bucket has to embed, by bucket; those to which the day brings no new text are left out."""
    filesets = [f for s in upstream for f in run.catalogue.select("memory_units", stage=s, day=day)]
    if "extract" in upstream:
        filesets += run.catalogue.select("entities", day=day) + run.catalogue.select("triples", day=day)
    engine = run.engine(PLANNING)
    found = engine.group(_TextReader(run), filesets, _Planner(run, day, stage))
    return {plan.fileset.bucket: plan for plan in found if plan is not None}


@dataclass(frozen=True)
class _TextReader:
    """The texts of one fileset, each once, by hash bucket."""

    run: Run

    def __call__(self, fileset: Fileset) -> Iterator[Piece]:
        texts = _distinct(_texts_of(self.run, fileset))
        buckets = pa.array([hash_bucket(h, self.run.info.buckets) for h in texts["content_hash"].to_pylist()])
        for bucket in pc.unique(buckets).to_pylist():
            yield bucket, "texts", texts.filter(pc.equal(buckets, bucket))


def _texts_of(run: Run, fileset: Fileset) -> pa.Table:
    if fileset.table == "triples":
        where = ~pc.starts_with(ds.field("extractor"), RULES)
        triples = run.lake.read("triples", [fileset], columns=["subject_id", "predicate", "object_id"], where=where)
        texts = triple_texts(triples)
        return pa.table({"content_hash": [content_hash(t) for t in texts], "text": texts}, schema=TEXT)
    column = "name" if fileset.table == "entities" else "text"
    return run.lake.read(fileset.table, [fileset], columns=["content_hash", column]).rename_columns(TEXT.names)


@dataclass(frozen=True)
class _Planner:
    """Decides the fileset of one hash bucket and lays down its texts; runs where the engine runs."""

    run: Run
    day: dt.date
    stage: str

    def __call__(self, bucket: int, pieces: Pieces) -> _Planned | None:
        run, day, stage = self.run, self.day, self.stage
        earlier = run.catalogue.select("embeddings", bucket=bucket, before=day)
        if stage != "embed":
            earlier += run.catalogue.select("embeddings", bucket=bucket, day=day, stage="embed")
        table = _distinct(pieces.read("texts")).sort_by("content_hash")
        table = table.filter(pc.invert(pc.is_in(table["content_hash"], _hashes(run, earlier))))
        if not table.num_rows:
            return None
        again = run.times_redone(stage, day)
        fp = fingerprint(
            stage, VERSION, run.encoder.name, table["content_hash"].to_pylist(), *([again] if again else [])
        )
        fileset = Fileset("embeddings", stage, day, bucket, fp)
        staged = f"{STAGING}/{stage}-{day}/{bucket}-{fp}"
        if run.lake.complete(fileset):
            return _Planned(fileset, 0, table.num_rows, staged)
        stage_texts(run.lake, staged, table, None if again else _copies(run, day, bucket, table))
        return _Planned(fileset, -(-table.num_rows // SHARD_TEXTS), table.num_rows, staged)


def _hashes(run: Run, filesets: list[Fileset]) -> pa.Array:
    where = ds.field("encoder") == run.encoder.name
    table = run.lake.read("embeddings", filesets, columns=["content_hash"], where=where)
    return table["content_hash"].combine_chunks()


def _unfinished(run: Run, plans: dict[int, _Planned], marks: dict[int, list[Shard]]) -> Iterator[TextShard]:
    """Shards to be embedded; those that a killed run finished are taken as they are."""
    for bucket, plan in plans.items():
        for number in range(plan.shards):
            mark = run.lake.shard_mark(plan.fileset, number, plan.shards)
            if mark:
                marks[bucket].append(mark)
            else:
                texts = min(SHARD_TEXTS, plan.texts - number * SHARD_TEXTS)
                yield TextShard(plan.fileset, number, plan.shards, texts, plan.staged, run.encoder)


def _embedded(run: Run, shards: Sequence[TextShard], embedder: Embedder) -> Iterator[Embedded]:
    """All shards, embedded. Where a text breaks the encoder, the shards left are done one by one without the texts to blame."""
    left = dict(enumerate(shards))
    try:
        for number, embedded in embedder.embed(run.lake, shards):
            del left[number]
            yield embedded
    except ItemFailed:
        yield from _isolated(run, list(left.values()))


def _isolated(run: Run, shards: list[TextShard]) -> Iterator[Embedded]:
    engine = run.engine(shards[0].fileset.stage)
    for number, embedded in engine.map(ShardEncoder(run.lake), shards):
        if not isinstance(embedded, Failed):
            yield embedded
            continue
        shard = shards[number]
        what = f"stage {shard.fileset.stage} on day {shard.fileset.day}"
        texts = texts_of(run.lake, shard).to_pylist()
        found = culprits(engine, TextProbe(run.encoder), texts, embedded, what)
        refused = {text["content_hash"]: failed.error for text, failed in found}
        for _, again in engine.map(ShardEncoder(run.lake, refused), [shard]):
            if isinstance(again, Failed):
                raise too_many(again, what, "what is left of its shard")
            yield again


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


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("embed"))
