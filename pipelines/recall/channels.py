"""What speaks for a leaf: dense and lexical at every level, the graph, who speaks, when it happened.

Cosines become z-scores over the scope, BM25 the share of the question's words that is met, so that channels add up. A leaf (turn,
sentence) takes from each level the best of the units that cover it: its round or passage, its topic, its session or document are
its neighbourhood. A text that is a unit of several levels, as the document of one passage is, is heard
once. Small scopes are scored whole. In large ones the indexes, the words and the graph name candidates
(`pipelines.recall.candidates`) and the same channels score these alone, exactly; the spread that z-scores need then comes from the
moments of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.recall.graph_channel import GraphChannel
from pipelines.recall.params import LEVELS, RecallParams
from pipelines.recall.routing import routed
from pipelines.recall.scope import Cover, Level, Scope
from pipelines.recall.times import Reading, by_order, in_window

ORDER_WEIGHT = 0.5
NESTED = ("leaf", "window", "topic", "whole")
"""Levels whose units are stretches of one text, the finest first: what is the same stretch says the same."""


@dataclass(frozen=True)
class Asked:
    """A question as the channels take it."""

    text: str
    vector: np.ndarray
    reading: Reading


@dataclass
class Evidence:
    """Weighted scores on leaves by channel, and the units' own by level: what a unit of that level says for itself.

    `leaves` None means all leaves of the scope in order; else the numbers of those that are scored.
    """

    leaves: np.ndarray | None
    channels: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, np.ndarray | None] = field(default_factory=dict)
    own: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    cosines: dict[str, np.ndarray] = field(default_factory=dict)
    nearest: float = 0.0
    notes: list[str] = field(default_factory=list)
    graph: GraphChannel | None = None

    @cached_property
    def totals(self) -> np.ndarray:
        """The sum of all channels."""
        return np.sum(list(self.channels.values()), axis=0)


Weight = float | np.ndarray
"""Of a level: one number, or one for each of its units."""
Words = dict[str, np.ndarray]
"""By level the weighted BM25 shares of all units."""
Walked = tuple[GraphChannel, np.ndarray]
"""The walk over the graph and the weighted z-scores of all units of the level `window`."""


@dataclass(frozen=True)
class Overview:
    """What is known of all units of a scope before some leaves are chosen: their `words`, the units `near` to the question of each
    level with their cosines, the `weights` of these levels, routed by them, and where the graph leads."""

    words: Words
    near: dict[str, tuple[np.ndarray, np.ndarray]]
    weights: dict[str, Weight]
    walked: Walked | None


def evidence(
    scope: Scope,
    asked: Asked,
    params: RecallParams,
    leaves: np.ndarray | None = None,
    overview: Overview | None = None,
) -> Evidence:
    """Everything that speaks for the leaves of a scope; for some of them, given with the `overview` that they were chosen by."""
    found = Evidence(leaves)
    covers = _covers(scope, found)
    _dense(scope, asked, params, covers, found, overview)
    _lexical(overview.words if overview else words_met(scope, asked, params), covers, found)
    _graph(overview.walked if overview else walked(scope, asked, params), covers, found)
    leaf_scores(scope, asked, params, found)
    if not found.channels:
        n = scope.n_leaves if leaves is None else len(leaves)
        found.channels["none"] = np.zeros(n, np.float32)
    return found


def _covers(scope: Scope, found: Evidence) -> Callable[[str], Cover]:
    """The cover of a level, narrowed to the leaves that are scored; notes the level's units that cover them."""
    made: dict[str, Cover] = {}

    def cover(name: str) -> Cover:
        if name not in made:
            whole = scope.levels[name].cover
            if found.leaves is None:
                found.units[name], made[name] = None, whole
            else:
                found.units[name], made[name] = whole.narrowed(found.leaves)
        return made[name]

    return cover


def _add(found: Evidence, channel: str, level: str, cover: Cover, own: np.ndarray) -> None:
    found.channels[channel] = cover.best(own)
    found.own.setdefault(level, {})[channel] = own


def heard(scope: Scope, params: RecallParams, kind: str) -> dict[str, Weight]:
    """Weights of the levels that speak, each times the share of its units that no finer one of them has already."""
    given = {"dense": params.dense, "lexical": params.lexical}[kind]
    speaking = [n for n in LEVELS if given.get(n) and n in scope.levels and params.speaks(f"{kind}:{n}")]
    nested = [n for n in NESTED if n in speaking]
    finer = {name: tuple(nested[:i]) for i, name in enumerate(nested)}
    weights = {name: given[name] * scope.news(name, finer.get(name, ())) for name in speaking}
    return {name: weight for name, weight in weights.items() if np.any(weight)}


def of_units(weight: Weight, units: np.ndarray | None) -> Weight:
    """The weight of some units of a level, of all for None."""
    return weight[units] if isinstance(weight, np.ndarray) and units is not None else weight


def trusted(weights: dict[str, Weight], cosines: dict[str, np.ndarray], params: RecallParams) -> dict[str, Weight]:
    """Weights of levels that are asked by vectors, routed by the cosines of their units."""
    return routed(weights, cosines, params.temperature) if params.routing else weights


