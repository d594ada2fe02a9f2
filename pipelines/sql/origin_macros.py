"""lineage, provenance, blast_radius and quality: where a unit comes from, what rests on it, how good the snapshot is.

What was made of what is told by the source spans: a unit that was derived (a fact, a summary), or that is made up of others (a
session of its turns), shows the characters of the sources that it rests on.
"""

from __future__ import annotations

from schemas.database import Macro

_LEAVES = "('turn', 'sentence')"
_DERIVED = "('summary', 'keywords', 'fact', 'note', 'qa')"

_DEEPEST = 3  # what is made from a unit is a fact or a summary of it; nothing is made of those yet


def _walk(name: str, direction: str) -> str:
    """CTE of the units that derived_from edges lead to: (id, depth)."""
    levels, before = [], "l.node = unit_id"
    for depth in range(1, _DEEPEST + 1):
        found = f"SELECT DISTINCT l.other AS id, {depth} AS depth FROM links l"
        levels.append(
            f"{name}{depth} AS MATERIALIZED "
            f"({found} WHERE {before} AND l.relation = 'derived_from' AND l.direction = '{direction}')"
        )
        before = f"l.node IN (SELECT p.id FROM {name}{depth} p)"
    every = " UNION ALL ".join(f"SELECT * FROM {name}{depth}" for depth in range(1, _DEEPEST + 1))
    return ",\n".join([*levels, f"{name} AS (SELECT w.id, min(w.depth) AS depth FROM ({every}) w GROUP BY w.id)"])


