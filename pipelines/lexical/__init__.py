"""The lexical index: BM25 with stemming over mapped postings, exact within any contiguous range of rows (a namespace)."""

from pipelines.lexical.bm25 import Lexical, build, scores, shares
from pipelines.lexical.terms import stem_terms

__all__ = ["Lexical", "build", "scores", "shares", "stem_terms"]
