"""How a question's characters are folded where there is no Python: a table of the characters that change.

`lexical.surface_words` normalises (NFKC), case-folds and takes ’ for '; DuckDB has neither of the first two. Character by
character, after NFC, a table does the same but for compatibility characters that only compose with what follows them.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import pyarrow as pa

SURROGATES = range(0xD800, 0xE000)


@lru_cache(maxsize=1)
def folding() -> pa.Table:
    """(written, folded): every character that is not searched as it is written."""
    pairs = [(c, _folded(c)) for c in map(chr, range(sys.maxunicode + 1)) if ord(c) not in SURROGATES]
    changed = [(c, f) for c, f in pairs if c != f]
    return pa.table({"written": [c for c, _ in changed], "folded": [f for _, f in changed]})


def _folded(character: str) -> str:
    return unicodedata.normalize("NFKC", character).casefold().replace("’", "'")