def _dense(
    scope: Scope, asked: Asked, params: RecallParams, covers, found: Evidence, overview: Overview | None
) -> None:
    spreads = {}
    speaking = overview.weights if overview else heard(scope, params, "dense")
    for name in speaking:
        level = scope.levels[name]
        covers(name)
        found.cosines[name] = cosines = _cosines(level, found.units[name], asked.vector)
        spreads[name] = (
            (float(cosines.mean()), float(cosines.std())) if found.leaves is None else level.spread(asked.vector)
        )
    weights = overview.weights if overview else trusted(speaking, found.cosines, params)
    if params.routing and len(weights) > 1:
        means = {name: float(np.mean(weight)) for name, weight in weights.items()}
        total = sum(means.values())
        shown = sorted(means.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {weight / total:.0%}" for name, weight in shown)
        found.notes.append(f"trust in levels by how clearly they single something out: {told}")
    for name, weight in weights.items():
        mean, deviation = spreads[name]
        scale = of_units(weight, found.units[name]) / deviation if deviation > 1e-9 else 0.0
        _add(found, f"dense:{name}", name, covers(name), (found.cosines[name] - mean) * np.float32(scale))
    seen = [*found.cosines.values(), *(cosines for _, cosines in (overview.near.values() if overview else ()))]
    found.nearest = max((float(c.max()) for c in seen if len(c)), default=0.0)


def _cosines(level: Level, units: np.ndarray | None, vector: np.ndarray) -> np.ndarray:
    return level.products(vector) if units is None else level.products_of(units, vector)


def words_met(scope: Scope, asked: Asked, params: RecallParams) -> Words:
    """What the words of a question say of the units of every level that is asked by words."""
    weights = heard(scope, params, "lexical")
    shares = scope.shares(asked.reading.text, tuple(weights))
    return {name: np.float32(weight) * shares[name] for name, weight in weights.items()}


def _lexical(words: Words, covers, found: Evidence) -> None:
    for name, scores in words.items():
        cover, units = covers(name), found.units.get(name)
        own = scores if units is None else scores[units]
        if own.any():
            _add(found, f"lexical:{name}", name, cover, own)


def walks(scope: Scope, params: RecallParams) -> bool:
    """Whether there is a graph to walk over: one of which passages are nodes. In conversations two speakers are hubs of everything,
    and it did not help."""
    if not params.graph or not params.speaks("graph") or "window" not in scope.levels:
        return False
    return any(p.granularity == "passage" and p.shard.graph is not None for p in scope.levels["window"].parts)


def walked(scope: Scope, asked: Asked, params: RecallParams) -> Walked | None:
    """The walk over the graph; None where there is none, or nothing is reached."""
    if not walks(scope, params):
        return None
    level = scope.levels["window"]
    shares = scope.shares(asked.reading.text, ("window",))["window"]
    channel = GraphChannel(scope, level, asked.text, asked.vector, shares)
    scores = channel.scores()
    return None if scores is None else (channel, np.float32(params.graph) * scores)


def _graph(walked: Walked | None, covers, found: Evidence) -> None:
    if walked is None:
        return
    channel, scores = walked
    cover, units = covers("window"), found.units.get("window")
    _add(found, "graph", "window", cover, scores if units is None else scores[units])
    found.graph = channel
    found.notes += channel.notes()


def leaf_scores(scope: Scope, asked: Asked, params: RecallParams, found: Evidence) -> list[np.ndarray]:
    """The channels that know leaves alone, who speaks and when it was: into `found`, and as they are."""
    before = set(found.channels)
    _speaker(scope, asked, params, found)
    _time(scope, asked, params, found)
    return [scores for name, scores in found.channels.items() if name not in before]


def _speaker(scope: Scope, asked: Asked, params: RecallParams, found: Evidence) -> None:
    if not params.speaker or not params.speaks("speaker"):
        return
    names, codes = scope.speakers.names, scope.speakers.codes
    wanted = scope.speakers.named_in(asked.text)
    if not wanted or len(wanted) == len(names):
        return
    table = np.zeros(len(names) + 1, np.float32)
    table[wanted] = params.speaker
    found.channels["speaker"] = table[codes if found.leaves is None else codes[found.leaves]]
    found.notes.append("about what was said by " + " or ".join(names[i] for i in wanted[:5]))


def _time(scope: Scope, asked: Asked, params: RecallParams, found: Evidence) -> None:
    if not params.time or not params.speaks("time") or "leaf" not in scope.levels:
        return
    reading = asked.reading
    scores = None
    if reading.window is not None:
        inside = in_window(scope, reading.window)
        said = f"{reading.window.words!r} read as {reading.window}"
        if inside is None:
            found.notes.append(said + ": sets nothing apart")
        else:
            found.notes.append(said)
            scores = np.float32(params.time) * inside
    if reading.order:
        order = by_order(scope, reading.order)
        if order is not None:
            scores = np.float32(ORDER_WEIGHT) * order + (0 if scores is None else scores)
            found.notes.append("earlier ones first" if reading.order < 0 else "later ones first")
    if scores is not None:
        found.channels["time"] = scores if found.leaves is None else scores[found.leaves]
