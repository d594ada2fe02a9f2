"""Many ranges of whole numbers at once."""

from __future__ import annotations

import numpy as np


def numbers_in(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """All numbers of the ranges [low_i, high_i), one range after another, int64; low_i <= high_i."""
    lengths = high - low
    starts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(starts - low, lengths)
