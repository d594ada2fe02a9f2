"""Triples by co-occurrence: two entities of a sentence within a window, joined by the words between them.

The offline stand-in for HippoRAG's relation extraction (arXiv 2405.14831), section 2.6 of the design's algorithms. `I` stands
for the speaker, so `I like jazz` gives (caroline, like, jazz). Pairs are ranked by how specific both ends are and by having
a verb between, and a leaf keeps the best few. Cost is quadratic in the entities of one sentence. Both ends are always among the
mentions of the same leaf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.extraction.entities import Entity
from pipelines.extraction.params import ExtractParams
from pipelines.extraction.reading import Group, Leaf, Sentence
from pipelines.extraction.words import Token, rarity

RELATED = "related to"
_BREAKS = frozenset(',;:.!?()[]—–-"“”')


@dataclass(frozen=True)
class Triple:
    """One relation that leaf number `leaf` states."""

    leaf: int
    subject: str
    predicate: str
    object: str
    score: float


def find_triples(
    group: Group, entities: Sequence[Sequence[Entity]], speakers: Mapping[int, str], params: ExtractParams
) -> list[Triple]:
    """At most `max_triples_per_leaf` triples per leaf, in order of place; `speakers` maps a leaf's number to who speaks in it."""
    by_leaf: dict[int, list[Triple]] = {}
    for sentence, found in zip(group.sentences(), entities, strict=True):
        nodes = sorted(
            [*found, *_first_persons(sentence, speakers.get(sentence.leaf))], key=lambda e: (e.first, e.last)
        )
        by_leaf.setdefault(sentence.leaf, []).extend(_pairs(group.leaves[sentence.leaf], sentence, nodes, params))
    return [t for leaf in sorted(by_leaf) for t in _best(by_leaf[leaf], params.max_triples_per_leaf)]


def _first_persons(sentence: Sentence, speaker: str | None) -> list[Entity]:
    """Each `I` of the sentence as a mention of the speaker."""
    if speaker is None or sentence.caption:
        return []
    return [
        Entity(t.start, t.end, i, i + 1, t.text, speaker, "person")
        for i, t in enumerate(sentence.tokens)
        if t.lower.partition("'")[0] == "i" and t.tag == "P"
    ]


def _pairs(leaf: Leaf, sentence: Sentence, nodes: Sequence[Entity], params: ExtractParams) -> list[Triple]:
    found = []
    for i, a in enumerate(nodes):
        for b in nodes[i + 1 :]:
            if b.first - a.last >= params.window_tokens:
                break
            if a.normal == b.normal or a.kind == "quantity" or b.first < a.last:
                continue
            between = sentence.tokens[a.last : b.first]
            predicate = _predicate(leaf.text, a, b, between, params.predicate_tokens)
            found.append(Triple(sentence.leaf, a.normal, predicate, b.normal, _score(a, b, predicate, between)))
    return found


def _predicate(text: str, a: Entity, b: Entity, between: Sequence[Token], longest: int) -> str:
    """The words between, less conjunctions before and determiners after; "related to" where none, too many or a break is left.

    A pronoun or conjunction inside means that the words have another subject, so that they relate nothing.
    """
    words = list(between) if a.kind != "date" else []
    while words and (
        (words[0].tag in "CR." and words[0].lower not in ("not", "never")) or words[0].lower in ("that", "which", "who")
    ):
        words = words[1:]
    while words and words[-1].tag in "D.":
        words = words[:-1]
    if not words or len(words) > longest or any(t.tag in "PCW" or t.text in _BREAKS for t in words):
        return RELATED
    if not any(t.tag in "VXIT" for t in words):
        return RELATED
    return " ".join(text[words[0].start : words[-1].end].split()).lower()


def specificity(e: Entity) -> float:
    """How little an entity can be confused: names and dates 1, noun phrases by their rarest word."""
    if e.kind != "term":
        return 1.0
    return min(1.0, 0.2 + max(rarity(w) for w in e.normal.split())) if e.normal else 0.0


def _score(a: Entity, b: Entity, predicate: str, between: Sequence[Token]) -> float:
    verb = any(t.tag in "VX" for t in between)
    relation = 0.3 if predicate == RELATED else 1.0 if verb else 0.6
    return specificity(a) * specificity(b) * relation / (1 + 0.05 * len(between))


def _best(found: Sequence[Triple], most: int) -> list[Triple]:
    """The best distinct triples, in the order in which they stand."""
    first: dict[tuple[str, str, str], int] = {}
    for i, t in enumerate(found):
        first.setdefault((t.subject, t.predicate, t.object), i)
    kept = sorted(first.values(), key=lambda i: (-found[i].score, i))[:most]
    return [found[i] for i in sorted(kept)]
