"""neighbors and paths: walks over `links`, which hold every edge from both of its ends, sorted by that end.

The hops are written out, at most `MOST` of them: DuckDB reads only the row groups that hold the nodes of the hop before (4 ms for
two hops over 300,000 edges), while a recursive query reads the whole table at every step (55 ms).
"""

from __future__ import annotations

from schemas.database import Macro

MOST = 4
BEAM = 1_000  # unfinished paths that are followed at once: hubs (an entity that everybody mentions) have thousands of neighbours


def _neighbors() -> str:
    """Every level is the links of the nodes of the level before."""
    columns = "l.other AS node, {hop} AS hop, l.relation, l.direction, l.weight, l.node AS via"
    levels = [
        f"h1 AS MATERIALIZED (SELECT {columns.format(hop=1)} FROM links l WHERE l.node = {_bounded('unit_id')} AND hops >= 1)"
    ]
    for hop in range(2, MOST + 1):
        before = f"SELECT p.node FROM h{hop - 1} p"
        levels.append(
            f"h{hop} AS MATERIALIZED (SELECT {columns.format(hop=hop)} FROM links l WHERE hops >= {hop} AND l.node IN ({before}))"
        )
    every = " UNION ALL ".join(f"SELECT * FROM h{hop}" for hop in range(1, MOST + 1))
    return f"""
WITH {", ".join(levels)}
SELECT s.node AS unit_id, s.hop, s.relation, s.direction, s.weight, s.via FROM ({every}) s WHERE s.node <> unit_id
QUALIFY row_number() OVER (PARTITION BY s.node ORDER BY s.hop, s.weight DESC, s.relation, s.via) = 1
ORDER BY s.hop, s.weight DESC, s.node
"""


def _paths() -> str:
    """Distances to the end first, so that only what can still get there is followed."""
    back = ["b0 AS (SELECT b::VARCHAR AS node, 0 AS hop)"]
    for hop in range(1, MOST):
        start = _bounded("b") if hop == 1 else None
        here = f"l.node = {start}" if start else f"l.node IN (SELECT p.node FROM b{hop - 1} p)"
        back.append(
            f"b{hop} AS MATERIALIZED (SELECT DISTINCT l.other AS node, {hop} AS hop FROM links l WHERE hops > {hop} AND {here})"
        )
    levels = " UNION ALL ".join(f"SELECT * FROM b{hop}" for hop in range(MOST))
    near = f"near AS MATERIALIZED (SELECT w.node, min(w.hop) AS hop FROM ({levels}) w GROUP BY w.node)"
    ways = [
        "w1 AS MATERIALIZED (SELECT l.other AS node, [a::VARCHAR, l.other] AS nodes, [l.relation] AS relations, "
        "least(l.weight, 1.0)::DOUBLE AS strength FROM links l JOIN near n ON n.node = l.other "
        "WHERE l.node = a AND l.other <> a AND 1 + n.hop <= hops "
        f"QUALIFY row_number() OVER (ORDER BY least(l.weight, 1.0) DESC, l.other, l.relation) <= {BEAM})"
    ]
    for hop in range(2, MOST + 1):
        ways.append(
            f"w{hop} AS MATERIALIZED (SELECT l.other AS node, list_append(w.nodes, l.other) AS nodes, "
            "list_append(w.relations, l.relation) AS relations, w.strength * least(l.weight, 1.0) AS strength "
            f"FROM w{hop - 1} w JOIN links l ON l.node = w.node JOIN near n ON n.node = l.other "
            f"WHERE hops >= {hop} AND w.node <> b AND {hop} + n.hop <= hops AND NOT list_contains(w.nodes, l.other) "
            "QUALIFY row_number() OVER "
            f"(ORDER BY w.strength * least(l.weight, 1.0) DESC, list_append(w.nodes, l.other), l.relation) <= {BEAM})"
        )
    every = " UNION ALL ".join(f"SELECT * FROM w{hop}" for hop in range(1, MOST + 1))
    return f"""
WITH {", ".join([*back, near, *ways])}
SELECT len(s.relations) AS hops, s.strength, s.nodes, s.relations FROM ({every}) s
WHERE s.node = b ORDER BY len(s.relations), s.strength DESC, s.nodes, s.relations
"""


def _bounded(node: str) -> str:
    return (
        f"CASE WHEN hops > {MOST} THEN error('at most {MOST} hops can be asked for')::VARCHAR ELSE {node}::VARCHAR END"
    )


GRAPH = (
    Macro(
        "neighbors",
        "unit_id, hops := 1",
        f"units and entities within some hops (at most {MOST}) of one, each by its shortest way: "
        "(unit_id, hop, relation, direction, weight, via)",
        _neighbors(),
    ),
    Macro(
        "paths",
        "a, b, hops := 3",
        f"ways of at most {MOST} hops from one unit or entity to another, shortest first, then by the product of weights: "
        f"(hops, strength, nodes, relations); the {BEAM} strongest are followed",
        _paths(),
    ),
)
