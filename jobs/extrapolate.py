"""From a sample to the whole corpus: counts with their ranges.

Records and units grow with bytes (a ratio estimator; its error is two standard errors over sessions and documents, and 5 % for what
no sample shows). Distinct texts grow by Heaps' law, n^beta, beta give or take 0.1. A stratum that was read whole has no error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.calibrate_encoder import Rate
from jobs.sample_sources import Stratum
from jobs.sample_stages import Outcome, Texts
from pipelines.embedding import Tokens
from pipelines.graph.links import LINKED

SYSTEMATIC = 0.05  # files that change their manner where they were not read
BETA_ERROR = 0.1
SEGMENT_ERROR = 0.3  # segments a turn are measured on some 256 turns


@dataclass
class Span:
    """A number with its range."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def add(self, value: float, error: float = 0.0) -> None:
        """Add `value`, relative `error` either way."""
        self.value += value
        self.low += value * max(0.0, 1 - error)
        self.high += value * (1 + error)

    def pair(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass
class Totals:
    """The whole corpus, extrapolated. `tokens` and `texts` are apart for the two stages that embed; `pure` in seconds a stage."""

    records: Span = field(default_factory=Span)
    turns: float = 0.0
    units: Span = field(default_factory=Span)
    texts: dict[str, Span] = field(default_factory=lambda: {"embed": Span(), "embed_derived": Span()})
    tokens: dict[str, Span] = field(default_factory=lambda: {"embed": Span(), "embed_derived": Span()})
    pure: dict[str, float] = field(default_factory=dict)
    products: float = 0.0
    namespaces: float = 0.0


def extrapolate(totals: Totals, stratum: Stratum, outcome: Outcome, rate: Rate, tokens: Tokens) -> None:
    """Add one stratum: its sample's counts times what the sample stands for."""
    weight, one_each = stratum.weight, not outcome.turns.num_rows and outcome.documents == stratum.sampled
    partial = weight > 1.001
    chars = outcome.record_chars
    records = stratum.files if one_each or not stratum.read else (len(chars) + stratum.refused) * weight
    totals.records.add(records, _error([1] * len(chars), chars) if partial and not one_each else 0.0)
    error = _error([units for _, _, units in outcome.groups], [c for _, c, _ in outcome.groups]) if partial else 0.0
    segments = rate.segments_per_turn * outcome.turns.num_rows
    totals.units.add(outcome.units.total() * weight, error)
    totals.units.add(segments * weight, error + SEGMENT_ERROR)
    totals.turns += outcome.turns.num_rows * weight
    for stage, texts in (
        ("embed", outcome.structural),
        ("embed_derived", outcome.extracted),
        ("embed_derived", outcome.names),
    ):
        _grow(totals, stage, texts, weight, error, tokens)
    turn_tokens = int(tokens.count_tokens(outcome.turns["text"].to_pylist()).sum())
    totals.texts["embed_derived"].add(segments * weight, error + SEGMENT_ERROR)
    totals.tokens["embed_derived"].add((turn_tokens + segments * _special(tokens)) * weight, error + 0.1)
    for stage, seconds in (outcome.seconds | {"read": stratum.seconds}).items():
        totals.pure[stage] = totals.pure.get(stage, 0.0) + seconds * weight
    _add_namespaces(totals, outcome, weight, rate.dim)


def _grow(totals: Totals, stage: str, texts: Texts, weight: float, error: float, tokens: Tokens) -> None:
    """Distinct texts and their tokens, by Heaps' law from the sample to the whole."""
    if not texts.distinct:
        return
    mean = sum(n + _special(tokens) * -(-n // tokens.max_tokens) for n in texts.distinct.values()) / len(texts.distinct)
    low, high = (texts.grown(weight, step) * (1 + step / BETA_ERROR * error) for step in (-BETA_ERROR, BETA_ERROR))
    value = texts.grown(weight)
    for span, times in ((totals.texts[stage], 1.0), (totals.tokens[stage], mean)):
        span.value += value * times
        span.low += low * times
        span.high += high * times


def _special(tokens: Tokens) -> int:
    return len(tokens.prefix) + len(tokens.suffix)


def _error(counts: Sequence[float], sizes: Sequence[float]) -> float:
    """Two standard errors of the ratio of counts to sizes, relative, and `SYSTEMATIC`; 1 without anything to judge by."""
    total = sum(counts)
    if len(counts) < 2 or not total or not sum(sizes):
        return 1.0
    ratio = total / sum(sizes)
    spread = math.sqrt(sum((count - ratio * size) ** 2 for count, size in zip(counts, sizes, strict=True)))
    return min(1.0, math.hypot(2 * spread / total, SYSTEMATIC))


def _add_namespaces(totals: Totals, outcome: Outcome, weight: float, dim: int) -> None:
    """Similarity compares a namespace's units of one granularity with each other: a lone namespace grows, several multiply."""
    several = len(outcome.namespaces) > 1
    totals.namespaces += len(outcome.namespaces) * (weight if several else 1.0)
    structural = sum(outcome.namespaces.values())
    linked = [outcome.units[g] / max(structural, 1) for g in LINKED]
    pairs = sum((share * units) ** 2 / 2 for units in outcome.namespaces.values() for share in linked)
    totals.products += pairs * dim * (weight if several else weight**2)
