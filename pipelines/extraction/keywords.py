"""Keywords of a group: names, titles and noun phrases by frequency, rarity and length, from the group's own leaves only.

RAKE's candidates (Rose et al. 2010: phrases between function words) weighted as in TF-IDF with a background corpus in the
place of the collection, so that a session's keywords do not depend on which other sessions exist. Linear in the entities.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.extraction.entities import Entity
from pipelines.extraction.reading import Group
from pipelines.extraction.unspaced import is_han
from pipelines.extraction.words import rarity

_KIND_WEIGHT = {"name": 1.1, "place": 1.1, "organisation": 1.1, "person": 0.9, "term": 1.0}


@dataclass
class _Candidate:
    kind: str
    surfaces: Counter[str] = field(default_factory=Counter)
    leaves: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Keywords:
    """Keywords best first, and the numbers of the leaves they come from, ascending."""

    words: tuple[str, ...]
    leaves: tuple[int, ...]


def find_keywords(
    group: Group, entities: Sequence[Sequence[Entity]], speakers: Mapping[int, str], limit: int
) -> Keywords:
    """The `limit` best keywords. Speakers are none: they are in every session of a conversation."""
    candidates = _candidates(group, entities, frozenset(speakers.values()))
    scores = {normal: _score(normal, c) for normal, c in candidates.items()}
    chosen: list[str] = []
    for normal in sorted(scores, key=lambda n: (-scores[n], n)):
        if len(chosen) == limit:
            break
        if not any(_within(normal, other) or _within(other, normal) for other in chosen):
            chosen.append(normal)
    leaves = sorted({leaf for normal in chosen for leaf in candidates[normal].leaves})
    return Keywords(tuple(_shown(candidates[n]) for n in chosen), tuple(leaves))


def _candidates(group: Group, entities: Sequence[Sequence[Entity]], speakers: frozenset[str]) -> dict[str, _Candidate]:
    found: dict[str, _Candidate] = {}
    for sentence, mentions in zip(group.sentences(), entities, strict=True):
        for e in mentions:
            if e.kind in _KIND_WEIGHT and e.normal not in speakers and "://" not in e.normal:
                candidate = found.setdefault(e.normal, _Candidate(e.kind))
                candidate.surfaces[e.surface] += 1
                candidate.leaves.append(sentence.leaf)
    return found


def _score(normal: str, candidate: _Candidate) -> float:
    words = normal.split()
    said = [rarity(w) for w in words]
    weight = sum(said) / len(said) * (1 + 0.25 * (min(len(words), 3) - 1))
    return (1 + math.log(len(candidate.leaves))) * weight * _KIND_WEIGHT[candidate.kind]


def _within(short: str, long: str) -> bool:
    return f" {short} " in f" {long} " or (is_han(short) and short in long)


def _shown(candidate: _Candidate) -> str:
    """The most frequent surface in NFKC on one line; terms in lower case; no "; ", which separates keywords."""
    surface = min(candidate.surfaces, key=lambda s: (-candidate.surfaces[s], s))
    text = " ".join(unicodedata.normalize("NFKC", surface).replace(";", ",").split()).strip('"“”«»「」『』《》')
    text = text.removesuffix("'s").removesuffix("’s")
    return text.lower() if candidate.kind == "term" else text
