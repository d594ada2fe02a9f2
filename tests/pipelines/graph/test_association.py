"""Mixtures: the golden values, scikit-learn beside them, rows that know nothing of each other, and what is done where none fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from pipelines.graph.association import AssociationParams, associate, fit

GOLDEN = np.array([[0.92, 0.90, 0.88, 0.87, 0.55, 0.53, 0.52, 0.50, 0.49, 0.47, 0.45, 0.44]])


def rows_of(n: int, least_gap: float, seed: int = 0) -> np.ndarray:
    """Rows of 30 similarities, best first: a few high ones, many low ones, at distances that differ from row to row."""
    rng = np.random.default_rng(seed)
    high = np.arange(30) < rng.integers(2, 16, n)[:, None]
    middle = rng.uniform(0.2, 0.5, (n, 1)) + np.where(high, rng.uniform(least_gap, 0.4, (n, 1)), 0)
    return -np.sort(-(middle + 0.04 * rng.standard_normal((n, 30))), axis=1)


def test_the_golden_row():
    assert np.allclose(fit(GOLDEN, np.ones(GOLDEN.shape, bool)).means, [[0.4937, 0.8925]], atol=1e-3)
    assert associate(GOLDEN)[0].tolist() == [True] * 4 + [False] * 8


@pytest.mark.parametrize("least_gap", [0.1, 0.25])
def test_what_scikit_learn_accepts_on_separable_rows(least_gap):
    scores, params = rows_of(150, least_gap), AssociationParams()
    mine = associate(scores)
    equal = []
    for i in np.flatnonzero(fit(scores, np.ones(scores.shape, bool)).separable(params)):
        mixture = GaussianMixture(n_components=2, random_state=0).fit(scores[i][:, None])
        wanted = mixture.predict(scores[i][:, None]) == mixture.means_.argmax()
        if params.least_share <= wanted.mean() <= params.most_accepted:
            equal.append(bool((wanted == mine[i]).all()))
    assert len(equal) >= 100 and np.mean(equal) >= 0.99


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_a_row_does_not_depend_on_the_others_nor_on_order_or_padding(seed, m):
    rng = np.random.default_rng(seed)
    scores, known = rng.random((7, 12)), rng.permuted(np.tile(np.arange(12) < m, (7, 1)), axis=1)
    together = associate(scores, known)
    for row, mask, chosen in zip(scores, known, together, strict=True):
        assert np.array_equal(associate(row[mask][None])[0], chosen[mask])
        assert np.array_equal(associate(row[::-1][None], mask[::-1][None])[0], chosen[::-1])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_what_is_accepted_is_never_less_alike_than_what_is_not(values):
    scores = np.array([values])
    chosen = associate(scores)[0]
    assert chosen.any()
    if not chosen.all():
        assert scores[0][chosen].min() >= scores[0][~chosen].max()


@pytest.mark.parametrize("values", [[0.7, 0.2], [0.5] * 8, list(np.linspace(0.3, 0.6, 30))])
def test_rows_that_do_not_part_give_their_best_tenth(values):
    scores = np.array([values])
    wanted = scores[0] >= -np.sort(-scores[0])[int(np.ceil(len(values) * 0.1 - 1e-9)) - 1]
    assert np.array_equal(associate(scores)[0], wanted)


def test_nothing_known_accepts_nothing():
    assert not associate(np.full((2, 5), -np.inf), np.zeros((2, 5), bool)).any()
    assert associate(np.empty((0, 30))).shape == (0, 30) and associate(np.empty((3, 0))).shape == (3, 0)
