"""What speaks for a leaf: dense and lexical at every level, the graph, who speaks, when it happened.

Cosines become z-scores over the scope, BM25 the share of the question's words that is met, so that channels add up. A leaf (turn,
sentence) takes from each level the best of the units that cover it: its round or passage, its topic, its session or document are
its neighbourhood. Small scopes are scored whole. In large ones the indexes name candidates (`pipelines.recall.candidates`) and the
same channels score these alone, exactly; the spread that z-scores need then comes from the moments of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.recall.graph_channel import GraphChannel
from pipelines.recall.params import RecallParams
from pipelines.recall.routing import routed
from pipelines.recall.scope import Cover, Level, Scope
from pipelines.recall.times import Reading, by_order, in_window

ORDER_WEIGHT = 0.5


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


Shares = dict[str, np.ndarray]
"""BM25 shares of all units, by level."""


def evidence(
    scope: Scope,
    asked: Asked,
    params: RecallParams,
    leaves: np.ndarray | None = None,
    shares: Shares | None = None,
    near: dict[str, np.ndarray] | None = None,
) -> Evidence:
    """Everything that speaks for the leaves of a scope, or for some of them.

    For some, the caller gives the `shares` of all units and the cosines of each level's nearest, `near`, which route the levels.
    """
    found = Evidence(leaves)
    covers = _covers(scope, found)
    _dense(scope, asked, params, covers, found, near)
    _lexical(shares or lexical_shares(scope, asked, params), params, covers, found)
    _graph(scope, asked, params, covers, found)
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


def dense_weights(scope: Scope, params: RecallParams, cosines: dict[str, np.ndarray]) -> dict[str, float]:
    """Weights of the levels that are asked by vectors, routed by the cosines of their units."""
    weights = {n: w for n, w in params.dense.items() if w and n in scope.levels and params.speaks(f"dense:{n}")}
    return routed(weights, cosines, params.temperature) if params.routing else weights


def _dense(scope: Scope, asked: Asked, params: RecallParams, covers, found: Evidence, near) -> None:
    spreads = {}
    for name in dense_weights(scope, params, {}):
        level = scope.levels[name]
        covers(name)
        found.cosines[name] = cosines = _cosines(level, found.units[name], asked.vector)
        spreads[name] = (
            (float(cosines.mean()), float(cosines.std())) if found.leaves is None else level.spread(asked.vector)
        )
    weights = dense_weights(scope, params, near or found.cosines)
    if params.routing and len(weights) > 1:
        total = sum(weights.values())
        shown = sorted(weights.items(), key=lambda item: -item[1])
        told = ", ".join(f"{name} {weight / total:.0%}" for name, weight in shown)
        found.notes.append(f"trust in levels by how clearly they single something out: {told}")
    for name, weight in weights.items():
        mean, deviation = spreads[name]
        scale = weight / deviation if deviation > 1e-9 else 0.0
        _add(found, f"dense:{name}", name, covers(name), (found.cosines[name] - mean) * np.float32(scale))
    seen = [*found.cosines.values(), *(near or {}).values()]
    found.nearest = max((float(c.max()) for c in seen if len(c)), default=0.0)


def _cosines(level: Level, units: np.ndarray | None, vector: np.ndarray) -> np.ndarray:
    return level.products(vector) if units is None else level.products_of(units, vector)


def lexical_shares(scope: Scope, asked: Asked, params: RecallParams) -> Shares:
    """BM25 shares of the units of every level that is asked by words."""
    out = {}
    for name, weight in params.lexical.items():
        if weight and name in scope.levels and params.speaks(f"lexical:{name}"):
            found = scope.levels[name].words.shares(asked.reading.text)
            out[name] = found[0] if len(found) == 1 else np.concatenate(found)
    return out


def _lexical(shares: Shares, params: RecallParams, covers, found: Evidence) -> None:
    for name, all_shares in shares.items():
        cover, units = covers(name), found.units.get(name)
        own = np.float32(params.lexical[name]) * (all_shares if units is None else all_shares[units])
        if own.any():
            _add(found, f"lexical:{name}", name, cover, own)


def _graph(scope: Scope, asked: Asked, params: RecallParams, covers, found: Evidence) -> None:
    """Speaks where passages are nodes; in conversations two speakers are hubs of everything, and it did not help."""
    if not params.graph or not params.speaks("graph") or "window" not in scope.levels:
        return
    level, cover = scope.levels["window"], covers("window")
    if all(p.granularity != "passage" or p.shard.graph is None for p in level.parts):
        return
    channel = GraphChannel(scope, level, asked.text, asked.vector)
    own = channel.scores(found.units["window"])
    if own is not None:
        _add(found, "graph", "window", cover, np.float32(params.graph) * own)
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
