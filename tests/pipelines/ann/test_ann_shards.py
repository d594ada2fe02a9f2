"""Several indexes searched as one, and cold pages: both must change no answer."""

import numpy as np
import pytest

from pipelines import ann
from pipelines.ann import prefetch
from schemas.errors import UsageError

DIM, N = 20, 4000


def clustered(n: int, seed: int) -> np.ndarray:
    rng, shared = np.random.default_rng(seed), np.random.default_rng(99)
    return (shared.standard_normal((40, DIM))[rng.integers(40, size=n)] + rng.standard_normal((n, DIM))).astype(
        np.float32
    )


@pytest.fixture(scope="module", params=["ip", "l2"])
def folders(request, tmp_path_factory):
    """(metric, whole index, four shards of unequal size and kind, their folders)."""
    metric, root = request.param, tmp_path_factory.mktemp("shards")
    vectors, edges = clustered(N, 0), [0, 100, 1500, 1501, N]
    params = ann.AnnParams(metric=metric, nlist=20, rerank_dtype="f32")
    ann.build(vectors, root / "whole", params=params)
    parts = [root / f"shard-{number}" for number in range(4)]
    for part, low, high in zip(parts, edges[:-1], edges[1:], strict=True):
        ann.build(vectors[low:high], part, ids=np.arange(low, high), params=params)
    return metric, ann.open(root / "whole"), ann.open(parts), parts


def test_shards_probed_wholly_answer_as_one_index_and_as_brute_force(folders):
    metric, whole, shards, _ = folders
    queries, vectors = clustered(30, 1), clustered(N, 0)
    everything = {"nprobe": 20, "rerank": 2 * N}
    keys, scores = shards.search(queries, 15, **everything)
    one_keys, one_scores = whole.search(queries, 15, **everything)
    q, x = queries.astype(np.float64), vectors.astype(np.float64)
    score = -(q @ x.T) if metric == "ip" else ((q[:, None] - x[None]) ** 2).sum(-1)
    assert np.array_equal(keys, np.argsort(score, axis=1)[:, :15])
    assert np.array_equal(keys, one_keys) and np.allclose(scores, one_scores, rtol=1e-4)
    assert len(shards) == N


def test_more_results_than_all_shards_hold_are_padded(folders):
    metric, _, shards, _ = folders
    keys, scores = shards.search(clustered(1, 1)[0], N + 5)
    assert np.array_equal(np.sort(keys[:N]), np.arange(N)) and (keys[N:] == -1).all()
    assert np.isinf(scores[N:]).all() and (np.diff(scores[:N]) * (1 if metric == "l2" else -1) >= 0).all()


def test_a_filter_of_keys_reaches_into_every_shard(folders):
    _, whole, shards, _ = folders
    queries, allowed = clustered(10, 2), np.array([5, 1500, 1200, 3999, 3998, 10**9])
    assert np.array_equal(shards.search(queries, 8, filter=allowed)[0], whole.search(queries, 8, filter=allowed)[0])
    with pytest.raises(UsageError, match="int64 keys"):
        shards.search(queries, 8, filter=np.ones(N, bool))


def test_shards_that_do_not_fit_together_are_refused(folders, tmp_path):
    metric, _, _, parts = folders
    other = "l2" if metric == "ip" else "ip"
    ann.build(clustered(50, 0), tmp_path / "other", params=ann.AnnParams(metric=other))
    with pytest.raises(UsageError, match="the shards differ"):
        ann.open([parts[0], tmp_path / "other"])
    with pytest.raises(UsageError, match="at least one"):
        ann.open([])


@pytest.mark.parametrize("filtered", [False, True])
def test_a_search_that_asks_for_its_pages_first_answers_the_same(folders, filtered):
    _, whole, _, _ = folders
    queries = clustered(30, 3)
    if filtered:
        whole.delete(np.arange(40))
    warm = whole.search(queries, 10, nprobe=5, rerank=60)
    prober = whole._view.prober
    prober._cold_for = prefetch.STAY
    cold = whole.search(queries, 10, nprobe=5, rerank=60)
    assert prober._cold_for < prefetch.STAY
    assert np.array_equal(warm[0], cold[0]) and np.allclose(warm[1], cold[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("met", "asks"), [(prefetch.MANY - 1, False), (prefetch.MANY, True)])
def test_pages_are_asked_for_after_a_query_that_met_many_faults_not_after_a_stray_one(folders, monkeypatch, met, asks):
    _, whole, _, _ = folders
    seen = iter([100, 100 + met])
    monkeypatch.setattr(prefetch, "faults", lambda: next(seen))
    prober = whole._view.prober
    prober._cold_for = 0
    whole.search(clustered(1, 3), 10, nprobe=5, rerank=60)
    assert (prober._cold_for > 0) == asks


@pytest.mark.skipif(not prefetch.AVAILABLE, reason="this system has no posix_fadvise")
def test_neighbouring_pages_are_asked_for_together(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(bytes(40 * 4096))
    asked = []
    monkeypatch.setattr(prefetch.os, "posix_fadvise", lambda fd, start, length, advice: asked.append((start, length)))
    pages = prefetch.Pages(tmp_path / "file")
    pages.ask(np.array([9 * 4096 + 5, 0, 4090, 20 * 4096]), np.array([10, 100, 10, 8192]))
    assert asked == [(0, 8192), (9 * 4096, 4096), (20 * 4096, 8192)]
