"""A shard on disk: row ranges, the leaves each unit covers, and what is said when a file is not whole."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.recall import RecallShard, build_shard
from pipelines.recall.shard import WHOLE_GROUP, sort_units
from schemas.errors import StoreError

LEAVES = ("turn", "sentence")
every_corpus = pytest.mark.parametrize("name", ["conversations", "documents", "mixed"])


def covered(rows: list[dict], unit: dict) -> set[int]:
    """Rows of the leaves a unit covers, by looking at every pair of spans."""
    group = (unit["namespace"], unit["session_id"], unit["document_id"])
    found = set()
    for i, leaf in enumerate(rows):
        if leaf["granularity"] not in LEAVES or (leaf["namespace"], leaf["session_id"], leaf["document_id"]) != group:
            continue
        touches = any(
            a["ref"] == b["ref"] and a["start"] < b["end"] and b["start"] < a["end"]
            for a in leaf["source_spans"]
            for b in unit["source_spans"]
        )
        if unit["granularity"] in WHOLE_GROUP or touches:
            found.add(i)
    return found


@every_corpus
def test_the_leaf_interval_of_every_unit_is_what_its_spans_touch(request, name):
    corpus = request.getfixturevalue(name)
    rows = corpus.rows()
    for row, low, high in zip(rows, corpus.shard.low.tolist(), corpus.shard.high.tolist(), strict=True):
        assert set(range(low, high)) == covered(rows, row), row["unit_id"]


@every_corpus
def test_rows_of_a_granularity_in_a_namespace_are_one_slice(request, name):
    corpus = request.getfixturevalue(name)
    rows = corpus.rows()
    for granularity in {r["granularity"] for r in rows}:
        for namespace in corpus.shard.namespaces():
            wanted = [i for i, r in enumerate(rows) if (r["granularity"], r["namespace"]) == (granularity, namespace)]
            slices = corpus.shard.slices(granularity, {namespace})
            assert [i for a, b in slices for i in range(a, b)] == wanted
        ((a, b),) = corpus.shard.slices(granularity, None)
        assert [r["granularity"] for r in rows[a:b]] == [granularity] * (b - a)
    assert corpus.shard.slices("turn", {"nobody"}) == []
    assert corpus.shard.slices("note", None) == []


def test_rows_do_not_depend_on_the_order_they_came_in(conversations):
    shuffled = conversations.units.take(pa.array(np.random.default_rng(0).permutation(conversations.units.num_rows)))
    assert sort_units(shuffled).equals(conversations.units)


def test_a_group_is_ordered_by_time_and_position(conversations):
    rows = [r for r in conversations.rows() if r["granularity"] == "turn" and r["namespace"] == "a"]
    assert [r["unit_id"] for r in rows] == [f"a/s{s}/{i}" for s, n in ((1, 7), (2, 9)) for i in range(n)]


@pytest.mark.parametrize("file", ["vectors.npy", "units.arrow", "low.npy", "lexical/rows.npy"])
def test_a_file_that_is_cut_or_gone_is_named(make, tmp_path, file):
    units = make.units_of([make.turns("a", "s", ["Ann: hello", "Bob: hi"])], [])
    corpus = make.corpus(units, tmp_path / "shard")
    assert len(corpus.shard.vectors) == units.num_rows
    target = tmp_path / "shard" / file
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"index file {file} is damaged or missing"):
        RecallShard(tmp_path / "shard")
    target.unlink()
    with pytest.raises(StoreError, match=f"index file {file} is damaged or missing"):
        RecallShard(tmp_path / "shard")


def test_a_shard_without_its_manifest_does_not_exist(make, tmp_path):
    units = sort_units(make.units_of([make.turns("a", "s", ["Ann: hello", "Bob: hi"])], []))
    build_shard(units, make.encode(units["text"].to_pylist()), tmp_path / "shard", encoder="words@f32")
    (tmp_path / "shard" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="run the ingest again"):
        RecallShard(tmp_path / "shard")