ORIGIN = (
    Macro(
        "lineage",
        "unit_id",
        "a unit (depth 0), the sources it was made from and what was made from it: "
        "(depth, direction, kind, id, granularity, relation, start, end, text)",
        f"""
WITH me AS MATERIALIZED (
    SELECT u.unit_id, u.namespace, u.granularity, u.source_spans FROM memory_units u WHERE u.unit_id = unit_id
),
spans AS MATERIALIZED (SELECT unnest(m.source_spans, recursive := true) FROM me m),
{_walk("up", "out")},
{_walk("down", "in")},
resting AS (
    SELECT DISTINCT u.unit_id AS id, CASE WHEN u.granularity IN {_DERIVED} THEN 'cites' ELSE 'contains' END AS relation
    FROM (SELECT x.unit_id, x.granularity, unnest(x.source_spans) AS span FROM memory_units x
          WHERE x.namespace = (SELECT m.namespace FROM me m)) u
    JOIN spans s ON s.ref = u.span.ref AND u.span.start < s."end" AND s.start < u.span."end"
    WHERE u.unit_id <> unit_id
      AND (u.granularity IN {_DERIVED} OR (SELECT m.granularity FROM me m) IN {_LEAVES} AND u.granularity NOT IN {_LEAVES})
      AND (SELECT m.granularity FROM me m) NOT IN {_DERIVED}
),
found AS (
    SELECT 0 AS depth, 'self' AS direction, 'unit' AS kind, m.unit_id AS id, 'self' AS relation FROM me m
    UNION ALL
    SELECT w.depth, 'source', 'unit', w.id, 'derived_from' FROM up w WHERE w.depth > 0
    UNION ALL
    SELECT min(d.depth), 'derived', 'unit', d.id, min(d.relation) FROM (
        SELECT w.depth, w.id, 'derived_from' AS relation FROM down w WHERE w.depth > 0
        UNION ALL SELECT 1, r.id, r.relation FROM resting r
    ) d GROUP BY d.id
)
SELECT f.depth, f.direction, f.kind, f.id, u.granularity, f.relation, NULL::INTEGER AS start, NULL::INTEGER AS "end", u.text
FROM found f JOIN memory_units u ON u.unit_id = f.id
UNION ALL
SELECT 1, 'source', 'record', s.ref, NULL, 'quotes', s.start, s."end", NULL FROM spans s
ORDER BY 1, 2 DESC, 4, 7
""",
    ),
    Macro(
        "provenance",
        "unit_id",
        "every piece of source that a unit rests on, with its record, the file that brought it, and what read it: "
        "(unit_id, version, ref, start, end, quote, record_id, file, reader, file_hash, extractor, recorded_at)",
        """
WITH spans AS MATERIALIZED (
    SELECT u.unit_id, u.version, u.extractor, u.recorded_at, unnest(u.source_spans, recursive := true)
    FROM memory_units u WHERE u.unit_id = unit_id
),
records AS (
    SELECT t.source_ref, t.turn_id AS record_id, t.text FROM turns t WHERE t.source_ref IN (SELECT s.ref FROM spans s)
    UNION ALL
    SELECT d.source_ref, d.document_id, d.text FROM documents d WHERE d.source_ref IN (SELECT s.ref FROM spans s)
)
SELECT s.unit_id, s.version, s.ref, s.start, s."end", r.text[s.start + 1:s."end"] AS quote, r.record_id, f.source_ref AS file,
       f.reader, f.content_hash AS file_hash, s.extractor, s.recorded_at
FROM spans s LEFT JOIN records r ON r.source_ref = s.ref
LEFT JOIN source_records b ON b.record_id = r.record_id LEFT JOIN sources f ON f.delivery_id = b.delivery_id
ORDER BY s.ref, s.start, f.source_ref
""",
    ),
    Macro(
        "blast_radius",
        "ref",
        "everything that rests on a source reference, or on a file that was delivered: (kind, id, granularity, namespace, share), "
        "share being the part of a unit's sources that it is",
        """
WITH refs AS MATERIALIZED (
    SELECT ref::VARCHAR AS ref
    UNION
    SELECT t.source_ref FROM sources f JOIN source_records b ON b.delivery_id = f.delivery_id AND b.kind = 'turns'
    JOIN turns t ON t.turn_id = b.record_id WHERE f.source_ref = ref
    UNION
    SELECT d.source_ref FROM sources f JOIN source_records b ON b.delivery_id = f.delivery_id AND b.kind = 'documents'
    JOIN documents d ON d.document_id = b.record_id WHERE f.source_ref = ref
),
units AS MATERIALIZED (
    SELECT x.unit_id, x.granularity, x.namespace,
           count(*) FILTER (x.span.ref IN (SELECT r.ref FROM refs r)) / count(*) AS share
    FROM (SELECT u.unit_id, u.granularity, u.namespace, unnest(u.source_spans) AS span FROM memory_units u) x
    GROUP BY ALL HAVING share > 0
)
SELECT * FROM (
    SELECT 'record' AS kind, t.turn_id AS id, 'turn' AS granularity, t.namespace, 1.0 AS share FROM turns t
    WHERE t.source_ref IN (SELECT r.ref FROM refs r)
    UNION ALL
    SELECT 'record', d.document_id, 'document', d.namespace, 1.0 FROM documents d WHERE d.source_ref IN (SELECT r.ref FROM refs r)
    UNION ALL
    SELECT 'unit', u.unit_id, u.granularity, u.namespace, u.share FROM units u
    UNION ALL
    SELECT 'triple', t.triple_id, NULL, t.namespace, 1.0 FROM triples t WHERE t.unit_id IN (SELECT u.unit_id FROM units u)
    UNION ALL
    SELECT 'entity', m.entity_id, NULL, m.namespace, max(u.share) FROM mentions m JOIN units u ON u.unit_id = m.unit_id GROUP BY ALL
) ORDER BY kind, share DESC, id
""",
    ),
    Macro(
        "quality",
        "",
        "what speaks for and against this snapshot: its gates, what was refused, and its newest evaluations: "
        "(kind, name, value, threshold, passed, detail)",
        """
SELECT 'gate' AS kind, g.name, g.value, g.threshold, g.passed, g.detail FROM gates g
UNION ALL
SELECT 'refused', q.stage, count(*), NULL, NULL, any_value(q.reason) FROM quarantine q GROUP BY q.stage
UNION ALL
SELECT 'evaluation', e.dataset || ' ' || e.metric, e.value, NULL, NULL,
       e.n || ' questions of snapshot ' || e.snapshot || ', 95 % between ' || round(e.low, 3) || ' and ' || round(e.high, 3)
FROM evaluations e WHERE e.category = 'all'
QUALIFY row_number() OVER (PARTITION BY e.dataset, e.metric ORDER BY e."at" DESC) = 1
UNION ALL
SELECT 'rows', u.granularity, count(*), NULL, NULL, 'current units' FROM memory_units u GROUP BY u.granularity
ORDER BY 1, 2
""",
    ),
)
