"""How a question's characters are folded where there is no Python: a table of the characters outside ASCII that change.

`lexical.surface_words` normalises (NFKC), case-folds, takes ’ for ' and ends a word at whatever is no letter or number; DuckDB
has no NFKC and no case folding, and its regular expressions take 4 ms to compile all letters of Unicode. Character by character,
after NFC, a table does the same but for compatibility characters that only compose with what follows them.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import pyarrow as pa

ASCII_WORD = "[a-z0-9\\x{80}-\\x{10ffff}]"
"""What is part of a word once a text is folded and ASCII capitals are small."""
_NO_TEXT = ("Cn", "Co", "Cs")  # unassigned, private, surrogates


@lru_cache(maxsize=1)
def folding() -> pa.Table:
    """(written, folded): every character outside ASCII that is not searched as it is written; what ends a word becomes a space."""
    pairs = [
        (c, _folded(c)) for c in map(chr, range(128, sys.maxunicode + 1)) if unicodedata.category(c) not in _NO_TEXT
    ]
    changed = [(c, f) for c, f in pairs if c != f]
    return pa.table({"written": [c for c, _ in changed], "folded": [f for _, f in changed]})


def _folded(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character).casefold().replace("’", "'")
    return "".join(c if c.isalnum() or c.isascii() else " " for c in folded)
