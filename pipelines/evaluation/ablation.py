"""Ablation: what each channel of recall is worth, and whether the fusion is ever worse than one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.recall import RecallParams

FUSION = "recall"
ALONE, WITHOUT = "only ", "without "
SINGLE = ("graph", "speaker", "time")
"""Channels with one weight, where recall has them; the others have one for each level."""


def ablations(params: RecallParams) -> dict[str, RecallParams]:
    """Every channel alone, and the fusion without each: by name, the fusion itself not among them."""
    weights = _weights(params)
    found = {}
    for channel, weight in weights.items():
        found[f"{ALONE}{channel}"] = _with(params, {channel: weight})
        found[f"{WITHOUT}{channel}"] = _with(params, {c: w for c, w in weights.items() if c != channel})
    return found


def _weights(params: RecallParams) -> dict[str, float]:
    """Channel -> weight, under the names that `Hit.via` uses; channels that are silent anyway are left out."""
    found = {f"dense:{level}": weight for level, weight in params.dense.items()}
    found |= {f"lexical:{level}": weight for level, weight in params.lexical.items()}
    found |= {name: getattr(params, name, 0.0) for name in SINGLE}
    return {channel: weight for channel, weight in found.items() if weight}


def _with(params: RecallParams, weights: dict[str, float]) -> RecallParams:
    """`params` with these channels and no others."""
    single: dict[str, Any] = {name: weights.get(name, 0.0) for name in SINGLE if hasattr(params, name)}
    by_level = {
        kind: {c.partition(":")[2]: w for c, w in weights.items() if c.startswith(f"{kind}:")}
        for kind in ("dense", "lexical")
    }
    return replace(params, dense=by_level["dense"], lexical=by_level["lexical"], **single)


@dataclass(frozen=True)
class Verdict:
    """The fusion against the best single channel, for one metric in one category (or all)."""

    category: str
    metric: str
    fusion: float
    channel: str
    best: float

    @property
    def holds(self) -> bool:
        return self.fusion >= self.best


ByCategory = Mapping[str, Mapping[str, float]]


def verdicts(fusion: ByCategory, alone: Mapping[str, ByCategory], metrics: list[str]) -> list[Verdict]:
    """One verdict per category and metric: `fusion` category -> metric -> value, `alone` the same for each channel alone."""
    found = []
    for category, values in fusion.items():
        for metric in metrics:
            scores = {name: v[category][metric] for name, v in alone.items() if metric in v.get(category, {})}
            if metric in values and scores:
                best = max(scores, key=lambda name: scores[name])
                found.append(Verdict(category, metric, values[metric], best.removeprefix(ALONE), scores[best]))
    return found
