"""Text -> index terms: Unicode words, case-folded, Snowball stems. CJK text is cut into overlapping pairs of characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from functools import lru_cache

import Stemmer
import wordfreq

LANGUAGE = "english"
COMMON = 50_000
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "too",
        "up",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CJK = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]")


@lru_cache(maxsize=1)
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer(LANGUAGE)


def common_words(stems_known: Container[str]) -> dict[str, str]:
    """word -> stem of the COMMON most frequent English words whose stem is known: questions are asked in forms that no text had."""
    words = list(dict.fromkeys(w for line in wordfreq.top_n_list("en", COMMON) for w in surface_words(line)))
    return {word: stem for word, stem in zip(words, stems(words), strict=True) if stem in stems_known}


def surface_words(text: str) -> list[str]:
    """Case-folded words of a text, stop words left out."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    words = []
    for word in _WORD.findall(folded):
        if _CJK.search(word) and len(word) > 1:
            words += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            words.append(word.removesuffix("'s"))
    return [w for w in words if w not in STOP_WORDS]


def stems(words: list[str]) -> list[str]:
    """What words as `surface_words` gives them are indexed under."""
    return _stemmer().stemWords(words)


def stem_terms(text: str) -> list[str]:
    """The terms a text is indexed and searched under."""
    return stems(surface_words(text))
