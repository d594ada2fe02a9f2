"""Who speaks in a scope, and whom a question names.

A question takes microseconds however many speak: only names that begin with one of its words are compared with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.lexical.terms import stem_terms, surface_words

_ME = re.compile(r"\b(?:I|I'm|I've|my|me|mine|myself)\b")
_YOU = re.compile(r"\b(?:you|your|yours)\b", re.IGNORECASE)
THE_USER = "user"


@dataclass(frozen=True)
class Speakers:
    """`names` of a scope and `codes` int32, the place of the name for each leaf, -1 where nobody speaks."""

    names: Sequence[str]
    codes: np.ndarray

    @cached_property
    def _by_first_word(self) -> dict[str, list[tuple[int, frozenset[str]]]]:
        out: dict[str, list[tuple[int, frozenset[str]]]] = {}
        for i, name in enumerate(self.names):
            if words := surface_words(name):
                out.setdefault(words[0], []).append((i, frozenset(words)))
        return out

    @cached_property
    def stems(self) -> frozenset[str]:
        """The terms that all names are searched under."""
        return frozenset(stem for name in self.names for stem in stem_terms(name))

    def named_in(self, text: str) -> list[int]:
        """Places of those whose whole name the question has; a question of `I` and `my` is about what a speaker called user
        said."""
        words = set(surface_words(text))
        wanted = sorted(i for w in words for i, name in self._by_first_word.get(w, ()) if name <= words)
        if not wanted and THE_USER in self.names and _ME.search(text) and not _YOU.search(text):
            wanted = [self.names.index(THE_USER)]
        return wanted
