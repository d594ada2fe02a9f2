"""`engraph sql`: SQL over the current snapshot, and what may be written back."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from flows.command_line import options
from schemas.errors import UsageError

SHOWN_ROWS = 50


@options.with_session
def sql(
    session: options.Session,
    query: Annotated[
        str, typer.Argument(help="A SELECT over the tables; recall('...', k := 5) is a table too. Or an INSERT.")
    ],
    write_to: Annotated[Path | None, typer.Option(help="Write the result to this Parquet file.")] = None,
    snapshot: Annotated[int | None, typer.Option(help="An older snapshot.")] = None,
) -> int:
    """Run a SELECT, or an INSERT into feedback, corrections or facts for the next ingest to take in. Nothing else is written."""
    import duckdb
    import pyarrow.parquet as pq

    from jobs.store.reader import open_store

    try:
        writes = _writes(query)
        with (
            open_store(session.store, snapshot=snapshot) as opened,
            closing(opened.connect(read_only=not writes, sealed=True)) as con,
        ):
            if writes:
                return _written(session, con.execute(query).fetchall()[0][0])
            rows = con.sql(query).to_arrow_table()
    except duckdb.Error as problem:
        raise UsageError(f"SQL: {_why(problem)}") from None
    if write_to:
        pq.write_table(rows, write_to)
    if session.as_json:
        options.print_json(rows.to_pylist())
    elif write_to:
        print(f"{rows.num_rows:,} rows in {write_to}")
    else:
        _show(rows)
    return 0


def _written(session: options.Session, rows: int) -> int:
    options.print_json({"written": rows}) if session.as_json else print(f"{rows} written: the next ingest takes it in")
    return 0


def _writes(query: str) -> bool:
    """Whether the one statement is an INSERT. Raises UsageError for what is neither that nor a SELECT."""
    import duckdb

    with duckdb.connect() as con:
        statements = con.extract_statements(query)
    kinds = duckdb.StatementType
    if len(statements) != 1 or statements[0].type not in (kinds.SELECT, kinds.EXPLAIN, kinds.INSERT):
        raise UsageError(
            "only one SELECT, or one INSERT into feedback, corrections or facts, can be run here; nothing else"
        )
    return statements[0].type == kinds.INSERT


def _why(problem: Exception) -> str:
    """The first line of DuckDB's message; of what is refused here on purpose, that it is."""
    line = str(problem).splitlines()[0]
    if line.startswith("Permission Error") or "configuration has been locked" in line or "read-only mode" in line:
        return (
            f"not allowed here ({line}): this reads the store's tables and nothing else; --write-to writes the result"
        )
    return line


def _show(rows) -> None:
    table = Table(*rows.column_names, box=None, pad_edge=False)
    for row in rows.slice(0, SHOWN_ROWS).to_pylist():
        table.add_row(*(str(v) if v is not None else "" for v in row.values()))
    console = options.console()
    console.print(table)
    if rows.num_rows > SHOWN_ROWS:
        console.print(f"... {rows.num_rows - SHOWN_ROWS:,} more rows: use --json or --write-to FILE for all")
