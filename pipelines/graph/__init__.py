"""The knowledge graph: entities, structural links, similarity links. Everything links only to the past of its namespace."""

from pipelines.graph.entities import entity_id, resolve_entities
from pipelines.graph.links import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges

__all__ = [
    "LinkParams",
    "entity_id",
    "mention_edges",
    "resolve_entities",
    "similar_edges",
    "structure_edges",
    "synonym_edges",
]
