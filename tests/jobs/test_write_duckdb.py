"""The vector index in a snapshot's DuckDB file at a size that has lists: recall, codes, and a file without units."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from jobs.benchmarks import sql
from jobs.benchmarks.planted_vectors import planted
from jobs.store.lake import Lake
from jobs.write_duckdb import build
from pipelines.sql.lists import FLAT_ROWS, make_lists, sign_codes
from schemas.ids import content_hash
from schemas.manifest import Catalogue, Snapshot


def vectors_of(n: int) -> np.ndarray:
    return planted([content_hash(str(i)) for i in range(n)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(file, vectors of its units, vectors that are none of them, ids of its units)."""
    folder = tmp_path_factory.mktemp("made")
    every = vectors_of(FLAT_ROWS + 1_050)
    vectors, queries = every[:-50], every[-50:]
    ids = sql._build(folder, vectors, folder / "engraph.duckdb", lambda stage, done, total: None)
    return folder / "engraph.duckdb", vectors, queries, ids


def test_ann_search_through_lists_and_codes_finds_nearly_all_of_the_nearest(made):
    file, vectors, queries, ids = made
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    with duckdb.connect(str(file), read_only=True) as con:
        nprobe, lists = con.execute("SELECT nprobe, (SELECT count(*) FROM ann_lists) FROM snapshot").fetchall()[0]
        found = [
            {row[0] for row in con.execute("SELECT unit_id FROM ann_search(?, 10)", [q.tolist()]).fetchall()}
            for q in queries
        ]
        everywhere = con.execute(
            "SELECT unit_id, score FROM ann_search(?, 10, ?)", [queries[0].tolist(), lists]
        ).fetchall()
    hits = [len(f & {ids[i] for i in t}) for f, t in zip(found, truth, strict=True)]
    assert 1 < nprobe < lists
    assert np.mean(hits) / 10 >= 0.95
    assert [s for _, s in everywhere] == pytest.approx((vectors @ queries[0])[truth[0]], abs=2e-3)


def test_every_vector_lies_in_the_list_of_its_nearest_centre():
    vectors = vectors_of(FLAT_ROWS + 500)
    lists = make_lists(len(vectors), vectors.shape[1], lambda rows: vectors[rows])
    squared = (lists.centres**2).sum(axis=1) - 2 * vectors @ lists.centres.T
    own = np.take_along_axis(squared, lists.of[:, None].astype(np.int64), 1)[:, 0]
    assert (own <= squared.min(axis=1) + 1e-4).all()


def test_codes_are_the_signs_of_the_components_less_the_mean():
    vectors, mean = np.array([[1.0, -1.0, 3.0], [0.0, 2.0, 1.0]], np.float32), np.array([0.5, 0.0, 2.0], np.float32)
    assert [bin(int(c))[2:].zfill(64)[:3] for (c,) in sign_codes(vectors, mean)] == ["101", "010"]


def test_a_snapshot_without_units_has_a_file_that_answers_with_nothing(tmp_path):
    snapshot = Snapshot(
        number=1, parent=None, created_at=sql.NOW, run_id="r", encoder="e@f32", identity="", filesets={}, index={}, rows={}
    )  # fmt: skip
    build(Lake(tmp_path / "store"), Catalogue(), [], snapshot, tmp_path / "engraph.duckdb")
    with duckdb.connect(str(tmp_path / "engraph.duckdb"), read_only=True) as con:
        assert con.execute("FROM lexical_search('anything')").fetchall() == []
        assert con.execute("FROM neighbors('a', 2)").fetchall() == con.execute("FROM memory_units").fetchall() == []
