"""The text of the macros that a snapshot's DuckDB file carries: search, graph, time and lineage in plain SQL.

They read the tables of `schemas.database` by bare names, so that they work wherever those are found: in the file itself, and in a
connection whose search path holds it. Parameters have the names that callers use; columns of the same name are qualified.
"""

from pipelines.sql.folding import folding
from pipelines.sql.graph_macros import GRAPH
from pipelines.sql.origin_macros import ORIGIN
from pipelines.sql.search_macros import search_macros
from pipelines.sql.time_macros import TIME
from schemas.database import Macro

__all__ = ["folding", "macros"]


def macros(dim: int, nprobe: int) -> list[Macro]:
    """All macros for vectors of `dim` dimensions; 0 where there are none, then nothing searches them."""
    return [*search_macros(dim, nprobe), *GRAPH, *TIME, *ORIGIN]
