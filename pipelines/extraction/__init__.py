"""Extraction by rules, the default that needs no language model: summary, keywords, facts, mentions, triples, dates."""

from pipelines.extraction.dates import DateMention, resolve_dates
from pipelines.extraction.extract import MENTIONS, TRIPLES, UNITS, Extraction, extract, extract_group
from pipelines.extraction.normal import normal_form
from pipelines.extraction.params import EXTRACTOR, ExtractParams

__all__ = [
    "EXTRACTOR",
    "MENTIONS",
    "TRIPLES",
    "UNITS",
    "DateMention",
    "ExtractParams",
    "Extraction",
    "extract",
    "extract_group",
    "normal_form",
    "resolve_dates",
]
