"""The projection of the first pass: how many axes are kept, and that it never costs exactness."""

import numpy as np

from pipelines import ann
from pipelines.ann import projection


def decaying(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors whose variance halves every eight axes, turned so that no axis of the data shows it."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(7)
    turn, _ = np.linalg.qr(shared.standard_normal((dim, dim)))
    scaled = rng.standard_normal((n, dim)) * 0.5 ** (np.arange(dim) / 16)
    return (scaled @ turn + 3).astype(np.float32)


def test_few_axes_are_kept_where_few_hold_the_variance_and_their_share_is_what_is_asked_for():
    vectors = decaying(4000, 96)
    matrix = projection.fit(vectors, 0)
    assert matrix.shape == (96, 48)
    assert np.allclose(matrix.T @ matrix, np.eye(48), atol=1e-5)
    centred = vectors - vectors.mean(axis=0)
    held = np.square(centred @ matrix).sum() / np.square(centred).sum()
    assert projection.ENERGY <= held < 0.99
    spread = (centred @ matrix).var(axis=0)
    assert spread.max() < 3 * spread.min()  # turned: no sub-quantiser gets much more than its share


def test_all_axes_are_kept_where_all_are_needed_or_nothing_varies():
    assert projection.fit(np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32), 0) is None
    assert projection.fit(np.ones((100, 32), np.float32), 0) is None


def test_the_seed_turns_the_axes_and_nothing_else():
    vectors = decaying(2000, 64)
    a, b, c = (projection.fit(vectors, seed) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.allclose(a, c)
    assert np.allclose(a @ a.T, c @ c.T, atol=1e-4)  # the same plane


def test_a_projected_index_is_exact_when_everything_is_probed_and_ranked(tmp_path):
    vectors, queries = decaying(3000, 96), decaying(30, 96, seed=1)
    for metric in ("ip", "l2"):
        params = ann.AnnParams(metric=metric, nlist=30, rerank_dtype="f32")
        ann.build(vectors, tmp_path / metric, params=params)
        index = ann.open(tmp_path / metric, verify="full")
        assert index.manifest["plan"]["code_dim"] < 60
        q, x = queries.astype(np.float64), vectors.astype(np.float64)
        score = -(q @ x.T) if metric == "ip" else ((q[:, None] - x[None]) ** 2).sum(-1)
        assert np.array_equal(index.search(queries, 10, nprobe=30, rerank=9000)[0], np.argsort(score, axis=1)[:, :10])
        few = index.search(queries, 10, recall_target=0.95)[0]
        true = np.argsort(score, axis=1)[:, :10]
        assert np.mean([np.isin(t, f).mean() for t, f in zip(true, few, strict=True)]) >= 0.93
