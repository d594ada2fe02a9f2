"""Ablation: what each channel of recall is worth, and whether the fusion is ever worse than one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipelines.recall import RecallParams

FUSION = "recall"
ALONE, WITHOUT = "only ", "without "


def ablations(params: RecallParams) -> dict[str, RecallParams]:
    """Every channel alone, and the fusion without each: by name, the fusion itself not among them."""
    dense, lexical = params.dense, params.lexical
    found = {}
    for level in dense:
        found[f"{ALONE}dense:{level}"] = replace(params, dense={level: 1.0}, lexical={})
        found[f"{WITHOUT}dense:{level}"] = replace(params, dense=_but(dense, level))
    for level in lexical:
        found[f"{ALONE}lexical:{level}"] = replace(params, dense={}, lexical={level: 1.0})
        found[f"{WITHOUT}lexical:{level}"] = replace(params, lexical=_but(lexical, level))
    return found


def _but(weights: dict[str, float], level: str) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if name != level}


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
