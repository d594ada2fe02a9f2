"""Why a hit was found, in words: what each channel saw, the names and dates behind it, the steps through the graph."""

from __future__ import annotations

import numpy as np

from pipelines.lexical.terms import stem_terms, surface_words
from pipelines.recall.channels import Asked
from pipelines.recall.ranking import Candidates, Placed
from pipelines.recall.scope import Part, Scope

LEAST = 0.05

_LEVEL = {
    "leaf": "it",
    "window": "it and its neighbours",
    "topic": "the topic around it",
    "whole": "the whole it is part of",
    "fact": "a fact taken from it",
    "summary": "its summary",
    "keywords": "its keywords",
}


def explained(scope: Scope, asked: Asked, placed: Placed) -> list[str]:
    """One sentence for each thing that spoke for a hit, the weightiest first."""
    found, i = placed
    return [
        f"{sentence} ({value:+.2f})"
        for channel, value in found.via(i).items()
        if value > LEAST and (sentence := _sentence(scope, asked, found, i, channel))
    ]


def _sentence(scope: Scope, asked: Asked, found: Candidates, i: int, channel: str) -> str:
    kind, _, level = channel.partition(":")
    if kind == "dense":
        return f"{_LEVEL[level]} means something like the question"
    if kind == "lexical":
        part, row = _speaking(scope, found, i, channel, level)
        words = _shared(asked.reading.text, part.shard.units["text"][row].as_py())
        return f"{_LEVEL[level]} has words of the question" + (f": {', '.join(words)}" if words else "")
    if kind == "speaker":
        return "said by the one that the question is about"
    if kind == "time":
        window = asked.reading.window
        return f"of the time asked about, {window}" if window is not None else "early or late among its like, as asked"
    if kind == "graph" and found.evidence.graph is not None:
        steps = found.evidence.graph.explain(*_speaking(scope, found, i, channel, "window"))
        return "the graph leads to it" + (": it " + "; ".join(steps) if steps else "")
    return ""


def _speaking(scope: Scope, found: Candidates, i: int, channel: str, name: str) -> tuple[Part, int]:
    """(part, row) of the unit of a level that spoke for a hit in a channel: the best that covers its best leaf."""
    if name == found.level:
        return found.place(i)
    evidence, level = found.evidence, scope.levels[name]
    leaf = found.best_leaf(i)
    leaf = leaf if evidence.leaves is None else int(evidence.leaves[leaf])
    units = level.cover.units[level.cover.starts[leaf] : level.cover.starts[leaf + 1]]
    scored = evidence.units.get(name)
    places = units if scored is None else np.searchsorted(scored, units)
    unit = int(units[np.argmax(evidence.own[name][channel][places])])
    at = int(np.searchsorted(level.offsets, unit, "right")) - 1
    return level.parts[at], level.parts[at].start + unit - int(level.offsets[at])


def _shared(question: str, text: str) -> list[str]:
    """Words of the question that a text has, as the question writes them."""
    have = set(stem_terms(text))
    pairs = zip(surface_words(question), stem_terms(question), strict=True)
    return list(dict.fromkeys(word for word, stem in pairs if stem in have))
