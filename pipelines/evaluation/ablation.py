"""Ablation: what each channel of recall is worth, and whether the fusion is ever worse than one of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipelines.recall import RecallParams

FUSION = "recall"
ALONE, WITHOUT = "only ", "without "


def ablations(params: RecallParams) -> dict[str, RecallParams]:
    """Every channel alone, and the fusion without each: by name, the fusion itself not among them."""
    channels = _channels(params)
    found = {}
    for channel in channels:
        found[f"{ALONE}{channel}"] = replace(params, only=(channel,))
        found[f"{WITHOUT}{channel}"] = replace(params, only=tuple(c for c in channels if c != channel))
    return found


def _channels(params: RecallParams) -> list[str]:
    """Channels under the names that `Hit.via` uses; those that are silent anyway are left out."""
    found = {f"dense:{level}": weight for level, weight in params.dense.items()}
    found |= {f"lexical:{level}": weight for level, weight in params.lexical.items()}
    found |= {"graph": params.graph, "speaker": params.speaker, "time": params.time}
    return [channel for channel, weight in found.items() if weight]


@dataclass(frozen=True)
class Verdict:
    """The fusion against the best single channel, for one metric in one category (or all) of `n` questions."""

    category: str
    n: int
    metric: str
    fusion: float
    channel: str
    best: float

    @property
    def holds(self) -> bool:
        """Whether the fusion is at least as good; equal means differ by how their parts were summed up."""
        return self.fusion > self.best - 1e-9


ByCategory = Mapping[str, Mapping[str, float]]


def verdicts(
    fusion: ByCategory, alone: Mapping[str, ByCategory], metrics: list[str], n: Mapping[str, int]
) -> list[Verdict]:
    """One verdict per category and metric: `fusion` category -> metric -> value, `alone` the same for each channel alone, `n`
    category -> number of questions."""
    found = []
    for category, values in fusion.items():
        for metric in metrics:
            scores = {name: v[category][metric] for name, v in alone.items() if metric in v.get(category, {})}
            if metric in values and scores:
                best = max(scores, key=lambda name: scores[name])
                found.append(
                    Verdict(category, n[category], metric, values[metric], best.removeprefix(ALONE), scores[best])
                )
    return found
