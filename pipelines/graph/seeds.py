"""What a question seeds a walk with: names that it contains, and phrases of the facts nearest to it."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from pipelines.extraction.normal import in_singular, normal_form
from pipelines.extraction.words import closed_class, tokenize

LONGEST = 8


@dataclass(frozen=True)
class Seed:
    """One entity node with its weight and, in words, why it is one."""

    node: int
    name: str
    weight: float
    why: str


@dataclass(frozen=True)
class Seeds:
    """Seeds of one question, heaviest first; weights are relative. False where nothing linked."""

    found: tuple[Seed, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.found)


class Span(NamedTuple):
    """Characters [start, end) of a question that may name an entity. `written` as a name, with a capital or a digit; or where
    that says nothing, `perhaps` a name: with the first word, or in a question without capitals."""

    start: int
    end: int
    folded: str
    written: bool
    perhaps: bool


def named_spans(text: str) -> list[Span]:
    """Every run of up to `LONGEST` tokens, the longest first, as it is and with its last word in the singular."""
    tokens = tokenize(text, 0, len(text))
    plain = not any(c.isupper() for c in text[1:])
    written = [0, *accumulate(t[0][0].isdigit() or (t[0][0].isupper() and n > 0) for n, t in enumerate(tokens))]
    out: list[Span] = []
    for length in range(min(LONGEST, len(tokens)), 0, -1):
        for i in range(len(tokens) - length + 1):
            if length == 1 and closed_class(tokens[i][0].lower()):
                continue
            start, end = tokens[i][1], tokens[i + length - 1][2]
            if normal := normal_form(text[start:end]):
                named, perhaps = written[i + length] > written[i], plain or not i
                out.append(Span(start, end, folded(normal), named, perhaps))
                if (one := in_singular(normal)) != normal:
                    out.append(Span(start, end, folded(one), named, perhaps))
    return out


def folded(normal: str) -> str:
    """A normal form without accents, as people type names: `Aschenbrodel` is `Aschenbrödel`, `Jimenez` is `Jiménez`."""
    if normal.isascii():
        return normal
    return "".join(c for c in unicodedata.normalize("NFKD", normal) if not "\u0300" <= c <= "\u036f")


def fact_weights(
    ends: Sequence[Sequence[int]],
    scores: Sequence[float] | np.ndarray,
    passages: Mapping[int, int] | np.ndarray,
    most: int,
) -> dict[int, float]:
    """Weights of the phrases of some facts: the mean over its facts of score / number of passages that have the phrase
    (node specificity); the `most` heaviest above 0, heaviest first, equal ones by node."""
    given: dict[int, list[float]] = {}
    for pair, score in zip(ends, scores, strict=True):
        for node in dict.fromkeys(pair):
            given.setdefault(node, []).append(float(score) / max(1, passages[node]))
    means = {node: sum(parts) / len(parts) for node, parts in given.items()}
    kept = sorted((n for n in means if means[n] > 0), key=lambda n: (-means[n], n))[:most]
    return {node: means[node] for node in kept}


def merged(*lists: Sequence[Seed]) -> Seeds:
    """One seed per node: weights add up, the first reason stands."""
    by_node: dict[int, Seed] = {}
    for seed in (seed for seeds in lists for seed in seeds):
        known = by_node.get(seed.node)
        by_node[seed.node] = replace(known, weight=known.weight + seed.weight) if known else seed
    return Seeds(tuple(sorted(by_node.values(), key=lambda s: (-s.weight, s.node))))
