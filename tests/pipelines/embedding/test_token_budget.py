"""Budgets of padded tokens, and batches that keep to them without much padding."""

import numpy as np
import pytest
import torch

from pipelines.embedding.host_batch import Padding, made_up_batch
from pipelines.embedding.token_budget import FEWEST, MOST, calibrate, power_of_two, token_budget
from pipelines.embedding.windows import bucketed_batches

GIB = 1 << 30


@pytest.mark.parametrize(("free", "per_token"), [(80 * GIB, 32e3), (8 * GIB, 32e3), (16 * GIB, 1.2e6), (1, 1e9)])
def test_a_budget_is_a_power_of_two_that_memory_allows(free, per_token):
    budget = token_budget(free, per_token)
    assert budget == power_of_two(budget) and FEWEST <= budget <= MOST
    assert budget == FEWEST or budget * per_token <= 0.6 * free
    assert budget in (MOST, FEWEST) or 2 * budget * per_token > 0.6 * free


def test_a_little_less_free_memory_gives_the_same_budget():
    assert token_budget(20 * GIB, 1e6) == token_budget(19 * GIB, 1e6)


def mixed_lengths(n=2048):
    random = np.random.default_rng(3)
    return sorted(np.clip(random.lognormal(3.2, 0.9, n), 3, 256).astype(int).tolist(), reverse=True)


@pytest.mark.parametrize("budget", [256, 1024, 4096, 262_144])
def test_bucketed_batches_cover_all_windows_once_within_the_budget(budget):
    lengths = mixed_lengths()
    batches = bucketed_batches(lengths, budget)
    assert [i for b in batches for i in b] == list(range(len(lengths)))
    assert all(len(b) * lengths[b.start] <= budget or len(b) == 1 for b in batches)


def test_a_large_budget_does_not_pad_a_shard_to_its_longest_window():
    lengths = mixed_lengths()
    batches = bucketed_batches(lengths, 1 << 18)
    padded = sum(len(b) * lengths[b.start] for b in batches)
    assert sum(lengths) / padded > 0.7
    assert len(batches) < 12
    assert sum(lengths) / (len(lengths) * lengths[0]) < 0.2  # what one batch would be


def test_rows_are_padded_to_eight_tokens_but_never_past_the_models_positions():
    ids = [np.arange(1, n + 1) for n in (9, 5, 1)]
    batch = Padding(token=0, longest=512, pinned=False).batch(range(3), ids, ())
    assert batch.tokens.shape == (3, 16) and batch.tokens.dtype == torch.int32
    assert batch.tokens[1].tolist() == [1, 2, 3, 4, 5] + 11 * [0] and batch.lengths.tolist() == [9, 5, 1]
    assert Padding(token=0, longest=10, pinned=False).batch(range(3), ids, ()).tokens.shape == (3, 10)
    assert made_up_batch(1 << 14, 510).tokens.shape[1] == 510


def test_halves_hold_the_same_windows():
    ids = [np.arange(1, n + 1) for n in (20, 17, 6, 5, 1)]
    batch = Padding(token=0, longest=512, pinned=False).batch(range(10, 15), ids, "abcde")
    first, second = batch.halves()
    assert (first.rows, second.rows) == (range(10, 12), range(12, 15)) and (first.texts, second.texts) == ("ab", "cde")
    assert first.tokens.shape == (2, 24) and second.tokens.shape == (3, 8)
    assert second.tokens[0, :6].tolist() == [1, 2, 3, 4, 5, 6] and second.lengths.tolist() == [6, 5, 1]


def test_a_wider_model_gets_a_smaller_budget():
    class Sized:
        def __init__(self, cost):
            self.cost = cost

        def bytes_per_token(self, window):
            return self.cost

    small, large = (calibrate(Sized(cost), torch.device("cpu"), 256) for cost in (32e3, 1e6))
    assert small > 8 * large >= 8 * FEWEST
