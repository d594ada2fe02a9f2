"""Which levels of granularity a question trusts: normalised inverse entropy (MemGAS, arXiv 2505.19549), and which channels speak.

A level whose cosines single out a few units says more about a question than one where all units look alike. The weight of a level
is 1 - H / ln N, H the entropy of the softmax of its N best cosines, normalised over the levels: the paper's meaning; the released
code has the sign turned round. Nothing here is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

KEPT = 200
LEAST = 1e-6


def entropy_weights(cosines: Sequence[np.ndarray], temperature: float, kept: int | None = KEPT) -> np.ndarray:
    """A weight for each level, together 1, from the cosines of its units: of the `kept` best of them, None for all."""
    best = [c if kept is None or len(c) <= kept else np.partition(c, len(c) - kept)[-kept:] for c in cosines]
    weights = np.array([max(LEAST, 1.0 - entropy(c, temperature) / np.log(max(2, len(c)))) for c in best])
    return weights / weights.sum()


def entropy(cosines: np.ndarray, temperature: float) -> float:
    """Entropy in nats of softmax(cosines / temperature); that of equal cosines is ln n."""
    scaled = (cosines.astype(np.float64) - float(cosines.max())) / temperature
    p = np.exp(scaled)
    p /= p.sum()
    return float(-(p * np.log(p + 1e-12)).sum())


def routed(
    weights: Mapping[str, float | np.ndarray], cosines: Mapping[str, np.ndarray], temperature: float
) -> dict[str, float | np.ndarray]:
    """`weights` of the levels, or of each of their units, times the entropy weights; equal entropies leave them as they are."""
    names = [name for name in weights if name in cosines and len(cosines[name])]
    if len(names) < 2:
        return dict(weights)
    factors = len(names) * entropy_weights([cosines[name] for name in names], temperature)
    return dict(weights) | {n: weights[n] * float(f) for n, f in zip(names, factors, strict=True)}
