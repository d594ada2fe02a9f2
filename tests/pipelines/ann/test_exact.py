"""Exact search in its two forms: over stored vectors in place, and over float32 blocks for measuring."""

import numpy as np
import pytest

from pipelines.ann import exact
from pipelines.ann.source import VectorSource


def _vectors(n, dim=48, dtype=np.float16, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("block_rows", [1, 7, 300, 5_000])
def test_blocks_of_any_size_give_what_a_scan_gives(metric, block_rows):
    vectors, queries = _vectors(300), _vectors(40, dtype=np.float32, seed=1)

    rows, scores = exact.scan_blocks(VectorSource(vectors).blocks(block_rows), metric, queries, 10)

    want_rows, want_scores = exact.scan(vectors, metric, queries, 10)
    assert (rows == want_rows).all()
    np.testing.assert_allclose(scores, want_scores, atol=1e-5)


@pytest.mark.parametrize("block_rows", [7, 5_000])
def test_a_query_leaves_its_own_row_out_and_still_gets_k(block_rows):
    vectors = _vectors(300)
    own = np.arange(0, 300, 10)
    queries = vectors[own].astype(np.float32)

    rows, _ = exact.scan_blocks(VectorSource(vectors).blocks(block_rows), "ip", queries, 10, own)

    with_it, _ = exact.scan(vectors, "ip", queries, 11)
    assert (with_it[:, 0] == own).all()
    assert (rows == with_it[:, 1:]).all()


def test_more_asked_for_than_there_is_ends_in_padding():
    vectors = _vectors(5)

    rows, scores = exact.scan_blocks(VectorSource(vectors).blocks(2), "l2", _vectors(3, dtype=np.float32), 8)

    assert sorted(rows[0, :5]) == [0, 1, 2, 3, 4]
    assert (rows[:, 5:] == -1).all()
    assert np.isinf(scores[:, 5:]).all()
