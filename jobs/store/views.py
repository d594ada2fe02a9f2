"""SQL over a snapshot: one DuckDB view per table, the current rows by default, history beside them.

`turns`, `documents` and `entities` show the newest row of each key, `memory_units` the versions that no operation ended,
`mentions`, `triples` and `edges` those whose units are current. `memory_units_history` shows every version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from jobs.store import ledger
from jobs.store.database import literal
from jobs.store.lake import Lake
from schemas.manifest import Catalogue
from schemas.tables import TABLES

STORE = "store"
"""The catalog that a snapshot's file is attached as."""
NEWEST = {"turns": "turn_id", "documents": "document_id", "entities": "entity_id"}
ENDED = """
    SELECT unit_id, version, min("at") AS ended_at FROM operations
    WHERE operation IN ('SUPERSEDE', 'ARCHIVE', 'ERASE') GROUP BY ALL
"""
CURRENT = {
    "memory_units": "SELECT * FROM memory_units_all u ANTI JOIN ended e USING (unit_id, version)",
    "memory_units_history": """
        SELECT u.* REPLACE (coalesce(u.valid_to, e.ended_at) AS valid_to)
        FROM memory_units_all u LEFT JOIN ended e USING (unit_id, version)
    """,
    "mentions": """
        SELECT m.* FROM mentions_all m
        SEMI JOIN {units} u ON m.unit_id = u.unit_id AND m.unit_version = u.version
    """,
    "triples": """
        SELECT t.* FROM triples_all t
        SEMI JOIN {units} u ON t.unit_id = u.unit_id AND t.unit_version = u.version
    """,
    "edges": """
        SELECT e.* FROM edges_all e
        SEMI JOIN {units} u ON e.owner = u.unit_id AND e.owner_version = u.version
        WHERE e.relation = 'mentions'
           OR (e.source IN (SELECT unit_id FROM {units}) AND e.target IN (SELECT unit_id FROM {units}))
        UNION ALL SELECT * FROM edges_all WHERE relation = 'synonym'
    """,
}


def connect(lake: Lake, catalogue: Catalogue) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views of one snapshot and of the ledger, over their Parquet files."""
    con = _in_memory()
    if not lake.local:
        con.register_filesystem(lake.immutable)
    for name, table in TABLES.items():
        if table.ledger:
            con.register(f"{name}_rows", ledger.dataset(lake, name))
            con.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_rows")
        else:
            _base_view(con, lake, name, lake.files(catalogue.select(name)))
    con.execute(f"CREATE VIEW ended AS {ENDED}")
    for name, sql in CURRENT.items():
        con.execute(f"CREATE VIEW {name} AS {sql.format(units='memory_units')}")
    return con


def _in_memory() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")  # it would be drawn on stdout
    con.execute("SET python_enable_replacements = false")  # a name is a table, never a variable of the caller
    return con


def connect_file(lake: Lake, file: Path) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that finds the tables and macros of a snapshot's file, read-only, under their names.

    New tables go to memory. The ledger is what it is now, not what it was when the file was written.
    """
    con = _in_memory()
    con.execute(f"ATTACH {literal(str(file))} AS {STORE} (READ_ONLY)")
    search(con, (STORE,))
    for name, table in TABLES.items():
        if table.ledger:
            con.register(name, ledger.dataset(lake, name))
    return con


def search(con: duckdb.DuckDBPyConnection, catalogs: Sequence[str]) -> None:
    """Where names are looked up, after memory."""
    path = ",".join(f"{c}.main" for c in ("memory", *catalogs))
    con.execute(f"SET search_path = '{path}'")


def seal(con: duckdb.DuckDBPyConnection) -> None:
    """From here on no SQL reaches files, other databases, extensions or settings; what is attached stays."""
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def _base_view(con: duckdb.DuckDBPyConnection, lake: Lake, name: str, files: list[str]) -> None:
    view = f"{name}_all" if name in CURRENT else name
    if files:
        paths = files if lake.local else [lake.fs.unstrip_protocol(f) for f in files]
        source = f"read_parquet({_literal(paths)}, hive_partitioning = false)"  # the files hold all columns
    else:
        con.register(f"{name}_none", TABLES[name].empty())
        source = f"{name}_none"
    newest = f" QUALIFY row_number() OVER (PARTITION BY {NEWEST[name]} ORDER BY day DESC) = 1" if name in NEWEST else ""
    con.execute(f"CREATE VIEW {view} AS SELECT * FROM {source}{newest}")


def _literal(files: list[str]) -> str:
    return "[" + ", ".join("'" + f.replace("'", "''") + "'" for f in files) + "]"


def scalar(con: duckdb.DuckDBPyConnection, sql: str, parameters: list | None = None) -> int:
    """The one value of a query."""
    rows = con.execute(sql, parameters or []).fetchall()
    return rows[0][0] if rows else 0


def row_counts(con: duckdb.DuckDBPyConnection, catalogue: Catalogue) -> dict[str, int]:
    """Rows of every table as its view shows them; tables without rows are left out.

    The current units are looked up once for all tables that hang on them, and stay as the temporary table `live`.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE live AS SELECT unit_id, version, granularity FROM memory_units")
    counts = {}
    for name, table in TABLES.items():
        if table.ledger or not catalogue.select(name):
            continue
        rows = f"({CURRENT[name].format(units='live')})" if name in CURRENT and name != "memory_units" else name
        counts[name] = scalar(con, f"SELECT count(*) FROM {'live' if name == 'memory_units' else rows}")
    return {name: n for name, n in sorted(counts.items()) if n}
