"""The number that the gate of a snapshot wants, on indexes that are good, that hold every text twice, and that are bad."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines import ann
from pipelines.ann.check import recall_at_10

FIRST = 1_000


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((60, 48))
    return unit(centres[rng.integers(0, 60, 6_000)] + 0.6 * rng.standard_normal((6_000, 48)))


def built(vectors: np.ndarray, folder, **params) -> ann.Index:
    keys = np.arange(FIRST, FIRST + len(vectors))
    ann.build(vectors, folder, ids=keys, params=ann.AnnParams(nlist=60, **params))
    return ann.open(folder)


def test_texts_that_stand_in_a_corpus_three_times_are_found_as_well_as_others(vectors, tmp_path):
    """By rows a third of the right answers would count as wrong ones, and the corpus could not be published."""
    again = np.concatenate([vectors[:2_000]] * 3)
    once, thrice = built(vectors, tmp_path / "once"), built(again, tmp_path / "thrice")
    assert recall_at_10(once, vectors, FIRST) >= 0.94
    assert recall_at_10(thrice, again, FIRST) >= 0.94


def test_an_index_of_other_vectors_is_found_out(vectors, tmp_path):
    other = built(vectors[::-1].copy(), tmp_path / "other")
    assert recall_at_10(other, vectors, FIRST) < 0.3


def test_an_exact_index_finds_all(vectors, tmp_path):
    assert recall_at_10(built(vectors, tmp_path / "flat", code="flat", rerank_dtype="f32"), vectors, FIRST) == 1.0
