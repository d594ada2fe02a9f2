"""Edges: similarity equals a brute-force loop and never looks ahead; structure follows parents and order through edits."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges
from pipelines.graph import links as link_module
from pipelines.graph.links import nearest_earlier
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)


def unit_rows(rng: np.random.Generator, n: int, dim: int = 6) -> np.ndarray:
    vectors = rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute(vectors: np.ndarray, new: np.ndarray, k: int, floor: float) -> list[tuple[int, int]]:
    found = []
    for row in new:
        scores = np.round(vectors[:row] @ vectors[row], 6)
        order = sorted((i for i in range(row) if scores[i] >= floor), key=lambda i: (-scores[i], i))
        found += [(int(row), i) for i in order[:k]]
    return found


@given(
    st.integers(0, 40),
    st.integers(1, 7),
    st.sampled_from([-1.0, 0.0, 0.3, 0.9]),
    st.integers(0, 9),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_nearest_earlier_equals_a_loop_over_all_pairs(n, k, floor, seed, is_new):
    axes = np.random.default_rng(seed).integers(0, 4, n)
    vectors = np.eye(5, dtype=np.float32)[axes] * 0.8  # many exact ties, so that their order is tested too
    vectors[:, 4] = 0.6
    new = np.flatnonzero(is_new[:n])
    rows, earlier, cosines = nearest_earlier(vectors, new, k, floor)
    assert list(zip(rows.tolist(), earlier.tolist(), strict=True)) == brute(vectors, new, k, floor)
    assert np.allclose(cosines, (vectors[rows] * vectors[earlier]).sum(1), atol=1e-5)


@pytest.mark.parametrize("extra", [-1, 0, 1, 700])
def test_blocks_do_not_show(extra):
    n = link_module.PAST + extra
    rng = np.random.default_rng(0)
    vectors = np.tile(unit_rows(rng, 97), (n // 97 + 1, 1))[:n]
    new = np.arange(n - link_module.BLOCK - 5, n)
    rows, earlier, _ = nearest_earlier(vectors, new, 3, 0.99)
    # the earliest copies of a text win, wherever they are
    assert (earlier < rows).all()
    assert np.array_equal(rows, np.repeat(new, 3))
    assert np.array_equal(earlier, (new[:, None] % 97 + 97 * np.arange(3)[None]).ravel())


def test_nothing_before_and_nothing_new_give_nothing():
    vectors = unit_rows(np.random.default_rng(0), 3)
    for new in (np.array([0]), np.empty(0, np.int64)):
        assert [len(part) for part in nearest_earlier(vectors, new, 5, -1.0)] == [0, 0, 0]


def test_linking_night_by_night_gives_the_edges_of_one_build():
    rng = np.random.default_rng(3)
    vectors, params = unit_rows(rng, 200), LinkParams(neighbours=4, min_similarity=0.2)
    units = pa.table(
        {"unit_id": [f"u{i}" for i in range(200)], "version": pa.array([1] * 200, pa.int32()), "namespace": ["n"] * 200}
    )

    def edges(until: int, since: int) -> list[dict]:
        is_new = np.arange(until) >= since
        return similar_edges(units.slice(0, until), vectors[:until], is_new, params, day=DAY).to_pylist()

    once = edges(200, 0)
    nightly = [e for since, until in ((0, 50), (50, 51), (51, 200)) for e in edges(until, since)]
    key = lambda e: (e["source"], e["target"])  # noqa: E731
    assert [key(e) for e in sorted(once, key=key)] == [key(e) for e in sorted(nightly, key=key)]
    assert all(int(e["source"][1:]) > int(e["target"][1:]) for e in once)
    TABLES["edges"].validate(similar_edges(units, vectors, np.ones(200, bool), params, day=DAY))


def test_synonyms_link_the_newer_name_to_the_older():
    vectors = np.array([[1, 0], [0, 1], [0.9, np.sqrt(1 - 0.81)]], np.float32)
    entities = pa.table({"entity_id": ["mel", "bob", "melanie"], "namespace": ["n"] * 3})
    edges = synonym_edges(entities, vectors, np.array([False, False, True]), LinkParams(), day=DAY).to_pylist()
    assert [(e["source"], e["target"], e["relation"], round(e["weight"], 3)) for e in edges] == [
        ("melanie", "mel", "synonym", 0.9)
    ]


# -- structure ---------------------------------------------------------------------------------------------------------

COLUMNS = [
    "unit_id",
    "version",
    "namespace",
    "granularity",
    "parent_id",
    "session_id",
    "document_id",
    "ordinal",
    "source_spans",
]


def unit(
    unit_id: str, granularity: str, ordinal: int = 0, *, parent: str | None = "s", version: int = 1, refs: str = ""
) -> dict:
    return {
        "unit_id": unit_id,
        "version": version,
        "namespace": "n",
        "granularity": granularity,
        "parent_id": parent,
        "session_id": "s",
        "document_id": None,
        "ordinal": ordinal,
        "source_spans": [{"ref": r, "start": 0, "end": 1} for r in (refs or unit_id)],
    }


def structure(new: list[dict], groups: list[dict]) -> set[tuple[str, str, str, str]]:
    schema = pa.schema([TABLES["memory_units"].schema.field(c) for c in COLUMNS])
    tables = [pa.Table.from_pylist(rows, schema=schema) for rows in (new, groups)]
    edges = TABLES["edges"].validate(structure_edges(*tables, day=DAY)).to_pylist()
    return {(e["source"], e["relation"], e["target"], f"{e['owner']}@{e['owner_version']}") for e in edges}


def test_a_new_session_is_linked_by_parents_order_and_segments():
    session = [
        unit("s", "session", parent=None, refs="abc"),
        *(unit(t, "turn", i) for i, t in enumerate("abc")),
        unit("s#segment-1", "segment", refs="ab"),
        unit("s#segment-2", "segment", 1, refs="c"),
        unit("s#summary", "summary", refs="abc"),
        unit("a#fact-1", "fact", parent="a", refs="a"),
    ]
    assert structure(session, session) == {
        *((t, "part_of", "s", f"{t}@1") for t in ("a", "b", "c", "s#segment-1", "s#segment-2")),
        ("s#summary", "derived_from", "s", "s#summary@1"),
        ("a#fact-1", "derived_from", "a", "a#fact-1@1"),
        *((t, "part_of", "s#segment-1", "s#segment-1@1") for t in "ab"),
        ("c", "part_of", "s#segment-2", "s#segment-2@1"),
        ("a", "next", "b", "b@1"),
        ("b", "next", "c", "c@1"),
    }


def nexts(new: list[dict], groups: list[dict]) -> set[tuple[str, str, str]]:
    return {(a, b, owner) for a, relation, b, owner in structure(new, groups) if relation == "next"}


def test_a_turn_that_is_edited_keeps_the_chain_whole():
    turns = [unit("a", "turn", 0), unit("b", "turn", 1, version=2), unit("c", "turn", 2)]
    # a -> b is owned by the new version of b; b -> c is there from before: its owner c did not change
    assert nexts([turns[1]], turns) == {("a", "b", "b@2")}


def test_a_turn_that_is_inserted_is_woven_into_the_chain():
    # c moved from ordinal 1 to 2, so it is a new version and its old edge ends with the old one
    turns = [unit("a", "turn", 0), unit("b", "turn", 1), unit("c", "turn", 2, version=2)]
    assert nexts(turns[1:], turns) == {("a", "b", "b@1"), ("b", "c", "c@2")}


def test_a_session_that_goes_on_is_linked_to_what_came_before():
    turns = [unit(t, "turn", i) for i, t in enumerate("abcd")]
    assert nexts(turns[2:], turns) == {("b", "c", "c@1"), ("c", "d", "d@1")}


def test_an_older_turn_belongs_to_the_segment_that_quotes_it_now():
    old = unit("a", "turn", 0)
    segment = unit("s#segment-1", "segment", version=2, refs="a")
    assert ("a", "part_of", "s#segment-1", "s#segment-1@2") in structure([segment], [old, segment])


def test_mentions_weigh_by_how_often():
    rows = [
        {
            "unit_id": "a",
            "entity_id": "n/entity:x",
            "count": 3,
            "surface": "X",
            "kind": "name",
            "unit_version": 2,
            "namespace": "n",
            "day": DAY,
        }
    ]
    (edge,) = mention_edges(TABLES["mentions"].from_rows(rows), day=DAY).to_pylist()
    assert (edge["source"], edge["target"], edge["weight"], edge["owner_version"]) == ("a", "n/entity:x", 3.0, 2)


def test_nothing_new_makes_no_edges():
    assert structure([], []) == set()
