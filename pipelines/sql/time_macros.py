"""timeline and units_valid_at."""

from __future__ import annotations

from schemas.database import Macro

TIME = (
    Macro(
        "timeline",
        "namespace, entity",
        "what is told of an entity (its id, name or another name) in order of time: "
        "(event_time, valid_to, unit_id, granularity, text, predicate, about)",
        """
WITH named AS MATERIALIZED (
    SELECT e.entity_id FROM entities e
    WHERE e.namespace = namespace
      AND (e.entity_id = entity OR lower(e.name) = lower(entity)
           OR list_contains(list_transform(e.aliases, lambda x: lower(x)), lower(entity)))
),
told AS (
    SELECT m.unit_id, NULL::VARCHAR AS predicate, NULL::VARCHAR AS about FROM mentions m
    WHERE m.namespace = namespace AND m.entity_id IN (SELECT n.entity_id FROM named n)
    UNION ALL
    SELECT t.unit_id, t.predicate, t.object_id FROM triples t
    WHERE t.namespace = namespace AND t.subject_id IN (SELECT n.entity_id FROM named n)
)
SELECT u.event_time, u.valid_to, u.unit_id, u.granularity, u.text, t.predicate, o.name AS about
FROM told t JOIN unit_rows u ON u.unit_id = t.unit_id LEFT JOIN entities o ON o.entity_id = t.about
ORDER BY u.event_time, u.unit_id, t.predicate NULLS FIRST, o.name
""",
    ),
    Macro(
        "units_valid_at",
        "t",
        "current units that had happened by a moment and that nothing had replaced then: the columns of memory_units",
        """
SELECT u.* FROM memory_units u
WHERE u.event_time <= t::TIMESTAMPTZ AND (u.valid_to IS NULL OR u.valid_to > t::TIMESTAMPTZ)
ORDER BY u.event_time, u.unit_id
""",
    ),
)
