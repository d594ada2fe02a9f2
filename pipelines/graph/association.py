"""Similarities of one unit to its nearest earlier ones -> which of them it is associated with. One row a unit, many rows at once.

MemGAS (arXiv 2505.19549): a mixture of two normal distributions over the similarities; what belongs to the one with the higher mean
is accepted. Here all rows go through the EM together. They start from two means that are found from the quartiles, not from a
random start, so that a row's result depends on that row alone; they stop where scikit-learn's GaussianMixture stops, when the mean
log-likelihood gains less than `GAIN`, which decides the few similarities between the components. The log odds of the higher one
are a quadratic of the similarity, and an iteration is its evaluation and three sums. The quadratic may turn back at very low
similarities, where the wider component wins whichever it is: what is accepted is everything from the lowest accepted similarity
above the lower mean on. Where the two cannot be told apart (few or nearly equal similarities, overlapping or nearly empty
components, nearly nothing or nearly everything accepted), the best 1 - `quantile` of the row are accepted. `engraph bench graph`
measures it beside scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-6  # added to each variance
ITERATIONS, GAIN, MEANS = 100, 1e-3, 30
BLOCK = 4096  # rows at a time: their arrays stay in a core's cache


@dataclass(frozen=True)
class AssociationParams:
    """When a mixture is trusted, and what is accepted where it is not."""

    least: int = 4
    least_deviation: float = 1e-3
    separation: float = 2.0
    least_share: float = 0.02
    most_accepted: float = 0.6
    quantile: float = 0.9


@dataclass(frozen=True)
class Mixtures:
    """Two components a row, the lower mean first: each [rows, 2]."""

    means: np.ndarray
    variances: np.ndarray
    shares: np.ndarray

    def separable(self, params: AssociationParams) -> np.ndarray:
        """Rows whose means lie apart by more than `separation` x the sum of the deviations, neither component nearly empty."""
        apart = self.means[:, 1] - self.means[:, 0] > params.separation * np.sqrt(self.variances).sum(axis=1)
        return apart & (self.shares >= params.least_share).all(axis=1)


def fit(scores: np.ndarray, known: np.ndarray) -> Mixtures:
    """Mixtures of the `known` [rows, m] entries of `scores`; a row without any has means 0."""
    rows = len(scores)
    found = Mixtures(*(np.empty((rows, 2)) for _ in range(3)))
    for start in range(0, rows, BLOCK):
        part = slice(start, min(start + BLOCK, rows))
        means, variances, shares = _fit_block(np.asarray(scores[part], np.float64), known[part])
        found.means[part], found.variances[part], found.shares[part] = means, variances, shares
    return found


def _fit_block(x: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(means, variances, shares) of one block; rows leave the iteration as soon as they stop."""
    x = np.where(known, x, 0.0)
    means, variances, shares = _maximised(x, known, _parted(x, known))
    reached = np.full(len(x), -np.inf)
    active = np.arange(len(x))
    for _ in range(ITERATIONS):
        rows, mask = x[active], known[active]
        terms = _terms(means[active], variances[active], shares[active])
        odds, lower = _quadratic(terms[:, 1] - terms[:, 0], rows), _quadratic(terms[:, 0], rows)
        likely = lower + np.maximum(odds, 0) + np.log1p(np.exp(-np.abs(odds)))
        likely = np.where(mask, likely, 0.0).sum(axis=1) / mask.sum(axis=1).clip(min=1)
        means[active], variances[active], shares[active] = _maximised(rows, mask, _sigmoid(odds))
        gained = np.abs(likely - reached[active]) >= GAIN
        reached[active] = likely
        active = active[gained]
        if not len(active):
            break
    order = np.argsort(means, axis=1, kind="stable")
    lowest_first = [np.take_along_axis(a, order, axis=1) for a in (means, variances, shares)]
    return lowest_first[0], lowest_first[1], lowest_first[2]


