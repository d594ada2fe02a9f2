"""The knowledge graph: entities, structural links, similarity links. Everything links only to the past of its namespace."""

from pipelines.graph.components import connected_components
from pipelines.graph.entities import entity_id, resolve_entities
from pipelines.graph.links import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges
from pipelines.graph.near_duplicates import NearDuplicateParams, near_duplicate_edges

__all__ = [
    "LinkParams",
    "NearDuplicateParams",
    "connected_components",
    "entity_id",
    "mention_edges",
    "near_duplicate_edges",
    "resolve_entities",
    "similar_edges",
    "structure_edges",
    "synonym_edges",
]
