"""The rows that a question looks at: parts by level over one array of leaves, and how scores of units reach the leaves.

A scope is made once for a set of namespaces and kept. It numbers the leaves (turns, sentences) of all its shards from 0; a part is
a range of rows of one granularity in one shard with the leaves [low, high) that each row covers. `Cover` turns that round: for
each leaf the units of a level that cover it, so that the best of them is one take or one `reduceat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines import lexical
from pipelines.ranges import numbers_in
from pipelines.recall.params import LEAVES, LEVELS
from pipelines.recall.shard import NO_DAY, RecallShard
from pipelines.recall.speakers import Speakers

FEW_UNITS, MANY_LEAVES = 4, 4_096  # where few units cover each of many leaves gathers are faster than `reduceat`


@dataclass(frozen=True)
class Part:
    """Rows [start, end) of one granularity in one shard, and the leaves [low, high) of the scope that each row covers."""

    shard: RecallShard
    granularity: str
    start: int
    end: int
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Cover:
    """For each leaf the units of a level that cover it: `units[starts[i]:starts[i + 1]]` for the i-th leaf of the scope."""

    units: np.ndarray
    starts: np.ndarray

    @cached_property
    def _single(self) -> bool:
        return len(self.units) == len(self.starts) - 1 and bool((np.diff(self.starts) == 1).all())

    @cached_property
    def _covered(self) -> np.ndarray | None:
        """Which leaves some unit covers; None where all are."""
        covered = np.diff(self.starts) > 0
        return None if covered.all() else covered

    @cached_property
    def _first(self) -> np.ndarray:
        """Where the units of each covered leaf begin."""
        return self.starts[:-1] if self._covered is None else self.starts[:-1][self._covered]

    @cached_property
    def identity(self) -> bool:
        """Whether unit i is leaf i."""
        return self._single and bool((self.units == np.arange(len(self.units))).all())

    @cached_property
    def _wide(self) -> np.ndarray:
        """`units` as numbers that a take need not turn into others first."""
        return self.units.astype(np.intp)

    @cached_property
    def _columns(self) -> list[np.ndarray]:
        """The first unit of each leaf + 1, its second and so on, 0 where it has no more; [] where some leaf has many."""
        counts = np.diff(self.starts)
        if not len(self.units) or counts.max() > FEW_UNITS:
            return []
        places = [np.minimum(self.starts[:-1] + i, len(self.units) - 1) for i in range(counts.max())]
        return [np.where(counts > i, self.units[at] + 1, 0).astype(np.intp) for i, at in enumerate(places)]

    def best(self, scores: np.ndarray) -> np.ndarray:
        """For each leaf the best score among the units that cover it; 0 where none does."""
        if self.identity:
            return scores
        if self._single:
            return scores.take(self._wide, mode="clip")
        if not len(self.units):
            return np.zeros(len(self.starts) - 1, np.float32)
        if len(self.starts) > MANY_LEAVES and self._columns:
            padded = np.concatenate([np.array([-np.inf], scores.dtype), scores])
            out = padded.take(self._columns[0], mode="clip")  # as they are in range: this mode does not look
            for column in self._columns[1:]:
                np.maximum(out, padded.take(column, mode="clip"), out=out)
            if self._covered is not None:
                out[~self._covered] = 0
            return out
        best = np.maximum.reduceat(scores[self.units], self._first)
        if self._covered is None:
            return best
        out = np.zeros(len(self.starts) - 1, np.float32)
        out[self._covered] = best
        return out

    def narrowed(self, leaves: np.ndarray) -> tuple[np.ndarray, Cover]:
        """(the distinct units that cover some of `leaves`, ascending ones; the cover of these leaves by places in that array)."""
        if self.identity:
            return leaves, Cover(np.arange(len(leaves), dtype=np.int32), np.arange(len(leaves) + 1))
        if self._single:
            units, starts = self._wide[leaves], np.arange(len(leaves) + 1)
        else:
            counts = self.starts[leaves + 1] - self.starts[leaves]
            starts = np.concatenate([[0], np.cumsum(counts)])
            units = self.units[numbers_in(self.starts[leaves], self.starts[leaves + 1])]
        distinct, places = np.unique(units, return_inverse=True)
        return distinct, Cover(places.astype(np.int32), starts)


class Level:
    """All units of one level in a scope, numbered from 0 over its parts."""

    def __init__(self, parts: list[Part], n_leaves: int) -> None:
        self.parts, self.n_leaves = parts, n_leaves
        self.offsets = np.cumsum([0, *map(len, parts)])
        # one question asks several times; a pair, so that threads see both or none
        self._last_spread: tuple[np.ndarray | None, tuple[float, float]] = (None, (0.0, 0.0))

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @cached_property
    def cover(self) -> Cover:
        leaf = numbers_in(self.low, self.high)
        unit = np.repeat(np.arange(len(self), dtype=np.int32), self.high - self.low)
        order = np.argsort(leaf, kind="stable")
        return Cover(unit[order], np.searchsorted(leaf[order], np.arange(self.n_leaves + 1)))

    @cached_property
    def low(self) -> np.ndarray:
        return np.concatenate([p.low for p in self.parts])

    @cached_property
    def high(self) -> np.ndarray:
        return np.concatenate([p.high for p in self.parts])

    @cached_property
    def days(self) -> np.ndarray:
        """Day of each unit's event time; `NO_DAY` where only its arrival is known."""
        return np.concatenate([p.shard.days[p.start : p.end] for p in self.parts])

    @cached_property
    def dated(self) -> bool:
        return bool((self.days != NO_DAY).any())

    def products(self, vector: np.ndarray) -> np.ndarray:
        """Cosines of all units."""
        found = [p.shard.vectors[p.start : p.end] @ vector for p in self.parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def products_of(self, units: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Cosines of some units, given in ascending order."""
        bounds = np.searchsorted(units, self.offsets)
        found = [
            p.shard.vectors[p.start + units[a:b] - first] @ vector
            for p, a, b, first in zip(self.parts, bounds[:-1], bounds[1:], self.offsets[:-1], strict=True)
            if b > a
        ]
        return np.concatenate(found) if found else np.empty(0, np.float32)

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and second moment of an even sample of the vectors: from them follow mean and spread of any question's cosines."""
        step = max(1, len(self) // 8_192)
        sample = np.concatenate([p.shard.vectors[p.start : p.end : step] for p in self.parts])
        return sample.mean(axis=0), sample.T @ sample / len(sample)

    def spread(self, vector: np.ndarray) -> tuple[float, float]:
        """(mean, standard deviation) of the cosines of a question, without looking at the units."""
        asked, known = self._last_spread
        if asked is not vector:
            mean, second = self._moments
            centre = float(mean @ vector)
            known = centre, float(np.sqrt(max(float(vector @ second @ vector) - centre * centre, 0.0)))
            self._last_spread = vector, known
        return known


class Scope:
    """Parts by level over the leaves of some namespaces."""

    def __init__(self, shards: list[RecallShard], namespaces: set[str] | None) -> None:
        self.namespaces = namespaces
        self.n_leaves = 0
        parts: dict[str, list[Part]] = {level: [] for level in LEVELS}
        for shard in shards:
            shifts = []
            for leaf in LEAVES:
                for a, b in shard.slices(leaf, namespaces):
                    shifts.append((a, b, self.n_leaves - a))
                    self.n_leaves += b - a
            for level, granularities in LEVELS.items():
                for granularity in granularities:
                    for a, b in shard.slices(granularity, namespaces):
                        parts[level].append(_place(shard, granularity, a, b, shifts))
        self.levels = {name: Level(found, self.n_leaves) for name, found in parts.items() if found}
        self.rows = sum(len(level) for level in self.levels.values())
        self._news: dict[tuple[str, tuple[str, ...]], float | np.ndarray] = {}
        self._collections: dict[tuple[str, ...], lexical.Collections] = {}
        # one question asks several times; a pair, so that threads see both or none
        self._last_shares: tuple[str | None, dict[str, np.ndarray]] = (None, {})

    def granularities(self) -> set[str]:
        return {p.granularity for level in self.levels.values() for p in level.parts}

    def shares(self, text: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        """By level the share of a question's words, by BM25, that each unit has; the units of a level are one collection."""
        asked, known = self._last_shares
        if asked != text:
            known = {}
        missing = tuple(name for name in names if name not in known)
        if missing:
            known = known | dict(zip(missing, self._collections_of(missing).shares(text), strict=True))
            self._last_shares = text, known
        return {name: known[name] for name in names}

    def _collections_of(self, names: tuple[str, ...]) -> lexical.Collections:
        if names not in self._collections:
            parts = [[(p.shard.lexical, p.start, p.end) for p in self.levels[name].parts] for name in names]
            self._collections[names] = lexical.Collections(parts)
        return self._collections[names]

    def news(self, name: str, finer: tuple[str, ...]) -> float | np.ndarray:
        """Share of the units of their granularity that are no unit of a finer level once more, as the document of one passage is
        that passage: one number, or f32 for each unit where granularities differ."""
        if not finer:
            return 1.0
        if (name, finer) not in self._news:
            level = self.levels[name]
            again = np.isin(self._extents(name), np.concatenate([self._extents(f) for f in finer])) & (
                level.high > level.low
            )
            parts: dict[str, list[np.ndarray]] = {}
            for part, offset in zip(level.parts, level.offsets, strict=False):
                parts.setdefault(part.granularity, []).append(again[offset : offset + len(part)])
            shares = {granularity: 1.0 - float(np.concatenate(found).mean()) for granularity, found in parts.items()}
            each = np.array([shares[p.granularity] for p in level.parts], np.float32)
            same = len(set(shares.values())) == 1
            self._news[name, finer] = float(each[0]) if same else np.repeat(each, list(map(len, level.parts)))
        return self._news[name, finer]

    def _extents(self, name: str) -> np.ndarray:
        """The leaves of each unit as one number."""
        level = self.levels[name]
        return level.low.astype(np.int64) * (self.n_leaves + 1) + level.high

    @cached_property
    def last_day(self) -> int:
        """Day of the last thing remembered."""
        days = [int(level.days.max()) for level in self.levels.values() if level.dated]
        return max(days, default=NO_DAY)

    @cached_property
    def speakers(self) -> Speakers:
        """Those who speak in the leaves."""
        names: dict[str, int] = {}
        codes = []
        for part in self.levels["leaf"].parts if "leaf" in self.levels else []:
            here = np.array([names.setdefault(n, len(names)) for n in part.shard.speakers] + [-1], np.int32)
            codes.append(here[part.shard.speaker[part.start : part.end]])
        return Speakers(list(names), np.concatenate(codes) if codes else np.empty(0, np.int32))


def _place(shard: RecallShard, granularity: str, a: int, b: int, shifts: list[tuple[int, int, int]]) -> Part:
    """A row range over the scope's leaves. Derived units of conversations and of documents may lie mixed in one range."""
    first, last = shard.low[a:b], shard.high[a:b]
    low, high = np.zeros(b - a, np.int32), np.zeros(b - a, np.int32)
    for start, end, shift in shifts:
        inside = (first >= start) & (first < end) & (last > first)
        low[inside], high[inside] = first[inside] + shift, last[inside] + shift
    return Part(shard, granularity, a, b, low, high)
