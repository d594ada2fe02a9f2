"""neighbors and paths: breadth-first walks over `links`, which hold every edge from both of its ends."""

from __future__ import annotations

from schemas.database import Macro

BEAM = 1_000  # unfinished paths that are followed at once: hubs (an entity that everybody mentions) have thousands of neighbours

GRAPH = (
    Macro(
        "neighbors",
        "unit_id, hops := 1",
        "units and entities within some hops of one, each by its shortest way: (unit_id, hop, relation, direction, weight, via)",
        """
WITH RECURSIVE walk AS (
    SELECT unit_id::VARCHAR AS node, 0 AS hop, NULL::STRUCT(relation VARCHAR, direction VARCHAR, weight FLOAT, via VARCHAR) AS edge
    UNION ALL
    SELECT l.other, min(w.hop) + 1, arg_max(
        struct_pack(relation := l.relation, direction := l.direction, weight := l.weight, via := l.node), l.weight)
    FROM walk w JOIN links l ON l.node = w.node WHERE w.hop < hops GROUP BY l.other
),
shortest AS (SELECT w.node, min(w.hop) AS hop, arg_min(w.edge, w.hop) AS edge FROM walk w GROUP BY w.node)
SELECT s.node AS unit_id, s.hop, s.edge.relation AS relation, s.edge.direction AS direction, s.edge.weight AS weight,
       s.edge.via AS via
FROM shortest s WHERE s.hop > 0 ORDER BY s.hop, s.edge.weight DESC, s.node
""",
    ),
    Macro(
        "paths",
        "a, b, hops := 3",
        f"ways from one unit or entity to another, shortest first, then by the product of weights (at most 1 each): "
        f"(hops, strength, nodes, relations); the {BEAM} strongest are followed",
        f"""
WITH RECURSIVE back AS (
    SELECT b::VARCHAR AS node, 0 AS hop
    UNION
    SELECT l.other, w.hop + 1 FROM back w JOIN links l ON l.node = w.node WHERE w.hop + 1 < hops
),
near AS MATERIALIZED (SELECT w.node, min(w.hop) AS hop FROM back w GROUP BY w.node),
ways AS (
    SELECT a::VARCHAR AS node, [a::VARCHAR] AS nodes, []::VARCHAR[] AS relations, 1.0::DOUBLE AS strength
    UNION ALL
    SELECT s.node, s.nodes, s.relations, s.strength FROM (
        SELECT l.other AS node, list_append(w.nodes, l.other) AS nodes, list_append(w.relations, l.relation) AS relations,
               w.strength * least(l.weight, 1.0) AS strength
        FROM ways w JOIN links l ON l.node = w.node JOIN near n ON n.node = l.other
        WHERE w.node <> b AND len(w.relations) + 1 + n.hop <= hops AND NOT list_contains(w.nodes, l.other)
        QUALIFY row_number() OVER (ORDER BY w.strength * least(l.weight, 1.0) DESC, l.other, l.relation) <= {BEAM}
    ) s
)
SELECT len(w.relations) AS hops, w.strength, w.nodes, w.relations FROM ways w
WHERE w.node = b ORDER BY len(w.relations), w.strength DESC, w.nodes
""",
    ),
)
