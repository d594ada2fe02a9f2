"""The formulas, against values worked out by hand and the golden values of the LongMemEval family."""

import numpy as np
import pytest

from pipelines.evaluation import metrics


def one(gains, n_gold):
    return np.array([gains]), np.array([n_gold])


@pytest.mark.parametrize(
    ("relevance", "n_gold", "longmemeval", "standard"),
    [
        ([0, 1, 1, 0, 0], 2, 0.815465, 0.693426),
        ([1, 0, 0, 0, 1], 2, 0.715338, 0.850345),
        ([0, 1, 0, 0, 0], 1, 1.000000, 0.630930),
        ([0, 0, 0, 0, 1], 1, 0.430677, 0.386853),
    ],
)
def test_ndcg_has_the_golden_values_in_both_forms(relevance, n_gold, longmemeval, standard):
    gains = one(relevance, n_gold)
    assert metrics.ndcg(*gains, 5, "longmemeval")[0] == pytest.approx(longmemeval, abs=1e-6)
    assert metrics.ndcg(*gains, 5)[0] == pytest.approx(standard, abs=1e-6)


def test_the_three_recalls_differ_when_half_of_the_gold_is_found():
    gains = one([0, 1, 0, 0, 1], 2)
    assert [metrics.recall_any(*gains, k)[0] for k in (1, 2, 5)] == [0, 1, 1]
    assert [metrics.recall_all(*gains, k)[0] for k in (1, 2, 5)] == [0, 0, 1]
    assert [metrics.recall(*gains, k)[0] for k in (1, 2, 5)] == [0, 0.5, 1]


def test_a_hit_that_brings_two_gold_items_counts_twice_in_recall_and_once_in_ndcg():
    gains = one([2, 0, 1], 4)
    assert metrics.recall(*gains, 3)[0] == 0.75
    assert metrics.ndcg(*gains, 3)[0] == metrics.ndcg(*one([1, 0, 1], 4), 3)[0] < 1


def test_empty_gold_makes_all_true_any_false_and_fractional_recall_undefined():
    gains = one([0, 0], 0)
    assert metrics.recall_all(*gains, 2)[0] == 1
    assert metrics.recall_any(*gains, 2)[0] == 0
    assert metrics.ndcg(*gains, 2)[0] == 0
    assert metrics.reciprocal_rank(gains[0])[0] == 0
    assert np.isnan(metrics.recall(*gains, 2)[0])


def test_reciprocal_rank_looks_at_the_first_gold_hit_only():
    gains = np.array([[0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert metrics.reciprocal_rank(gains).tolist() == pytest.approx([1 / 3, 1, 0])
    assert metrics.reciprocal_rank(np.zeros((2, 0), dtype=int)).tolist() == [0, 0]


def test_metrics_stay_within_0_and_1_grow_with_k_and_keep_their_order():
    rng = np.random.default_rng(3)
    gains = (rng.random((400, 30)) < 0.1).astype(int)
    n_gold = gains.sum(axis=1) + rng.integers(1, 3, 400)
    before = np.zeros(400)
    for k in (1, 3, 5, 10, 30, 50):
        some, part, every = (f(gains, n_gold, k) for f in (metrics.recall_any, metrics.recall, metrics.recall_all))
        assert (some >= part).all() and (part >= every).all() and (part >= before).all()
        for form in ("standard", "longmemeval"):
            value = metrics.ndcg(gains, n_gold, k, form)
            assert (value >= 0).all() and (value <= 1 + 1e-12).all()
        before = part


def test_the_bootstrap_interval_is_that_of_the_normal_approximation_for_many_questions():
    values = np.random.default_rng(0).random((2000, 1))
    low, high = metrics.bootstrap_interval(values, seed=1, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert low[0] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_bootstrap_repeats_itself_for_one_seed_and_only_for_that():
    values = np.random.default_rng(0).random((50, 3))
    first, again, other = (metrics.bootstrap_interval(values, seed=s) for s in (7, 7, 8))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_bootstrap_in_blocks_covers_every_resample():
    values = np.tile([0.0, 1.0], 150_000)[:, None]
    low, high = metrics.bootstrap_interval(values, seed=0, resamples=60)
    half = 1.96 * 0.5 / np.sqrt(len(values))
    assert low[0] < 0.5 < high[0] and high[0] - low[0] == pytest.approx(2 * half, rel=0.4)


def test_no_questions_give_an_undefined_interval():
    low, high = metrics.bootstrap_interval(np.zeros((0, 2)), seed=0)
    assert np.isnan(low).all() and np.isnan(high).all()


def test_pairing_finds_a_small_steady_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(5)
    a = rng.random((200, 1))
    b = a + 0.02 + rng.normal(0, 0.01, (200, 1))
    _, a_high = metrics.bootstrap_interval(a, seed=0)
    b_low, _ = metrics.bootstrap_interval(b, seed=0)
    difference, low, high = metrics.paired_difference(a, b, seed=0)
    assert b_low[0] < a_high[0]
    assert 0 < low[0] < difference[0] < high[0] and difference[0] == pytest.approx(0.02, abs=0.003)


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        metrics.paired_difference(np.zeros((2, 1)), np.zeros((3, 1)), seed=0)
