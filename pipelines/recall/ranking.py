"""From leaves to what was asked for: units of a granularity by their best leaf and by what they say for themselves.

A session is as good as its best turn; a fact as good as its turn, and by its own words among the facts of that turn. Evidence so
moves up to parents and down to children. Means over several leaves and soft maxima were measured on LoCoMo and are no better.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.recall.channels import Evidence
from pipelines.recall.params import LEVELS, Hit
from pipelines.recall.scope import Part, Scope

ANSWERS = {"turn": "turn", "sentence": "passage"}
ONE_SIDED = {"turn": "speaker", "passage": "graph"}
"""The channel that only conversations have, and the one that only documents have."""


def asked_granularities(scope: Scope, granularity: str | None) -> list[str]:
    """The granularities to answer at: the asked one, or turn for conversations and passage for documents."""
    have = scope.granularities()
    if granularity is None:
        return [g for g in ANSWERS.values() if g in have]
    return [granularity] if granularity in have else []


@dataclass(frozen=True)
class Candidates:
    """Scored units of one granularity. `units` number the units of the level; `low`, `high` their leaves among those scored."""

    level: str
    parts: list[tuple[Part, int]]
    units: np.ndarray
    low: np.ndarray
    high: np.ndarray
    totals: np.ndarray
    base: np.ndarray
    evidence: Evidence

    def place(self, i: int) -> tuple[Part, int]:
        """(part, row of its shard) of the i-th candidate."""
        unit = int(self.units[i])
        part, offset = next((p, o) for p, o in self.parts if o <= unit < o + len(p))
        return part, part.start + unit - offset

    def best_leaf(self, i: int) -> int:
        """Place of the leaf that speaks for the i-th candidate."""
        low, high = int(self.low[i]), int(self.high[i])
        return low + int(np.argmax(self.base[low:high]))

    @property
    def granularity(self) -> str:
        """That of all candidates."""
        return self.parts[0][0].granularity

    def given(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """What each channel says for some candidates."""
        leaves, own = [self.best_leaf(i) for i in chosen], self.evidence.own.get(self.level, {})
        units = self.own_places(self.units[chosen])
        said = {
            name: (own[name][units] if name in own else scores[leaves]).tolist()
            for name, scores in self.evidence.channels.items()
        }
        return [dict(zip(said, values, strict=True)) for values in zip(*said.values(), strict=True)]

    def via(self, chosen: Sequence[int]) -> list[dict[str, float]]:
        """What each channel gave to the scores of some candidates, the largest first."""
        return [self._via(float(self.totals[i]), given) for i, given in zip(chosen, self.given(chosen), strict=True)]

    def _via(self, total: float, given: dict[str, float]) -> dict[str, float]:
        moved = total - sum(given.values())
        if abs(moved) > 1e-3:  # see `_comparable`
            name = ONE_SIDED[self.granularity]
            given[name] = given.get(name, 0.0) + moved
        kept = {name: round(value, 4) for name, value in given.items() if abs(value) >= 5e-5}
        return dict(sorted(kept.items(), key=lambda item: -abs(item[1])))

    def own_places(self, units: np.ndarray) -> np.ndarray:
        """Places of some units of the level among its scored ones."""
        scored = self.evidence.units.get(self.level)
        return units if scored is None else np.searchsorted(scored, units)


def gather(scope: Scope, found: Evidence, granularity: str) -> Candidates:
    """All units of one granularity that have a scored leaf."""
    name = next(level for level, kinds in LEVELS.items() if granularity in kinds)
    level = scope.levels[name]
    parts = [(p, int(o)) for p, o in zip(level.parts, level.offsets, strict=False) if p.granularity == granularity]
    scored = found.units.get(name)
    if found.leaves is None:
        units = np.concatenate([np.arange(o, o + len(p)) for p, o in parts])
    else:
        near = level.cover.narrowed(found.leaves)[0] if scored is None else scored
        units = np.concatenate([near[np.searchsorted(near, o) : np.searchsorted(near, o + len(p))] for p, o in parts])
    low, high = level.low[units], level.high[units]
    if found.leaves is not None:
        low, high = np.searchsorted(found.leaves, low), np.searchsorted(found.leaves, high)
    own = found.own.get(name, {})
    base = found.totals - np.sum([found.channels[c] for c in own], axis=0) if own else found.totals
    totals = _maximum_between(base, low, high)
    if own:
        places = units if scored is None else np.searchsorted(scored, units)
        totals = totals + np.sum([scores[places] for scores in own.values()], axis=0)
    return Candidates(name, parts, units, low, high, np.where(high > low, totals, -np.inf), base, found)


def _maximum_between(scores: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """max(scores[low_i:high_i]) for each i; `reduceat` on interleaved bounds, a sentinel closing the last."""
    if (high - low == 1).all():
        return scores[low]
    padded = np.append(scores, -np.inf)
    pairs = np.column_stack([low, high]).ravel()
    return np.where(high > low, np.maximum.reduceat(padded, pairs)[::2], -np.inf)


Placed = tuple[Candidates, int]


def best_of(candidates: list[Candidates], k: int, valid_at: dt.datetime | None) -> list[Placed]:
    """The k best over all candidates; ties go to the earlier row."""
    tops = [(found, _top(found, k, valid_at)) for found in candidates]
    if len(tops) > 1:
        tops = [(_comparable(found, top), top) for found, top in tops]
    rows = [(-float(found.totals[i]), order, int(i), found) for found, top in tops for order, i in enumerate(top)]
    rows.sort(key=lambda r: (r[0], r[1]))
    return [(found, i) for _, _, i, found in rows[:k]]


def _top(found: Candidates, k: int, valid_at: dt.datetime | None) -> np.ndarray:
    """The k best of one granularity, best first."""
    totals = found.totals if valid_at is None else np.where(_valid(found, valid_at), found.totals, -np.inf)
    most = min(k, len(totals))
    if not most:
        return np.empty(0, np.int64)
    least = -np.partition(-totals, most - 1)[most - 1]
    top = np.flatnonzero(totals >= least)  # more than k where the last places are tied
    top = top[np.argsort(-totals[top], kind="stable")][:most]
    return top[np.isfinite(totals[top])]


def _comparable(found: Candidates, top: np.ndarray) -> Candidates:
    """Scores by which turns and passages may stand in one ranking.

    A channel that only one kind has orders that kind in itself, and lifts none of it above the other: the j-th place by all
    channels takes the j-th best score by shared channels. `via` counts the difference to that channel.
    """
    mine, own = ONE_SIDED[found.granularity], found.evidence.own.get(found.level, {})
    if mine not in found.evidence.channels or not len(top):
        return found
    given = own[mine][found.own_places(found.units)] if mine in own else found.evidence.channels[mine][found.low]
    shared = np.where(np.isfinite(found.totals), found.totals - given, -np.inf)
    totals = found.totals.copy()
    totals[top] = -np.sort(np.partition(-shared, len(top) - 1)[: len(top)])
    return replace(found, totals=totals)


def _valid(found: Candidates, moment: dt.datetime) -> np.ndarray:
    """Units true at `moment`: they had happened and no later fact had replaced them."""
    wanted = pa.scalar(moment, pa.timestamp("us", tz="UTC"))
    out = np.zeros(len(found.units), bool)
    for part, offset in found.parts:
        inside = (found.units >= offset) & (found.units < offset + len(part))
        rows = pa.array(part.start + found.units[inside] - offset)
        began = pc.less_equal(part.shard.units["event_time"].take(rows), wanted)
        lasting = pc.fill_null(pc.greater(part.shard.units["valid_to"].take(rows), wanted), True)
        out[inside] = pc.and_(began, lasting).to_numpy()
    return out


def hits_of(placed: list[Placed]) -> list[Hit]:
    """What is shown of the units in a ranking."""
    places = [found.place(i) for found, i in placed]
    shown: dict[int, dict] = {}
    for shard in {id(part.shard): part.shard for part, _ in places}.values():
        mine = [rank for rank, (part, _) in enumerate(places) if part.shard is shard]
        shown |= zip(mine, shard.rows([places[rank][1] for rank in mine]), strict=True)
    via: dict[int, dict[str, float]] = {}
    for found in {id(found): found for found, _ in placed}.values():
        mine = [rank for rank, (other, _) in enumerate(placed) if other is found]
        via |= zip(mine, found.via([placed[rank][1] for rank in mine]), strict=True)
    return [_hit(rank + 1, placed[rank], shown[rank], via[rank]) for rank in range(len(placed))]


def _hit(rank: int, placed: Placed, row: dict, via: dict[str, float]) -> Hit:
    found, i = placed
    return Hit(
        rank=rank,
        unit_id=row["unit_id"],
        namespace=row["namespace"],
        granularity=row["granularity"],
        score=round(float(found.totals[i]), 4),
        text=row["text"],
        source=row["source_spans"],
        event_time=_in_zone(row["event_time"], row["zone"]),
        time_source=row["time_source"],
        session_id=row["session_id"],
        document_id=row["document_id"],
        via=via,
    )


def _in_zone(moment: dt.datetime, zone: str | None) -> str:
    """ISO time with the offset its source gave; without an offset where the source gave none."""
    if zone is None:
        return moment.replace(tzinfo=None).isoformat()
    return moment.astimezone(dt.datetime.strptime(zone, "%z").tzinfo).isoformat()
