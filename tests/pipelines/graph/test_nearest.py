"""Nearest earlier rows: a loop over all pairs gives the same; blocks do not show; an index finds nearly all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import nearest
from pipelines.graph.nearest import nearest_earlier


def unit_rows(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def pairs(new: np.ndarray, found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    return [(int(row), int(i)) for row, line in zip(new, found[0], strict=True) for i in line if i >= 0]


def brute(vectors: np.ndarray, new: np.ndarray, k: int, floor: float, groups: np.ndarray) -> list[tuple[int, int]]:
    found = []
    for row in new:
        scores = np.round(vectors[:row] @ vectors[row], 6)
        fit = [i for i in range(row) if scores[i] >= floor and groups[i] != groups[row]]
        found += [(int(row), i) for i in sorted(fit, key=lambda i: (-scores[i], i))[:k]]
    return found


@given(
    st.integers(0, 40),
    st.integers(1, 7),
    st.sampled_from([-1.0, 0.0, 0.3, 0.9]),
    st.integers(0, 9),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.sampled_from([1, 3]),
)
def test_equals_a_loop_over_all_pairs(n, k, floor, seed, is_new, size):
    axes = np.random.default_rng(seed).integers(0, 4, n)
    vectors = np.eye(5, dtype=np.float32)[axes] * 0.8  # many exact ties, so that their order is tested too
    vectors[:, 4] = 0.6
    new, groups = np.flatnonzero(is_new[:n]), np.arange(n) // size
    found = nearest_earlier(vectors, new, k, floor, groups)
    assert pairs(new, found) == brute(vectors, new, k, floor, groups)
    there = found[0] >= 0
    wanted = (vectors[new][:, None] * vectors[found[0]]).sum(2)
    assert np.allclose(found[1][there], wanted[there], atol=1e-5) and np.isneginf(found[1][~there]).all()


@pytest.mark.parametrize("extra", [-1, 0, 1, 700])
def test_blocks_do_not_show(extra):
    n = nearest.PAST + extra
    vectors = np.tile(unit_rows(np.random.default_rng(0), 97, 6), (n // 97 + 1, 1))[:n]
    new = np.arange(n - nearest.BLOCK - 5, n)
    found, _ = nearest_earlier(vectors, new, 3, 0.99)
    # the earliest copies of a text win, wherever they are
    assert np.array_equal(found, new[:, None] % 97 + 97 * np.arange(3)[None])


def test_nothing_before_and_nothing_new_give_nothing():
    vectors = unit_rows(np.random.default_rng(0), 3, 6)
    for new in (np.array([0]), np.empty(0, np.int64)):
        assert pairs(new, nearest_earlier(vectors, new, 5)) == []


def test_chunks_and_indexes_find_what_all_pairs_find(monkeypatch):
    rng = np.random.default_rng(1)
    centres = unit_rows(rng, 300, 24)
    noise = 0.25 * rng.standard_normal((7_300, 24))
    vectors = centres[rng.integers(0, 300, 7_300)] + noise
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    groups, new, some = np.arange(7_300) // 5, np.arange(1_500, 7_300), np.arange(7_000, 7_300)
    wanted = [pairs(rows, nearest_earlier(vectors, rows, 10, groups=groups)) for rows in (new, some)]
    for name, rows in (("EXACT_ROWS", 2_000), ("CHUNK", 1_000), ("INDEXED_FROM", 500)):
        monkeypatch.setattr(nearest, name, rows)
    found = [pairs(rows, nearest_earlier(vectors, rows, 10, groups=groups)) for rows in (new, some)]
    assert len(set(found[0]) & set(wanted[0])) >= 0.99 * len(wanted[0])
    assert found[1] == wanted[1]  # too few for an index: exact
