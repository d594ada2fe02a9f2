"""Drafts against history: what is new gets version 1, what changed the next, what vanished an end, what returned a new life."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.lifecycle import live, new_versions
from pipelines.segmentation.units import draft_units, span
from schemas.tables import TABLES

MONDAY = dt.date(2026, 3, 2)


def drafts(content: dict[str, str]) -> pa.Table:
    """Drafts of units id -> text of one session."""
    return draft_units(
        [
            {
                "unit_id": unit_id,
                "namespace": "n",
                "granularity": "turn",
                "text": text,
                "session_id": "n/s",
                "ordinal": 0,
                "source_spans": [span(f"ref of {unit_id}", 0, len(text))],
                "event_time": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
                "time_source": "turn",
                "extractor": "test@1",
            }
            for unit_id, text in content.items()
        ]
    )


class Nights:
    """What a store holds after each night."""

    def __init__(self) -> None:
        self.units = TABLES["memory_units"].empty()
        self.operations = TABLES["operations"].empty()
        self.day = MONDAY

    def add(self, content: dict[str, str] | pa.Table) -> tuple[list[tuple[str, int]], list[tuple[str, str, int]]]:
        """New (unit, version)s and (operation, unit, version)s of the next night."""
        self.day += dt.timedelta(days=1)
        now = dt.datetime.combine(self.day, dt.time(), dt.UTC)
        table = content if isinstance(content, pa.Table) else drafts(content)
        units, operations = new_versions(table, self.units, self.operations, day=self.day, now=now, policy="test@1")
        self.units = TABLES["memory_units"].validate(pa.concat_tables([self.units, units]))
        self.operations = TABLES["operations"].validate(pa.concat_tables([self.operations, operations]))
        return (
            list(zip(units["unit_id"].to_pylist(), units["version"].to_pylist(), strict=True)),
            [(o["operation"], o["unit_id"], o["version"]) for o in operations.to_pylist()],
        )

    def current(self) -> dict[str, tuple[str, int]]:
        rows = live(self.units, self.operations).to_pylist()
        assert len({r["unit_id"] for r in rows}) == len(rows)
        return {r["unit_id"]: (r["text"], r["version"]) for r in rows}


def test_units_never_seen_get_version_one_and_no_operation():
    assert Nights().add({"a": "x", "b": "y"}) == ([("a", 1), ("b", 1)], [])


def test_what_did_not_change_is_not_written_again():
    nights = Nights()
    nights.add({"a": "x", "b": "y"})
    assert nights.add({"b": "y", "a": "x"}) == ([], [])


def test_a_changed_unit_is_superseded_by_its_next_version():
    nights = Nights()
    nights.add({"a": "x", "b": "y"})
    assert nights.add({"a": "changed", "b": "y"}) == ([("a", 2)], [("SUPERSEDE", "a", 1)])
    assert nights.add({"a": "x", "b": "y"}) == ([("a", 3)], [("SUPERSEDE", "a", 2)])
    assert nights.current() == {"a": ("x", 3), "b": ("y", 1)}


def test_a_unit_that_its_source_no_longer_yields_is_archived_once():
    nights = Nights()
    nights.add({"a": "x", "b": "y", "c": "z"})
    assert nights.add({"a": "x"}) == ([], [("ARCHIVE", "b", 1), ("ARCHIVE", "c", 1)])
    assert nights.add({"a": "x"}) == ([], [])


def test_a_unit_that_comes_back_lives_in_a_new_version_without_ending_the_dead_one_again():
    nights = Nights()
    nights.add({"a": "x", "b": "y"})
    nights.add({"a": "x"})
    assert nights.add({"a": "x", "b": "y"}) == ([("b", 2)], [])
    assert nights.current() == {"a": ("x", 1), "b": ("y", 2)}


@pytest.mark.parametrize(
    ("column", "changed"),
    [
        ("ordinal", pa.array([3], pa.int32())),
        ("parent_id", pa.array(["n/other"])),
        ("event_time", pa.array([dt.datetime(2026, 3, 9, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))),
        ("source_spans", None),
    ],
)
def test_a_unit_that_moved_is_a_new_version_though_its_text_is_the_same(column, changed):
    nights = Nights()
    nights.add({"a": "x"})
    table = drafts({"a": "x"})
    at = table.column_names.index(column)
    values = changed if changed is not None else pa.array([[span("elsewhere", 0, 1)]], table[column].type)
    moved = table.set_column(at, table.field(column), values)
    assert nights.add(moved) == ([("a", 2)], [("SUPERSEDE", "a", 1)])


def test_new_rows_carry_the_runs_clock_and_day():
    nights = Nights()
    nights.add({"a": "x"})
    nights.add({"a": "y"})
    assert nights.units["day"].to_pylist() == [MONDAY + dt.timedelta(days=i) for i in (1, 2)]
    assert nights.units["recorded_at"].to_pylist()[1].date() == nights.day
    assert nights.operations["at"].to_pylist()[0].date() == nights.day
    assert nights.units["valid_to"].null_count == 2


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=1, max_size=6))
def test_after_any_nights_the_live_units_are_the_last_drafts_and_history_is_whole(contents):
    nights = Nights()
    for content in contents:
        before = nights.units
        nights.add(content)
        assert nights.units.slice(0, before.num_rows).equals(before)
        assert {u: text for u, (text, _) in nights.current().items()} == content
    versions: dict[str, list[int]] = {}
    for row in nights.units.to_pylist():
        versions.setdefault(row["unit_id"], []).append(row["version"])
    assert all(v == list(range(1, len(v) + 1)) for v in versions.values())
    ends = [(o["unit_id"], o["version"]) for o in nights.operations.to_pylist()]
    assert len(set(ends)) == len(ends)


def test_live_keeps_the_order_of_history_and_ignores_operations_that_end_nothing():
    nights = Nights()
    nights.add({c: c for c in "dbca"})
    end = {"reason": "", "policy": "p", "at": dt.datetime(2026, 3, 9, tzinfo=dt.UTC), "namespace": "n", "day": MONDAY}
    rows = [
        end | {"operation_id": str(i), "operation": kind, "unit_id": unit_id, "version": 1}
        for i, (kind, unit_id) in enumerate([("ADD", "d"), ("ERASE", "b"), ("UPDATE", "c"), ("ARCHIVE", "x")])
    ]
    kept = live(nights.units, TABLES["operations"].from_rows(rows))
    assert kept["unit_id"].to_pylist() == ["d", "c", "a"]
