"""How far `confidence` can be trusted: does it tell questions that memory can answer from those that it cannot?

AUROC (Hanley and McNeil 1982): the probability that an answerable question has the higher confidence, ties counting half; 0.5 is
chance. Expected calibration error (Naeini et al. 2015): over ten bins of equal width the mean distance between the confidence
of a bin and the share of its questions that can be answered, weighted by their number. The bins are the points of a
reliability plot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.metrics import bootstrap_interval

BINS = 10


@dataclass(frozen=True)
class Bin:
    """One point of the reliability plot:

    Questions with confidence in [start, end), their mean confidence, the share answerable.
    """

    start: float
    end: float
    n: int
    confidence: float
    answerable: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """What is known of `confidence` on `answerable` + `unanswerable` questions."""

    auroc: float
    calibration_error: float
    answerable: int
    unanswerable: int
    bins: list[Bin]


def reliability(confidence: np.ndarray, answerable: np.ndarray, *, seed: int = 0) -> Reliability:
    """Of confidences f64 [n] and bool [n]; both kinds of questions must be there."""
    confidence, answerable = np.asarray(confidence, np.float64), np.asarray(answerable, bool)
    place = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    bins = [
        _bin(b, confidence[place == b], answerable[place == b].astype(float), seed)
        for b in range(BINS)
        if (place == b).any()
    ]
    error = sum(b.n * abs(b.confidence - b.answerable) for b in bins) / len(confidence)
    area = auroc(confidence[answerable], confidence[~answerable])
    return Reliability(area, error, int(answerable.sum()), int((~answerable).sum()), bins)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """P(positive > negative) + P(equal) / 2."""
    ordered = np.sort(negative)
    below, up_to = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))


def _bin(number: int, confidence: np.ndarray, answerable: np.ndarray, seed: int) -> Bin:
    low, high = bootstrap_interval(answerable[:, None], seed=seed)
    mean = float(answerable.mean())
    return Bin(
        number / BINS,
        (number + 1) / BINS,
        len(confidence),
        float(confidence.mean()),
        mean,
        float(low[0]),
        float(high[0]),
    )
