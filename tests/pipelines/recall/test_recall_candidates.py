"""Scores of units carried to the leaves that they cover: every way there gives what a loop over leaves gives."""

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.recall import candidates
from pipelines.recall.candidates import _add_known
from pipelines.recall.scope import Level, Part
from pipelines.recall.shard import RecallShard

N_LEAVES = 12
NO_SHARD = cast("RecallShard", None)
INTERVALS = st.lists(st.tuples(st.integers(0, N_LEAVES), st.integers(0, N_LEAVES)).map(sorted), min_size=1, max_size=9)


def level_of(intervals: list[list[int]]) -> Level:
    low, high = np.array(intervals, np.int32).T
    return Level([Part(NO_SHARD, "fact", 0, len(low), low, high)], N_LEAVES)


def by_leaf(intervals: list[list[int]], scores: np.ndarray) -> list[float]:
    return [
        max((float(s) for (a, b), s in zip(intervals, scores, strict=True) if a <= leaf < b), default=0.0)
        for leaf in range(N_LEAVES)
    ]


@pytest.mark.parametrize("seldom", [0, 10**6], ids=["from few units", "from all leaves"])
@given(intervals=INTERVALS, data=st.data())
def test_scores_reach_the_leaves_of_their_units(seldom, intervals, data):
    scores = np.array(
        data.draw(st.lists(st.sampled_from([-0.5, 0, 0, 0.25, 1]), min_size=len(intervals), max_size=len(intervals)))
    )
    totals = np.ones(N_LEAVES, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "SELDOM", seldom)
        _add_known(totals, level_of(intervals), scores.astype(np.float32))
    assert (totals - 1).tolist() == by_leaf(intervals, scores)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.sets(st.integers(0, N_LEAVES - 1), min_size=1),
    st.booleans(),
)
def test_some_leaves_have_the_units_that_they_have_among_all(lengths, leaves, twice):
    """Units side by side, which is one way, and the same once more above them, which is the other."""
    ends = np.minimum(np.cumsum(lengths), N_LEAVES)
    ends[-1] = N_LEAVES
    intervals = [[a, b] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)] * (1 + twice)
    scores = np.random.default_rng(0).random(len(intervals)).astype(np.float32)
    wanted = sorted(leaves)
    units, cover = level_of(intervals).cover.narrowed(np.array(wanted))
    assert np.array_equal(
        units, np.unique([u for u, (a, b) in enumerate(intervals) if any(a <= i < b for i in wanted)])
    )
    assert cover.best(scores[units]).tolist() == [np.float32(by_leaf(intervals, scores)[i]) for i in wanted]
