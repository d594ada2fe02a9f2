"""Ablation: what each channel of recall is worth, and whether the fusion is ever worse than one of them alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.evaluation.score import Scores, compare
from pipelines.recall import RecallParams

ALL = "all"
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
    """The fusion against the best single channel, for one metric in one category (or all) of `n` questions.

    `low` and `high` are the 95 % interval of fusion - best, from resampling questions. It says what a handful of questions can
    tell: the best of a dozen channels is chosen by the same questions.
    """

    category: str
    n: int
    metric: str
    fusion: float
    channel: str
    best: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the fusion is at least as good; equal means differ by how their parts were summed up."""
        return self.fusion > self.best - 1e-9


def verdicts(fusion: Sequence[Scores], alone: Mapping[str, Sequence[Scores]], metrics: Sequence[str]) -> list[Verdict]:
    """One verdict per category and metric, `all` first: the fusion's scores against those of each channel alone, by name."""
    return [verdict for scores in fusion for verdict in _verdicts(scores, alone, metrics)]


def _verdicts(fusion: Scores, alone: Mapping[str, Sequence[Scores]], metrics: Sequence[str]) -> Iterator[Verdict]:
    for category in (None, *sorted(fusion.by_category)):
        mine = _means(fusion, category)
        for metric in (m for m in metrics if m in mine):
            rivals = {name: s for name, scores in alone.items() for s in scores if metric in _means(s, category)}
            if not rivals:
                continue
            best = max(rivals, key=lambda name: _means(rivals[name], category)[metric])
            row = compare(rivals[best], fusion, category=category, only=metric).to_pylist()[0]
            channel = best.removeprefix(ALONE)
            yield Verdict(category or ALL, row["n"], metric, row["b"], channel, row["a"], row["low"], row["high"])


def _means(scores: Scores, category: str | None) -> Mapping[str, float]:
    return scores.metrics if category is None else scores.by_category.get(category, {})