def _maximised(x: np.ndarray, known: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(means, variances, shares), given how much of each entry the second component has."""
    counts = known.sum(axis=1).astype(np.float64)
    high = np.where(known, high, 0.0)
    weight, first = high.sum(axis=1), np.einsum("ij,ij->i", high, x)
    second = np.einsum("ij,ij,ij->i", high, x, x)
    weights = np.column_stack([counts - weight, weight]).clip(min=1e-12)
    means = np.column_stack([x.sum(axis=1) - first, first]) / weights
    squares = np.column_stack([np.einsum("ij,ij->i", x, x) - second, second]) / weights
    return means, (squares - means**2).clip(min=0.0) + FLOOR, weights / counts.clip(min=1.0)[:, None]


def _parted(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which entries are nearer to the higher of two means (k-means)."""
    means = _quartiles(x, known)
    high = np.zeros(x.shape, bool)
    for _ in range(MEANS):
        nearer = known & (np.abs(x - means[:, 1:]) < np.abs(x - means[:, :1]))
        if np.array_equal(nearer, high):
            break
        high = nearer
        means = _maximised(x, known, high.astype(np.float64))[0]
    return high.astype(np.float64)


def _quartiles(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The first and third quartile of each row's known entries, interpolated."""
    ordered = np.sort(np.where(known, x, np.inf), axis=1)
    last = (known.sum(axis=1) - 1).clip(min=0)
    out = []
    for share in (0.25, 0.75):
        place = last * share
        below = np.floor(place).astype(int)
        ends = [np.take_along_axis(ordered, at[:, None], axis=1)[:, 0] for at in (below, np.minimum(below + 1, last))]
        a, b = (np.where(np.isfinite(end), end, 0.0) for end in ends)
        out.append(a + (b - a) * (place - below))
    return np.column_stack(out)


def _terms(means: np.ndarray, variances: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Log densities as quadratics: [rows, 2 components, (a, b, c)] of a x^2 + b x + c."""
    inverse = 0.5 / variances
    constant = np.log(shares.clip(min=1e-300)) - 0.5 * np.log(2 * np.pi * variances) - inverse * means**2
    return np.stack([-inverse, 2 * inverse * means, constant], axis=2)


def _quadratic(terms: np.ndarray, x: np.ndarray) -> np.ndarray:
    a, b, c = (terms[:, i, None] for i in range(3))
    return (a * x + b) * x + c


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(np.clip(-odds, -500, 500)))


def accepted(scores: np.ndarray, known: np.ndarray, mixtures: Mixtures) -> np.ndarray:
    """[rows, m]: entries at or above the lowest one that the higher component claims above the lower mean."""
    terms = _terms(mixtures.means, mixtures.variances, mixtures.shares)
    high = _quadratic(terms[:, 1] - terms[:, 0], np.where(known, scores, 0.0)) > 0
    claimed = known & high & (scores >= mixtures.means[:, :1])
    least = np.where(claimed, scores, np.inf).min(axis=1, initial=np.inf)
    return known & (scores >= least[:, None])


def associate(
    scores: np.ndarray, known: np.ndarray | None = None, params: AssociationParams | None = None
) -> np.ndarray:
    """Which entries of `scores` [rows, m] are accepted, by the mixture or, where it is not to be trusted, by quantile."""
    params = params or AssociationParams()
    known = np.ones(scores.shape, bool) if known is None else known
    out = np.zeros(scores.shape, bool)
    for start in range(0, len(scores) if scores.size else 0, BLOCK):
        part = slice(start, start + BLOCK)
        out[part] = _associate_block(
            np.where(known[part], np.asarray(scores[part], np.float64), 0.0), known[part], params
        )
    return out


def _associate_block(scores: np.ndarray, known: np.ndarray, params: AssociationParams) -> np.ndarray:
    counts = known.sum(axis=1)
    mixtures = fit(scores, known)
    chosen = accepted(scores, known, mixtures)
    mean = scores.sum(axis=1) / counts.clip(min=1)
    deviation = np.sqrt((np.where(known, scores - mean[:, None], 0.0) ** 2).sum(axis=1) / counts.clip(min=1))
    share = chosen.sum(axis=1) / counts.clip(min=1)
    trusted = (counts >= params.least) & (deviation >= params.least_deviation) & mixtures.separable(params)
    trusted &= (share >= params.least_share) & (share <= params.most_accepted)
    return np.where(trusted[:, None], chosen, _best(scores, known, params.quantile))


def _best(scores: np.ndarray, known: np.ndarray, quantile: float) -> np.ndarray:
    """The best 1 - `quantile` of each row, one at least; what equals the last of them too."""
    wanted = np.ceil(known.sum(axis=1) * (1 - quantile) - 1e-9).astype(int).clip(min=1)
    ordered = -np.sort(np.where(known, -scores, np.inf), axis=1)
    least = np.take_along_axis(ordered, wanted[:, None] - 1, axis=1)
    return known & (scores >= least)
