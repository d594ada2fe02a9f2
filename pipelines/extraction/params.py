"""Identity parameters of rule extraction: whatever changes the output is here and enters the fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

EXTRACTOR = "rules@1"


@dataclass(frozen=True)
class ExtractParams:
    """How much of what is extracted.

    `summary_words` caps the summary's length after its first sentence; `redundancy` is MMR's weight of novelty (0 ignores it);
    `damping` that of LexRank. A noun phrase becomes a mention when that many leaves of the group contain it: `min_term_leaves`
    for one word, `min_phrase_leaves` for two or more. `min_fact_score` is in units of rare content words.
    """

    summary_sentences: int = 3
    summary_words: int = 80
    keywords: int = 12
    max_facts_per_leaf: int = 3
    min_fact_score: float = 1.0
    max_triples_per_leaf: int = 8
    window_tokens: int = 12
    predicate_tokens: int = 6
    min_term_leaves: int = 2
    min_phrase_leaves: int = 1
    redundancy: float = 0.3
    damping: float = 0.85
