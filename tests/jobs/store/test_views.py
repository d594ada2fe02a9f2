"""SQL over a snapshot: current rows by default, every version in the history, nothing that hangs on a superseded unit."""

import datetime as dt

import pytest

from jobs.store import views
from jobs.store.lake import Lake
from schemas.manifest import Catalogue
from schemas.tables import TABLES


@pytest.fixture
def sql(lake, make):
    """Writes rows by (table, day) and returns a function from SQL to a list of tuples."""

    def over(**tables):
        catalogue = Catalogue()
        for name, rows in tables.items():
            for day in sorted({r["day"] for r in rows}):
                address = make.fileset(name, stage="test", day=day)
                make.write(lake, address, TABLES[name].from_rows([r for r in rows if r["day"] == day]))
                catalogue.put(address)
        over.catalogue = catalogue
        con = views.connect(lake, catalogue)
        return lambda query: con.execute(query).fetchall()

    return over


@pytest.fixture
def history(make):
    """Two units, of which one was changed on the next day and one vanished the day after."""
    later = make.DAY + dt.timedelta(days=1)
    last = make.DAY + dt.timedelta(days=2)
    units = [
        make.unit("n/a"),
        make.unit("n/b"),
        make.unit("n/c"),
        make.unit("n/a", 2, text="changed", day=later),
    ]
    operations = [
        make.operation("SUPERSEDE", "n/a", 1, day=later),
        make.operation("ARCHIVE", "n/c", 1, at=make.NOW + dt.timedelta(days=2), day=last),
    ]
    return units, operations


def test_units_that_an_operation_ended_are_history(sql, history, make):
    units, operations = history
    ask = sql(memory_units=units, operations=operations)
    assert ask("SELECT unit_id, version FROM memory_units ORDER BY ALL") == [("n/a", 2), ("n/b", 1)]
    assert ask("SELECT unit_id, version, valid_to IS NULL FROM memory_units_history ORDER BY ALL") == [
        ("n/a", 1, False),
        ("n/a", 2, True),
        ("n/b", 1, True),
        ("n/c", 1, False),
    ]
    ended = ask("SELECT valid_to FROM memory_units_history WHERE unit_id = 'n/c'")
    assert ended == [(make.NOW + dt.timedelta(days=2),)]


def test_what_hangs_on_a_superseded_unit_is_hidden(sql, history, make):
    units, operations = history
    mention = {"entity_id": "n/entity:x", "count": 1, "surface": "x", "kind": "name", "namespace": "n"}
    mentions = [mention | {"unit_id": u["unit_id"], "unit_version": u["version"], "day": u["day"]} for u in units]
    edge = {"weight": 1.0, "namespace": "n", "created_by": "link@1", "day": make.DAY, "owner_version": 1}

    def link(source, target, relation, owner, **more):
        return edge | {"source": source, "target": target, "relation": relation, "owner": owner} | more

    edges = [
        link("n/a", "n/b", "next", "n/b"),
        link("n/b", "n/a", "similar", "n/b"),
        link("n/a", "n/b", "similar", "n/a"),  # of the superseded version
        link("n/b", "n/c", "similar", "n/b"),  # to a unit that is gone
        link("n/b", "n/entity:x", "mentions", "n/b"),
        link("n/c", "n/entity:x", "mentions", "n/c"),
        link("n/entity:x", "n/entity:y", "synonym", "n/entity:x"),
        link("n/a", "n/b", "part_of", "n/a", owner_version=2, day=make.DAY + dt.timedelta(days=1)),
    ]
    ask = sql(memory_units=units, operations=operations, mentions=mentions, edges=edges)
    assert ask("SELECT unit_id, unit_version FROM mentions ORDER BY ALL") == [("n/a", 2), ("n/b", 1)]
    assert ask("SELECT source, target, relation FROM edges ORDER BY ALL") == [
        ("n/a", "n/b", "next"),
        ("n/a", "n/b", "part_of"),
        ("n/b", "n/a", "similar"),
        ("n/b", "n/entity:x", "mentions"),
        ("n/entity:x", "n/entity:y", "synonym"),
    ]


def test_the_newest_row_of_an_entity_stands(sql, make):
    entity = {"namespace": "n", "name": "X", "kind": "name", "content_hash": "0" * 32, "entity_id": "n/entity:x"}
    rows = [entity | {"df": i, "aliases": ["y"] * i, "day": make.DAY + dt.timedelta(days=i)} for i in range(3)]
    ask = sql(entities=rows)
    assert ask("SELECT df, aliases FROM entities") == [(2, ["y", "y"])]


def test_every_table_has_a_view_also_where_it_has_no_rows(sql, lake):
    ask = sql()
    for name, table in TABLES.items():
        assert ask(f"SELECT count(*) FROM {name}") == [(0,)]
        described = [row[0] for row in ask(f"DESCRIBE {name}")]
        assert described == table.schema.names
    assert views.row_counts(views.connect(lake, Catalogue()), Catalogue()) == {}


def test_a_view_has_the_columns_of_its_schema_and_none_from_the_folders_names(sql, history):
    units, operations = history
    ask = sql(memory_units=units, operations=operations)
    for name in ("memory_units", "operations", "memory_units_history"):
        schema = TABLES[name.removesuffix("_history")].schema
        assert [row[0] for row in ask(f"DESCRIBE {name}")] == schema.names


def test_row_counts_are_those_of_the_views(sql, history, lake):
    units, operations = history
    sql(memory_units=units, operations=operations)
    assert views.row_counts(views.connect(lake, sql.catalogue), sql.catalogue) == {"memory_units": 2, "operations": 2}


def test_a_quote_in_the_stores_path_does_no_harm(tmp_path, make):
    lake = Lake(tmp_path / "it's a store")
    address = make.fileset()
    make.write(lake, address, make.assignments("a"))
    catalogue = Catalogue()
    catalogue.put(address)
    assert views.connect(lake, catalogue).execute("SELECT unit_id FROM assignments").fetchall() == [("a",)]
