"""Units, mentions, triples and synonyms -> the graph of a recall shard: compressed rows in mapped files, a namespace at a time.

HippoRAG 2's graph (arXiv 2502.14802): passages and entities are nodes; a passage is linked to the entities it mentions, by how rare
they are (idf; HippoRAG links by 1, but has a language model to leave out what is common); two entities by 2 x the number of
triples that relate them, and by 2 x the cosine of synonyms. A document's title is an entity too, with and without what stands in
brackets at its end, linked to every passage of the document. An entity in more than `hub_share` of a namespace's passages links
everything with everything and has no edges. Nodes of conversations are their rounds. Namespaces follow each other: nodes
[first, end) of one are its passages by row, then its entities by normal form; columns are numbered from `first`, so that the graph
of a namespace is a slice of every file. Entities are looked up by the hash of their folded normal form (`hashes`, `named`). Cost:
linear in mentions and triples, a sort of the edges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines import ann
from pipelines.extraction.normal import normal_form
from pipelines.graph.entities import entity_id
from pipelines.graph.pagerank import adjacency
from pipelines.graph.seeds import folded
from schemas.ids import unit_keys

NODES = ("passage", "round")
BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")
MENTION, FACT, SYNONYM = 1, 2, 4
ENTITIES = pa.schema(
    [
        pa.field("normal", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("passages", pa.int32(), nullable=False),
    ]
)
FACTS = pa.schema(
    [
        pa.field("subject", pa.int32(), nullable=False),
        pa.field("predicate", pa.string(), nullable=False),
        pa.field("object", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class GraphParams:
    """What decides the edges. `hub_least`: an entity in fewer passages than this is never a hub."""

    hub_share: float = 0.05
    hub_least: int = 20
    fact: float = 2.0
    synonym: float = 2.0


@dataclass(frozen=True)
class GraphTables:
    """What the graph of a shard is made of, of current units only.

    entities (entity_id, namespace, name, kind); mentions (unit_id, entity_id); triples (subject_id, predicate, object_id, unit_id);
    synonyms (source, target, weight); titles (document_id, namespace, title). `fact_vectors` [triples, dim]: unit norm, or zeros
    where a triple has none.
    """

    entities: pa.Table
    mentions: pa.Table
    triples: pa.Table
    synonyms: pa.Table
    titles: pa.Table | None = None
    fact_vectors: np.ndarray | None = None
    params: GraphParams = field(default_factory=GraphParams)


def write_graph(units: pa.Table, low: np.ndarray, high: np.ndarray, tables: GraphTables, out: Path) -> None:
    """Write the graph of `units` (in the order of the shard; they cover the leaves [low, high)) to the new folder `out`."""
    out.mkdir(parents=True)
    rows = pl.DataFrame(units.select(["unit_id", "namespace", "granularity", "document_id"])).with_row_index("row")
    rows = rows.with_columns(low=pl.Series(low), high=pl.Series(high), row=pl.col("row").cast(pl.Int32))
    named = _titles(rows, tables.titles)
    links = (
        pl.concat([_links(rows, tables.mentions), named.select("row", "entity_id")]).unique().sort("row", "entity_id")
    )
    known = [pl.DataFrame(tables.entities), named.with_columns(kind=pl.lit("name"))]
    entities = pl.concat([table.select("entity_id", "namespace", "name", "kind") for table in known])
    entities = entities.unique("entity_id", keep="first", maintain_order=True).join(links, on="entity_id", how="semi")
    nodes = _nodes(rows, entities)
    edges = _edges(nodes, rows, links, tables)
    _write_nodes(nodes, links, out)
    _write_rows(nodes, edges, out)
    _write_facts(nodes, rows, tables, out)


def _links(rows: pl.DataFrame, mentions: pa.Table) -> pl.DataFrame:
    """(row, entity_id) of each passage or round and each entity that a unit mentions whose leaves it shares."""
    said = (
        pl.DataFrame(mentions.select(["unit_id", "entity_id"]))
        .join(rows, on="unit_id")
        .filter(pl.col("high") > pl.col("low"))
    )
    leaves = said.select("entity_id", leaf=pl.int_ranges("low", "high")).explode("leaf").unique()
    nodes = rows.filter(pl.col("granularity").is_in(NODES) & (pl.col("high") > pl.col("low")))
    covered = nodes.select("row", leaf=pl.int_ranges("low", "high")).explode("leaf")
    return leaves.join(covered, on="leaf").select("row", "entity_id").unique().sort("row", "entity_id")


def _titles(rows: pl.DataFrame, titles: pa.Table | None) -> pl.DataFrame:
    """(row, entity_id, namespace, name) of each passage and the title of its document, which is an entity by its normal form."""
    forms = []
    for document, namespace, title in (
        pl.DataFrame(titles).select("document_id", "namespace", "title").rows() if titles else ()
    ):
        for name in dict.fromkeys((title, BRACKETS.sub("", title))):
            if normal := normal_form(name):
                forms.append((document, entity_id(namespace, normal), namespace, name))
    schema = ["document_id", "entity_id", "namespace", "name"]
    named = pl.DataFrame(forms, schema=dict.fromkeys(schema, pl.String), orient="row")
    passages = rows.filter(pl.col("granularity").is_in(NODES)).select("row", "document_id")
    joined = passages.join(named, on="document_id").sort("document_id", "row", "name")
    return joined.select("row", "entity_id", "namespace", "name")


def _nodes(rows: pl.DataFrame, entities: pl.DataFrame) -> pl.DataFrame:
    """(namespace, key, row, name, kind, entity_id, hash, node, first): passages by row, then entities by normal form."""
    passages = rows.filter(pl.col("granularity").is_in(NODES)).select(
        "namespace", key=pl.lit(""), row="row", name=pl.lit(""), kind=pl.lit(""), entity_id=pl.lit(None, pl.String)
    )
    normal = pl.col("entity_id").str.strip_prefix(pl.col("namespace") + "/entity:")
    named = entities.select(
        "namespace", key=normal, row=pl.lit(-1, pl.Int32), name="name", kind="kind", entity_id="entity_id"
    )
    passages = passages.with_columns(hash=pl.lit(0, pl.Int64))
    named = named.with_columns(hash=pl.Series(unit_keys(map(folded, named["key"])), dtype=pl.Int64))
    order = ["namespace", pl.col("row") < 0, "row", "key"]
    ordered = pl.concat([passages, named]).sort(order).with_row_index("node")
    return ordered.with_columns(
        pl.col("node").cast(pl.Int32), first=pl.col("node").min().over("namespace").cast(pl.Int32)
    )


def _edges(nodes: pl.DataFrame, rows: pl.DataFrame, links: pl.DataFrame, tables: GraphTables) -> pl.DataFrame:
    """(source, target, weight, kind): undirected, each given once."""
    params = tables.params
    of_row = nodes.filter(pl.col("row") >= 0).select("row", "namespace", source="node")
    of_entity = nodes.filter(pl.col("row") < 0).select("entity_id", target="node")
    passages = nodes.filter(pl.col("row") >= 0).group_by("namespace").agg(total=pl.len())
    mentions = links.join(of_row, on="row").join(of_entity, on="entity_id").join(passages, on="namespace")
    df = pl.len().over("target").alias("df")
    hub = pl.max_horizontal(pl.col("total") * params.hub_share, pl.lit(params.hub_least))
    mentions = mentions.with_columns(df).filter(pl.col("df") <= hub)
    mentions = mentions.with_columns(weight=(1 + pl.col("total") / pl.col("df")).log(), kind=pl.lit(MENTION))
    kept = mentions.select("target").unique()

    def between(table: pl.DataFrame, source: str, target: str, kind: int) -> pl.DataFrame:
        ends = of_entity.join(kept, on="target")
        joined = table.join(ends.rename({"entity_id": source, "target": "a"}), on=source)
        joined = joined.join(ends.rename({"entity_id": target, "target": "b"}), on=target)
        return joined.select(source="a", target="b", weight="weight", kind=pl.lit(kind))

    live = pl.DataFrame(tables.triples).join(rows.select("unit_id"), on="unit_id")
    facts = between(live.with_columns(weight=pl.lit(params.fact)), "subject_id", "object_id", FACT)
    synonyms = pl.DataFrame(tables.synonyms).with_columns(weight=pl.col("weight").cast(pl.Float64) * params.synonym)
    found = [
        mentions.select("source", "target", "weight", "kind"),
        facts,
        between(synonyms, "source", "target", SYNONYM),
    ]
    ordered = pl.concat([f.with_columns(pl.col("kind").cast(pl.UInt8)) for f in found])
    return ordered.sort("source", "target", "kind", "weight")


def _spans(nodes: pl.DataFrame) -> Iterator[tuple[str, int, int, int]]:
    """(namespace, first node, first entity, end)."""
    spans = nodes.group_by("namespace", maintain_order=True).agg(
        pl.col("node").min().alias("first"), (pl.col("row") >= 0).sum().alias("passages"), pl.len().alias("count")
    )
    for namespace, first, passages, count in spans.iter_rows():
        yield namespace, first, first + passages, first + count


def _write_nodes(nodes: pl.DataFrame, links: pl.DataFrame, out: Path) -> None:
    np.save(out / "rows.npy", nodes["row"].to_numpy())
    df = links.group_by("entity_id").agg(pl.len().cast(pl.Int32).alias("passages"))
    entities = nodes.filter(pl.col("row") < 0).join(df, on="entity_id", maintain_order="left")
    by_hash = entities.sort("hash", "node")
    np.save(out / "hashes.npy", by_hash["hash"].to_numpy())
    np.save(out / "named.npy", by_hash["node"].to_numpy())
    table = entities.select(pl.col("key").alias("normal"), "name", "kind", "passages").to_arrow().cast(ENTITIES)
    _write_table(table, out / "entities.arrow")
    spans = {n: [first, entity, end] for n, first, entity, end in _spans(nodes)}
    (out / "graph.json").write_text(json.dumps({"namespaces": spans}))


def _write_rows(nodes: pl.DataFrame, edges: pl.DataFrame, out: Path) -> None:
    """Compressed rows, namespace after namespace."""
    source, target = edges["source"].to_numpy(), edges["target"].to_numpy()
    weight, kind = edges["weight"].to_numpy(), edges["kind"].to_numpy()
    owner = np.searchsorted([first for _, first, _, _ in _spans(nodes)], source, "right")
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(1, owner.max(initial=0) + 2))
    parts = {int(owner[order[a]]): order[a:b] for a, b in pairwise(bounds.tolist()) if b > a}
    starts, columns, weights, kinds, strengths = [np.zeros(1, np.int64)], [], [], [], []
    for number, (_, first, _, end) in enumerate(_spans(nodes), 1):
        mine = parts.get(number, np.empty(0, np.int64))
        a, b = source[mine] - first, target[mine] - first
        graph = adjacency(a, b, weight[mine], end - first)
        starts.append(graph.matrix.indptr[1:] + starts[-1][-1])
        columns.append(graph.matrix.indices)
        weights.append(graph.matrix.data)
        strengths.append(graph.strength)
        kinds.append(_kinds(graph.matrix, a, b, kind[mine]))
    np.save(out / "starts.npy", np.concatenate(starts))
    np.save(out / "columns.npy", np.concatenate([np.empty(0, np.int32), *columns]))
    np.save(out / "weights.npy", np.concatenate([np.empty(0, np.float32), *weights]))
    np.save(out / "strengths.npy", np.concatenate([np.empty(0, np.float32), *strengths]))
    np.save(out / "kinds.npy", np.concatenate([np.empty(0, np.uint8), *kinds]))


def _kinds(matrix, a: np.ndarray, b: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """What each entry of the matrix is made of, as bits."""
    nodes = matrix.shape[0]
    keys = np.repeat(np.arange(nodes, dtype=np.int64), np.diff(matrix.indptr)) * nodes + matrix.indices
    out = np.zeros(len(keys), np.uint8)
    for source, target in ((a, b), (b, a)):
        wanted = source.astype(np.int64) * nodes + target
        at = np.searchsorted(keys, wanted)
        there = (at < len(keys)) & (source != target)
        np.bitwise_or.at(out, at[there], kind[there])
    return out


def _write_facts(nodes: pl.DataFrame, rows: pl.DataFrame, tables: GraphTables, out: Path) -> None:
    """Triples with a vector whose ends are nodes, by namespace, and an index of their vectors."""
    ends = nodes.filter(pl.col("row") < 0).select("entity_id", "node")
    facts = pl.DataFrame(tables.triples).with_row_index("at").join(rows.select("unit_id", "row"), on="unit_id")
    facts = facts.join(ends.rename({"entity_id": "subject_id", "node": "subject"}), on="subject_id")
    facts = facts.join(ends.rename({"entity_id": "object_id", "node": "object"}), on="object_id")
    facts = facts.sort("subject", "object", "predicate", "row")
    vectors = np.empty((0, 0), np.float32)
    if tables.fact_vectors is not None:
        vectors = tables.fact_vectors[facts["at"].to_numpy()]
    has = np.flatnonzero(np.abs(vectors).sum(axis=1) > 0)
    if len(has):
        ann.build(vectors[has], out / "facts")
    _write_table(facts[has].select(FACTS.names).to_arrow().cast(FACTS), out / "facts.arrow")


def _write_table(table: pa.Table, file: Path) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
