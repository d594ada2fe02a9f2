"""What a baseline is given: the items of one scope with what the store made of them, as plain arrays.

An item is what is ranked (a turn, a session, a passage, a document); a leaf is the smallest unit inside it (a turn, a sentence).
Items come in the order of time, which is what MemGAS' "earlier" means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Encode = Callable[[list[str]], np.ndarray]
"""Texts -> unit-norm vectors f32 [n, dim]."""
Ranker = Callable[[str, np.ndarray], np.ndarray]
"""A question's text and vector -> one score for each item, higher is better."""
Triple = tuple[str, str, str, int]
"""Subject, predicate, object as written, and the item that says so."""


@dataclass(frozen=True)
class Corpus:
    """The items of one scope. `summaries` and `keywords` have a zero row where an item has none, `facts` an empty text."""

    texts: Sequence[str]
    vectors: np.ndarray
    leaf_vectors: np.ndarray
    leaf_item: np.ndarray
    summaries: np.ndarray
    keywords: np.ndarray
    facts: Sequence[str]
    triples: Sequence[Triple] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.texts)
