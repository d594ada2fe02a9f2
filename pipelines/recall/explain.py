"""Why a hit was found, in words: what each channel saw, the names and dates behind it, the steps through the graph, and where it
stands in the timeline of what the question names (memories as timelines: THEANINE, arXiv 2406.10996)."""

from __future__ import annotations

import numpy as np

from pipelines.lexical.terms import stem_terms, surface_words
from pipelines.recall.channels import Asked
from pipelines.recall.ranking import Candidates, Placed
from pipelines.recall.scope import Level, Part, Scope

LEAST = 0.05
SHOWN = 60  # characters of a memory before or after

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
    """One sentence for each thing that spoke for a hit, the weightiest first, and one for its timeline."""
    found, i = placed
    said = [
        f"{sentence} ({value:+.2f})"
        for channel, value in found.via([i])[0].items()
        if value > LEAST and (sentence := _sentence(scope, asked, found, i, channel))
    ]
    return said + _timeline(scope, asked, found, i)


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


def _timeline(scope: Scope, asked: Asked, found: Candidates, i: int) -> list[str]:
    """What is remembered just before and after a hit of a name in the question; nothing where it is the only one."""
    for part, row in _covering(scope, found, i, "window"):
        graph = part.shard.graph
        if graph is None:
            continue
        told = graph.timeline(row, graph.link(asked.text, None, [part.shard.units["namespace"][row].as_py()]))
        if told is not None and len(told[1]) > 1:
            name, rows = told
            at = rows.index(row)
            beside = [f"after {_quoted(part, rows[at - 1])}"] if at else []
            beside += [f"before {_quoted(part, rows[at + 1])}"] if at + 1 < len(rows) else []
            return [f"in the timeline of {name}, {at + 1} of {len(rows)}: {', '.join(beside)}"]
    return []


def _quoted(part: Part, row: int) -> str:
    text = " ".join(part.shard.units["text"][row].as_py().split())
    text = text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"
    return f'"{text}" ({part.shard.units["event_time"][row].as_py():%Y-%m-%d})'


def _covering(scope: Scope, found: Candidates, i: int, name: str) -> list[tuple[Part, int]]:
    """(part, row) of the units of a level that cover the best leaf of a hit, or the hit itself."""
    if name == found.level:
        return [found.place(i)]
    if name not in scope.levels:
        return []
    level = scope.levels[name]
    return [_at(level, unit) for unit in _units_over(level, found, i).tolist()]


def _units_over(level: Level, found: Candidates, i: int) -> np.ndarray:
    leaf = found.best_leaf(i)
    leaf = leaf if found.evidence.leaves is None else int(found.evidence.leaves[leaf])
    return level.cover.units[level.cover.starts[leaf] : level.cover.starts[leaf + 1]]


def _at(level: Level, unit: int) -> tuple[Part, int]:
    at = int(np.searchsorted(level.offsets, unit, "right")) - 1
    return level.parts[at], level.parts[at].start + unit - int(level.offsets[at])


def _speaking(scope: Scope, found: Candidates, i: int, channel: str, name: str) -> tuple[Part, int]:
    """(part, row) of the unit of a level that spoke for a hit in a channel: the best that covers its best leaf."""
    if name == found.level:
        return found.place(i)
    evidence, level = found.evidence, scope.levels[name]
    units = _units_over(level, found, i)
    scored = evidence.units.get(name)
    places = units if scored is None else np.searchsorted(scored, units)
    return _at(level, int(units[np.argmax(evidence.own[name][channel][places])]))


def _shared(question: str, text: str) -> list[str]:
    """Words of the question that a text has, as the question writes them."""
    have = set(stem_terms(text))
    pairs = zip(surface_words(question), stem_terms(question), strict=True)
    return list(dict.fromkeys(word for word, stem in pairs if stem in have))
