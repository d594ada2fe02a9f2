"""Edges: similarity never looks ahead nor at its own session; structure follows parents and order through edits."""

import datetime as dt
from collections import Counter

import numpy as np
import pyarrow as pa

from pipelines.graph import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)


def unit_rows(rng: np.random.Generator, n: int, dim: int = 6) -> np.ndarray:
    vectors = rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_linking_night_by_night_gives_the_edges_of_one_build():
    rng = np.random.default_rng(3)
    vectors, params = unit_rows(rng, 200), LinkParams(candidates=9, most=4, min_similarity=0.2)
    units = pa.table(
        {"unit_id": [f"u{i}" for i in range(200)], "version": pa.array([1] * 200, pa.int32()), "namespace": ["n"] * 200}
    )

    def edges(until: int, since: int) -> list[dict]:
        is_new, groups = np.arange(until) >= since, np.arange(until) // 7
        made = similar_edges(units.slice(0, until), vectors[:until], is_new, params, day=DAY, groups=groups)
        return made.to_pylist()

    once = edges(200, 0)
    nightly = [e for since, until in ((0, 50), (50, 51), (51, 200)) for e in edges(until, since)]
    key = lambda e: (e["source"], e["target"])  # noqa: E731
    assert [key(e) for e in sorted(once, key=key)] == [key(e) for e in sorted(nightly, key=key)]
    assert once and all(int(e["source"][1:]) // 7 > int(e["target"][1:]) // 7 for e in once)
    assert max(Counter(e["source"] for e in once).values()) <= 4 and min(e["weight"] for e in once) >= 0.2
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
