"""All tables by name. A table, its folder in the lake, its DuckDB view and its test share the name."""

from schemas.table import TableSchema
from schemas.tables import (
    assignments,
    clusters,
    corpus_days,
    documents,
    edges,
    embeddings,
    entities,
    erasures,
    evaluations,
    extraction_failures,
    feedback,
    given_extractions,
    index_shards,
    lexical_postings,
    lexicon,
    memory_units,
    mentions,
    operations,
    quarantine,
    runs,
    source_records,
    sources,
    triples,
    turns,
)

TABLES: dict[str, TableSchema] = {
    module.TABLE.name: module.TABLE
    for module in (
        assignments,
        clusters,
        corpus_days,
        documents,
        edges,
        embeddings,
        entities,
        erasures,
        evaluations,
        extraction_failures,
        feedback,
        given_extractions,
        index_shards,
        lexical_postings,
        lexicon,
        memory_units,
        mentions,
        operations,
        quarantine,
        runs,
        source_records,
        sources,
        triples,
        turns,
    )
}
