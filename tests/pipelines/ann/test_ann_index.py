"""The ANN index against brute force: exactness, filters, padding, keys, shapes, recall, on data made here."""

import os
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest

from pipelines import ann
from pipelines.ann import coarse, layout
from schemas.errors import UsageError


def clustered(n: int, dim: int, seed: int = 0, clusters: int = 60) -> np.ndarray:
    """Unit vectors around random centres: neighbours exist, borders too."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((clusters, dim))
    vectors = centres[rng.integers(clusters, size=n)] + 0.6 * rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute(vectors, queries, k, metric, rows=None):
    """(rows, scores) by float64 arithmetic."""
    rows = np.arange(len(vectors)) if rows is None else rows
    x, q = vectors[rows].astype(np.float64), queries.astype(np.float64)
    score = q @ x.T if metric == "ip" else ((q[:, None, :] - x[None]) ** 2).sum(-1)
    order = np.argsort(-score if metric == "ip" else score, axis=1, kind="stable")[:, :k]
    return rows[order], np.take_along_axis(score, order, axis=1)


def recall(found, true):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, true, strict=True)])


@pytest.fixture(scope="module", params=[False, True], ids=["all-centres", "centres-in-groups"])
def lists(request, tmp_path_factory):
    """3,000 vectors in 30 lists under both metrics: (vectors, queries, {metric: index})."""
    vectors, queries = clustered(3000, 32), clustered(40, 32, seed=1)
    indexes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse, "GROUPED_FROM", 8 if request.param else 1000)
        for metric in ("ip", "l2"):
            out = tmp_path_factory.mktemp("ann") / metric
            ann.build(vectors, out, params=ann.AnnParams(metric=metric, nlist=30, rerank_dtype="f32"))
            indexes[metric] = ann.open(out, verify="full")
    return vectors, queries, indexes


def test_centres_in_groups_keep_the_numbers_of_their_lists_and_all_of_them_can_be_probed():
    vectors = clustered(2500, 24)
    flat = faiss.IndexFlatIP(24)
    flat.add(vectors)
    lists = faiss.IndexIVFFlat(coarse.grouped(flat), 24, 2500, faiss.METRIC_INNER_PRODUCT)
    assert np.array_equal(coarse.centres(lists), vectors)
    queries = clustered(50, 24, seed=1)
    for nprobe, least in ((20, 0.8), (200, 0.98), (700, 1.0)):
        found = lists.quantizer.search(queries, nprobe, params=coarse.effort(lists, nprobe))[1]
        assert recall(found, brute(vectors, queries, nprobe, "ip")[0]) >= least


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_probing_every_list_and_ranking_every_candidate_equals_brute_force(lists, metric):
    vectors, queries, indexes = lists
    assert indexes[metric].manifest["nlist"] == 30
    keys, scores = indexes[metric].search(queries, 10, nprobe=30, rerank=3000)
    true, true_scores = brute(vectors, queries, 10, metric)
    assert np.array_equal(keys, true)
    assert np.allclose(scores, true_scores, atol=1e-5)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_the_default_target_is_reached_on_queries_that_were_never_indexed(lists, metric):
    vectors, queries, indexes = lists
    keys, _ = indexes[metric].search(queries, 10)
    assert recall(keys, brute(vectors, queries, 10, metric)[0]) >= 0.95


def test_a_higher_target_probes_more_and_finds_no_less(lists):
    vectors, queries, indexes = lists
    true = brute(vectors, queries, 10, "ip")[0]
    low, high, sure = (indexes["ip"].search(queries, 10, recall_target=t)[0] for t in (0.5, 0.99, 1.0))
    assert recall(low, true) <= recall(high, true) <= recall(sure, true) == 1
    points = [p for p in indexes["ip"].manifest["recall"]["points"] if p["k"] == 10]
    assert len(points) > 3 and all(a["low"] < b["low"] and a["cost"] < b["cost"] for a, b in pairwise(points))


def test_few_probes_find_less_than_many(lists):
    vectors, queries, indexes = lists
    true = brute(vectors, queries, 10, "ip")[0]
    one, many = (recall(indexes["ip"].search(queries, 10, nprobe=p, rerank=200)[0], true) for p in (1, 30))
    assert one < many


def test_no_key_is_returned_twice_although_vectors_lie_in_two_lists(lists):
    _, queries, indexes = lists
    assert indexes["ip"].manifest["entries"] > 3000
    keys, _ = indexes["ip"].search(queries, 50, nprobe=10, rerank=300)
    assert all(len(set(line[line >= 0])) == (line >= 0).sum() for line in keys)


def test_one_query_gives_one_line_equal_to_its_line_in_the_batch(lists):
    _, queries, indexes = lists
    keys, scores = indexes["l2"].search(queries, 5)
    one_key, one_score = indexes["l2"].search(queries[7], 5)
    assert one_key.shape == (5,) and np.array_equal(one_key, keys[7]) and np.allclose(one_score, scores[7], atol=1e-6)


def test_two_threads_answer_as_one(lists):
    _, queries, indexes = lists
    one, two = (indexes["ip"].search(queries, 10, nprobe=8, rerank=60, threads=t) for t in (1, 2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_more_results_than_vectors_are_padded_after_all_of_them(lists):
    _, queries, indexes = lists
    for metric, worst in (("ip", -np.inf), ("l2", np.inf)):
        keys, scores = indexes[metric].search(queries[:3], 3100)
        assert np.array_equal(np.sort(keys[:, :3000]), np.tile(np.arange(3000), (3, 1)))
        assert (keys[:, 3000:] == -1).all() and (scores[:, 3000:] == worst).all()
        assert (np.diff(scores[:, :3000]) * (-1 if metric == "ip" else 1) >= 0).all()


def test_an_explicit_nprobe_is_kept_and_short_lists_are_padded(lists):
    _, queries, indexes = lists
    keys, _ = indexes["ip"].search(queries, 2500, nprobe=1)
    assert ((keys >= 0).sum(axis=1) < 2500).all() and (keys[:, 0] >= 0).all()


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("allowed", [0, 3, 700, 3000])
def test_a_filter_returns_the_best_of_the_allowed_rows_only(lists, metric, allowed):
    vectors, queries, indexes = lists
    rows = np.sort(np.random.default_rng(5).choice(3000, allowed, replace=False))
    mask = np.zeros(3000, bool)
    mask[rows] = True
    true = np.full((len(queries), 10), -1)
    true[:, : min(10, allowed)] = brute(vectors, queries, 10, metric, rows)[0]
    for filter in (mask, rows, np.concatenate([rows[::-1], rows, [10**12]])):
        assert np.array_equal(indexes[metric].search(queries, 10, filter=filter)[0], true)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """30,000 vectors with scattered keys: enough that a filter of three quarters of them goes through the lists."""
    vectors = clustered(30_000, 16)
    keys = np.random.default_rng(3).permutation(30_000).astype(np.int64) * 7 + 10**15
    out = tmp_path_factory.mktemp("wide") / "index"
    ann.build(vectors, out, ids=keys)
    return vectors, keys, ann.open(out)


def test_a_wide_filter_keeps_the_target_and_never_leaks(wide):
    vectors, keys, index = wide
    assert index.manifest["nlist"] == 300
    queries = clustered(50, 16, seed=2)
    rows = np.flatnonzero(np.random.default_rng(6).random(30_000) < 0.75)
    found, _ = index.search(queries, 10, filter=keys[rows])
    assert np.isin(found, keys[rows]).all()
    assert recall(found, keys[brute(vectors, queries, 10, "ip", rows)[0]]) >= 0.95


def test_given_ids_come_back_for_the_vectors_they_were_given_with(wide):
    vectors, keys, index = wide
    found, scores = index.search(vectors[:100], 1, recall_target=0.99)
    assert (found[:, 0] == keys[:100]).mean() >= 0.99 and np.allclose(scores.max(), 1, atol=1e-3)


def test_a_large_k_keeps_its_recall(wide):
    vectors, keys, index = wide
    queries = clustered(20, 16, seed=4)
    for k in (100, 500):
        assert recall(index.search(queries, k)[0], keys[brute(vectors, queries, k, "ip")[0]]) >= 0.95


def test_float16_vectors_cost_half_the_disk_and_rank_alike(tmp_path):
    vectors, queries = clustered(3000, 32), clustered(400, 32, seed=1)
    ann.build(vectors, tmp_path / "half", params=ann.AnnParams(nlist=30))
    index = ann.open(tmp_path / "half")
    keys, scores = index.search(queries, 10, nprobe=30, rerank=3000)
    true, true_scores = brute(vectors, queries, 10, "ip")
    assert recall(keys, true) >= 0.999 and np.allclose(scores, true_scores, atol=2e-3)
    assert (tmp_path / "half" / layout.file_name("vectors", 0)).stat().st_size == 3000 * 32 * 2


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("dim", [1, 2, 3, 5, 17])
def test_small_and_odd_dimensions_are_indexed_exactly(tmp_path, dim, metric):
    vectors = np.random.default_rng(0).standard_normal((400, dim)).astype(np.float32)
    queries = np.random.default_rng(1).standard_normal((7, dim)).astype(np.float32)
    ann.build(vectors, tmp_path / "index", params=ann.AnnParams(metric=metric, nlist=8, replicas=3, rerank_dtype="f32"))
    keys, scores = ann.open(tmp_path / "index").search(queries, 5, nprobe=8, rerank=400)
    true, true_scores = brute(vectors, queries, 5, metric)
    assert np.array_equal(keys, true) and np.allclose(scores, true_scores, atol=1e-5)


def test_a_code_that_does_not_divide_the_dimension_is_padded(tmp_path):
    vectors, queries = clustered(600, 20), clustered(5, 20, seed=1)
    ann.build(vectors, tmp_path / "index", params=ann.AnnParams(nlist=8, code="pq7x4"))
    keys, _ = ann.open(tmp_path / "index").search(queries, 5, nprobe=8, rerank=600)
    assert np.array_equal(keys, brute(vectors, queries, 5, "ip")[0])


@pytest.mark.parametrize("n", [0, 1, 5, 70])
@pytest.mark.parametrize("nlist", [None, 4])
def test_a_handful_of_vectors_is_searched_exactly(tmp_path, n, nlist):
    vectors, queries = clustered(max(n, 1), 8)[:n], clustered(3, 8, seed=1)
    ann.build(vectors, tmp_path / "index", ids=np.arange(n) + 50, params=ann.AnnParams(nlist=nlist))
    keys, scores = ann.open(tmp_path / "index", verify="full").search(queries, 9)
    true = np.full((3, 9), -1)
    true[:, : min(n, 9)] = brute(vectors, queries, 9, "ip")[0] + 50
    assert np.array_equal(keys, true) and (scores[keys < 0] == -np.inf).all()
    assert (ann.open(tmp_path / "index").search(queries, 2, filter=np.array([1]))[0] == -1).all()


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_duplicates_and_zero_vectors_are_all_found_once(tmp_path, metric):
    vectors = np.concatenate([np.tile(clustered(1, 12), (300, 1)), np.zeros((200, 12), np.float32), clustered(500, 12)])
    ann.build(vectors, tmp_path / "index", params=ann.AnnParams(metric=metric, nlist=10))
    index = ann.open(tmp_path / "index")
    keys, scores = index.search(vectors[0], 300, nprobe=10, rerank=1000)
    assert set(keys[scores == scores[0]]) >= set(range(300)) and len(set(keys)) == 300
    assert len(set(index.search(np.zeros(12), 1000)[0])) == 1000
    assert len(set(index.search(vectors[0], 20)[0])) == 20


def test_nothing_but_equal_vectors_can_be_indexed(tmp_path):
    ann.build(np.ones((500, 6), np.float32), tmp_path / "index", params=ann.AnnParams(metric="l2", nlist=20))
    keys, scores = ann.open(tmp_path / "index").search(np.ones(6), 10)
    assert len(set(keys)) == 10 and (scores == 0).all()


def test_long_vectors_win_by_inner_product(tmp_path):
    rng = np.random.default_rng(0)
    vectors = (clustered(2000, 16) * rng.lognormal(0, 1, (2000, 1))).astype(np.float32)
    ann.build(vectors, tmp_path / "index", params=ann.AnnParams(nlist=20))
    queries = clustered(30, 16, seed=3)
    found = ann.open(tmp_path / "index").search(queries, 10)[0]
    assert recall(found, brute(vectors, queries, 10, "ip")[0]) >= 0.9


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda i: i.search(np.zeros(31), 5), "index has dim 32"),
        (lambda i: i.search(np.full(32, np.nan), 5), "NaN"),
        (lambda i: i.search(np.zeros(32), 0), "k is 0"),
        (lambda i: i.search(np.zeros(32), 5, recall_target=1.5), "recall_target"),
        (lambda i: i.search(np.zeros(32), 5, filter=np.zeros(7, bool)), "one boolean for each of the 3000 rows"),
        (lambda i: i.search(np.zeros(32), 5, filter=np.array([0.5])), "int64 keys"),
    ],
)
def test_a_search_that_cannot_be_meant_says_why(lists, call, says):
    with pytest.raises(UsageError, match=says):
        call(lists[2]["ip"])


@pytest.mark.skipif("ENGRAPH_TEST_DATA" not in os.environ, reason="ENGRAPH_TEST_DATA is unset: no real vectors at hand")
def test_real_text_vectors_reach_the_default_target_on_held_out_questions(tmp_path):
    folder = Path(os.environ["ENGRAPH_TEST_DATA"]) / "vectors"
    vectors = np.load(folder / "text_base_f16.npy", mmap_mode="r")[:30_000]
    queries = np.load(folder / "text_query_f16.npy").astype(np.float32)
    true = np.argsort(-(queries @ vectors.astype(np.float32).T), axis=1)[:, :10]
    ann.build(vectors, tmp_path / "index")
    index = ann.open(tmp_path / "index")
    assert recall(index.search(queries, 10)[0], true) >= 0.95
    assert recall(index.search(queries, 10, recall_target=0.99)[0], true) >= 0.985
