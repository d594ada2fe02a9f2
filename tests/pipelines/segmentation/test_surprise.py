"""Sessions cut into segments where the talk turns: topics are found, sizes hold, segments tile the session."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.segmentation import SurpriseParams, bound_segments
from pipelines.segmentation.surprise import _modularity, boundaries, novelty
from schemas.ids import content_hash
from schemas.tables import TABLES

START = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def talk(topics: list[int], *, noise: float = 0.3, seed: int = 0, dim: int = 32) -> np.ndarray:
    """Unit vectors [n, dim] of turns about the given topics."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(np.random.default_rng(7).standard_normal((10, dim)))
    scatter = unit_rows(rng.standard_normal((len(topics), dim)))
    return unit_rows(centres[topics] + noise * scatter)


def turns(sessions: dict[str, int]):
    rows = [
        {
            "turn_id": f"n/{s}/{i}",
            "namespace": "n",
            "conversation_id": "n/c",
            "session_id": f"n/{s}",
            "turn_no": i,
            "speaker": "Ann",
            "role": "speaker",
            "said_at": START + dt.timedelta(minutes=i),
            "zone": None,
            "time_source": "turn",
            "text": f"{s} says {i}",
            "source_ref": f"n/{s}:{i}",
            "content_hash": content_hash(f"{s} {i}"),
            "record_hash": content_hash(f"{s} {i}"),
            "day": START.date(),
        }
        for s, n in sessions.items()
        for i in range(n)
    ]
    return TABLES["turns"].from_rows(rows)


def test_novelty_is_one_minus_the_cosine_to_the_average_of_what_came_before():
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    average = 0.8 * np.array([1.0, 0, 0]) + 0.2 * np.array([0, 1.0, 0])
    wanted = [0.0, 0.0, 1.0, 1.0 - average[1] / np.linalg.norm(average)]
    assert np.allclose(novelty(vectors, 0.8), wanted)
    assert novelty(np.empty((0, 3)), 0.8).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_a_clear_change_of_topic_is_found_where_it_is(seed):
    starts = boundaries(talk([0] * 9 + [1] * 8 + [2] * 10, seed=seed), SurpriseParams())
    assert starts == [0, 9, 17]


@given(
    st.integers(1, 90),
    st.integers(0, 5),
    st.sampled_from([SurpriseParams(), SurpriseParams(min_turns=2, max_turns=5), SurpriseParams(gamma=0.1, window=4)]),
)
def test_segments_tile_the_session_within_their_sizes(n, seed, params):
    rng = np.random.default_rng(seed)
    starts = boundaries(talk(rng.integers(0, 6, n).tolist(), noise=2.0, seed=seed), params)
    sizes = np.diff([*starts, n])
    assert starts[0] == 0
    assert sizes.sum() == n
    assert sizes.max() <= params.max_turns
    assert n < params.min_turns or sizes.min() >= params.min_turns


def test_one_topic_is_only_cut_by_size():
    vectors = np.repeat(talk([0]), 40, axis=0)
    assert np.diff([*boundaries(vectors, SurpriseParams(max_turns=16)), 40]).max() <= 16
    assert boundaries(vectors[:10], SurpriseParams(gamma=9.0)) == [0]


def test_the_modularity_of_a_toy_graph_is_the_one_calculated_by_hand():
    # turns 0,1 alike and 2,3 alike: two edges of weight 1; the right split puts each inside its half: 1 - 2 * (1/2)^2
    vectors = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    assert np.allclose(_modularity(vectors, np.array([1, 2, 3])), [1 / 2 - (1 + 9) / 16, 1 / 2, 1 / 2 - (9 + 1) / 16])
    opposite = np.array([[1.0, 0], [-1.0, 0]], np.float32)
    assert _modularity(opposite, np.array([1])).tolist() == [0.0]


def test_segments_of_several_sessions_quote_their_turns():
    table = turns({"s1": 20, "s2": 1, "s3": 9})
    topics = [0] * 10 + [1] * 10 + [3] + [2] * 9
    units = bound_segments(table, talk(topics), SurpriseParams()).to_pylist()
    text_of = dict(zip(table["source_ref"].to_pylist(), table["text"].to_pylist(), strict=True))
    assert [s["ref"] for u in units for s in u["source_spans"]] == list(text_of)
    for unit in units:
        assert unit["text"] == "\n".join(text_of[s["ref"]] for s in unit["source_spans"])
        assert (unit["granularity"], unit["parent_id"]) == ("segment", unit["session_id"])
    assert [u["unit_id"] for u in units][:3] == ["n/s1#segment-1", "n/s1#segment-2", "n/s2#segment-1"]


def test_the_same_vectors_give_the_same_segments_beside_any_other_session():
    vectors = talk([0] * 10 + [1] * 10)
    alone = bound_segments(turns({"s1": 20}), vectors, SurpriseParams()).to_pylist()
    both = bound_segments(turns({"s1": 20, "s2": 5}), np.vstack([vectors, talk([4] * 5)]), SurpriseParams()).to_pylist()
    assert both[: len(alone)] == alone
