"""The ledger merged by month: every reader sees every row once, whenever it looks and wherever a merge stops."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs.store import ledger
from jobs.store.lake import Lake, to_parquet
from jobs.store.views import connect, scalar
from schemas.manifest import Catalogue
from schemas.tables import TABLES

T = "evaluations"
NOW = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def row(n: int, at: dt.datetime) -> dict:
    return {
        "snapshot": n, "dataset": "set", "category": "all", "metric": "recall@10", "value": 0.5, "low": 0.4, "high": 0.6,
        "n": 10, "at": at,
    }  # fmt: skip


@pytest.fixture
def filled(lake):
    """A file a day from 11 January to 9 March."""
    for n in range(58):
        ledger.append(lake, T, [row(n, dt.datetime(2026, 1, 11, tzinfo=dt.UTC) + n * DAY)])
    return lake


def numbers(lake) -> list[int]:
    return sorted(ledger.read(lake, T)["snapshot"].to_pylist())


def names(lake) -> list[str]:
    return lake.names(f"ledger/{T}")


def test_each_month_that_has_ended_becomes_one_file_and_no_row_is_lost(filled):
    done = ledger.merge(filled, T, now=NOW)
    assert done.months == {"202601": 21, "202602": 28} and done.removed == 0
    assert numbers(filled) == list(range(58))
    assert len(ledger.files(filled, T)) == 2 + 9
    con = connect(filled, Catalogue())
    assert scalar(con, f"SELECT count(*) FROM {T}") == scalar(con, f"SELECT count(DISTINCT snapshot) FROM {T}") == 58


def test_replaced_files_stay_a_day_for_those_who_have_listed_them_and_then_go(filled):
    listed = ledger.files(filled, T)
    ledger.merge(filled, T, now=NOW)
    assert all(filled.fs.exists(file) for file in listed)
    assert ledger.merge(filled, T, now=NOW + DAY / 2).removed == 0
    assert ledger.merge(filled, T, now=NOW + DAY).removed == 49
    assert numbers(filled) == list(range(58))
    assert ledger.merge(filled, T, now=NOW + 2 * DAY).removed == 0
    assert sum(n.endswith(".parquet") for n in names(filled)) == 11 and not any(
        n.startswith("list-") for n in names(filled)
    )
    assert ledger.merge(filled, T, now=NOW + 3 * DAY).months == {} and numbers(filled) == list(range(58))


def test_a_dry_run_says_the_same_and_writes_nothing(filled):
    before = names(filled)
    assert ledger.merge(filled, T, now=NOW, dry_run=True).months == {"202601": 21, "202602": 28}
    assert names(filled) == before


def test_a_row_that_comes_late_to_a_merged_month_is_merged_with_it(filled):
    ledger.merge(filled, T, now=NOW)
    ledger.append(filled, T, [row(99, dt.datetime(2026, 1, 20, tzinfo=dt.UTC))])
    assert ledger.merge(filled, T, now=NOW + DAY / 2).months == {"202601": 2}
    for later in range(4):
        assert numbers(filled) == [*range(58), 99]
        ledger.merge(filled, T, now=NOW + later * DAY)
    assert len(ledger.files(filled, T)) == len([n for n in names(filled) if n.endswith(".parquet")]) == 11


class Stopped(Exception):
    """What a kill is to this test."""


class StopsAt(Lake):
    """A lake that is cut off before one of its changes."""

    changes, stop = 0, -1

    def _change(self) -> None:
        if self.changes == self.stop:
            raise Stopped
        self.changes += 1

    def write_atomic(self, name, payload):
        self._change()
        super().write_atomic(name, payload)

    def remove(self, name):
        self._change()
        super().remove(name)


def nights(lake, later: int) -> None:
    ledger.merge(lake, T, now=NOW + later * DAY)
    assert numbers(lake) == list(range(6))


def test_a_merge_that_stops_at_any_change_loses_nothing_and_is_finished_by_the_next(tmp_path):
    changes = 10**9
    for stop in range(-1, 40):
        lake = StopsAt(tmp_path / str(stop))
        for n in range(6):
            ledger.append(lake, T, [row(n, dt.datetime(2026, 1, 28, tzinfo=dt.UTC) + n * DAY)])
        lake.changes, lake.stop = 0, stop
        for later in range(4):
            try:
                nights(lake, later)
            except Stopped:
                assert numbers(lake) == list(range(6)), f"stopped before change {stop}"
                lake.stop = -1
        if stop == -1:
            changes = lake.changes
        assert stop == -1 or lake.stop == -1 or stop >= changes
        for later in range(4, 8):
            nights(lake, later)
        assert len(names(lake)) == 2, names(lake)
    assert 10 < changes < 40


@pytest.mark.parametrize("newer", [True, False])
def test_files_written_before_a_column_existed_are_read_with_nulls(lake, newer):
    old = TABLES[T].from_rows([row(1, NOW)]).drop_columns(["ranking"])
    lake.write_atomic(f"ledger/{T}/20260101T000000-old.parquet", to_parquet(old))
    if newer:
        ledger.append(lake, T, [row(2, NOW) | {"ranking": "dense"}])
    found = connect(lake, Catalogue()).execute(f"SELECT snapshot, ranking FROM {T} ORDER BY 1").fetchall()
    assert found == [(1, None), (2, "dense")][: 1 + newer]
    assert ledger.read(lake, T)["ranking"].to_pylist().count(None) == 1
