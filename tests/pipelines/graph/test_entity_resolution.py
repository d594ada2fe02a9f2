"""Mentions become entities by their normal form alone: the order of rows, of days and of sessions does not matter."""

import datetime as dt

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import entity_id, resolve_entities
from schemas.ids import content_hash
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)
NONE = TABLES["entities"].empty()


NONE_MENTIONED = TABLES["mentions"].empty()


def mention(
    unit: str, normal: str, surface: str, *, count: int = 1, kind: str = "person", version: int = 1, ns: str = "n"
) -> dict:
    return {
        "unit_id": unit,
        "entity_id": entity_id(ns, normal),
        "count": count,
        "surface": surface,
        "kind": kind,
        "unit_version": version,
        "namespace": ns,
        "day": DAY,
    }


def resolve(rows: list[dict], known: pa.Table = NONE, day: dt.date = DAY) -> pa.Table:
    return resolve_entities(TABLES["mentions"].from_rows(rows), known, day=day)


def test_the_name_is_the_surface_form_used_most_and_the_others_are_aliases():
    (entity,) = resolve(
        [
            mention("t1", "caroline", "caroline", count=2),
            mention("t2", "caroline", "Caroline", count=2),
            mention("t3", "caroline", "Caroline", count=1),
            mention("t4", "caroline", "CAROLINE", kind="organisation"),
        ]
    ).to_pylist()
    assert entity == {
        "entity_id": "n/entity:caroline",
        "namespace": "n",
        "name": "Caroline",
        "kind": "person",
        "aliases": ["CAROLINE", "caroline"],
        "df": 4,
        "content_hash": content_hash("Caroline"),
        "day": DAY,
    }


def test_a_later_day_adds_to_df_and_aliases_but_keeps_name_and_kind():
    known = resolve([mention("t1", "caroline", "Caroline")])
    later = DAY + dt.timedelta(days=1)
    rows = [mention(f"t{i}", "caroline", "Caro", kind="name", count=9) for i in range(2, 5)] + [
        mention("t2", "bob", "Bob")
    ]
    found = {e["name"]: e for e in resolve(rows, known, later).to_pylist()}
    assert set(found) == {"Caroline", "Bob"}
    assert (found["Caroline"]["df"], found["Caroline"]["aliases"], found["Caroline"]["kind"]) == (4, ["Caro"], "person")
    assert found["Caroline"]["day"] == later


def test_a_new_version_of_a_unit_does_not_count_again():
    known = resolve([mention("t1", "caroline", "Caroline")])
    again = TABLES["mentions"].from_rows([mention("t1", "caroline", "Caroline", version=2)])
    counted = TABLES["mentions"].from_rows([mention("t1", "caroline", "Caroline")])
    (entity,) = resolve_entities(again, known, counted, day=DAY).to_pylist()
    assert entity["df"] == 1


def test_an_entity_that_a_later_version_brings_counts():
    first_seen_in_version_two = TABLES["mentions"].from_rows([mention("t1", "pixel", "Pixel", version=2)])
    (entity,) = resolve_entities(first_seen_in_version_two, NONE, NONE_MENTIONED, day=DAY).to_pylist()
    assert entity["df"] == 1


def test_namespaces_do_not_share_entities():
    rows = [mention("a/t", "bob", "Bob", ns="a"), mention("b/t", "bob", "Bob", ns="b")]
    found = resolve(rows).to_pylist()
    assert [(e["entity_id"], e["namespace"], e["df"]) for e in found] == [
        ("a/entity:bob", "a", 1),
        ("b/entity:bob", "b", 1),
    ]


def test_no_mentions_give_no_entities():
    assert resolve([]).equals(NONE)


rows_of_mentions = st.lists(
    st.builds(
        mention,
        unit=st.sampled_from([f"t{i}" for i in range(6)]),
        normal=st.sampled_from(["bob", "eve"]),
        surface=st.sampled_from(["Bob", "bob", "BOB"]),
        count=st.integers(1, 3),
        kind=st.sampled_from(["person", "name"]),
    ),
    unique_by=lambda r: (r["unit_id"], r["entity_id"]),
    min_size=1,
    max_size=12,
)


@given(rows_of_mentions, st.randoms())
def test_the_order_of_mentions_does_not_matter(rows, random):
    assert resolve(random.sample(rows, len(rows))).equals(resolve(rows))


@given(rows_of_mentions)
def test_df_is_the_number_of_units_that_mention(rows):
    for entity in resolve(rows).to_pylist():
        assert entity["df"] == sum(r["entity_id"] == entity["entity_id"] for r in rows)


@given(rows_of_mentions, st.integers(0, 12))
def test_df_and_spellings_do_not_depend_on_how_mentions_fall_into_days(rows, cut):
    once = resolve(rows).to_pylist()
    first = resolve(rows[:cut])
    known = {e["entity_id"]: e for e in first.to_pylist()}
    known |= {e["entity_id"]: e for e in resolve(rows[cut:], first, DAY + dt.timedelta(days=1)).to_pylist()}
    for entity in once:
        other = known[entity["entity_id"]]
        assert other["df"] == entity["df"]
        assert {other["name"], *other["aliases"]} == {entity["name"], *entity["aliases"]}
