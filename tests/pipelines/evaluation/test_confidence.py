"""Does confidence tell the answerable from the unanswerable, and how is that measured?"""

import numpy as np
import pytest

from pipelines.evaluation.confidence import auroc, reliability


def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half():
    assert auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1
    assert auroc(np.array([0.1]), np.array([0.9])) == 0
    assert auroc(np.array([0.5, 0.9]), np.array([0.5, 0.1])) == pytest.approx(3.5 / 4)


def test_calibration_error_is_the_weighted_distance_of_confidence_and_share():
    confidence = np.array([0.95, 0.95, 0.15, 0.15])
    perfect = reliability(np.array([1.0, 1.0, 0.0, 0.0]), np.array([True, True, False, False]))
    assert perfect.calibration_error == 0 and perfect.auroc == 1
    found = reliability(confidence, np.array([True, False, False, False]))
    assert found.calibration_error == pytest.approx(0.5 * abs(0.95 - 0.5) + 0.5 * 0.15)
    assert [(b.start, b.n, b.answerable) for b in found.bins] == [(0.1, 2, 0), (0.9, 2, 0.5)]
    assert found.answerable == 1 and found.unanswerable == 3


def test_every_question_is_in_one_bin_and_intervals_hold_the_share():
    rng = np.random.default_rng(1)
    found = reliability(rng.random(300), rng.random(300) < 0.7)
    assert sum(b.n for b in found.bins) == 300
    assert all(b.low <= b.answerable <= b.high and b.start <= b.confidence <= b.end for b in found.bins)
