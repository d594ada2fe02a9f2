"""Normal forms: the text by which two mentions inside a namespace are the same entity.

NFKC, casefold, quotes and dashes unified, determiners, possessives and outer punctuation stripped, spaces collapsed; for terms
the last word is put in the singular. Never ASCII-only: every letter of every script stays, so two names in Arabic or Chinese
cannot fall together. Cost: a dozen string operations. An empty normal form means that the surface names nothing.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from pipelines.extraction.words import singular

_DETERMINERS = frozenset(
    ["the", "a", "an", "this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "some", "any", "every",
     "each", "another", "such"]
)  # fmt: skip
_UNIFY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‐": "-", "‑": "-"})


def normal_form(surface: str, *, term: bool = False) -> str:
    """The normal form of `surface`; with `term` its last word in the singular. May be empty."""
    plain = surface.isascii()  # such a text is its own NFKC
    text = (surface if plain else unicodedata.normalize("NFKC", surface).translate(_UNIFY)).casefold()
    text = _strip_marks(" ".join(text.split()))
    while (words := text.partition(" "))[1] and words[0] in _DETERMINERS:
        text = words[2]
    text = _strip_marks(text[:-1] if text.endswith("s'") else text.removesuffix("'s"))
    return in_singular(text) if term else text


def in_singular(normal: str) -> str:
    """A normal form with its last word in the singular."""
    head, space, last = normal.rpartition(" ")
    return head + space + singular(last) if normal else ""


def _strip_marks(text: str) -> str:
    """Without punctuation, symbols, spaces or control characters at either end."""
    if text and text[0].isalnum() and text[-1].isalnum():
        return text
    start, end = 0, len(text)
    while start < end and not _carries_meaning(text[start]):
        start += 1
    while end > start and not _carries_meaning(text[end - 1]):
        end -= 1
    return text[start:end]


@lru_cache(maxsize=4_096)
def _carries_meaning(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in "@#+%°"
