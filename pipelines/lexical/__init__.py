"""The lexical index: BM25 with stemming over mapped postings, exact within any contiguous range of rows (a namespace)."""

from pipelines.lexical.bm25 import K1, B, Collections, Lexical, Postings, build, scores, shares
from pipelines.lexical.terms import STOP_WORDS, common_words, stem_terms, surface_words

__all__ = [
    "K1",
    "STOP_WORDS",
    "B",
    "Collections",
    "Lexical",
    "Postings",
    "build",
    "common_words",
    "scores",
    "shares",
    "stem_terms",
    "surface_words",
]  # fmt: skip
