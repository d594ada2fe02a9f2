"""Routing weighs levels by how clearly they single something out: golden values of the formula, and what follows from it."""

import numpy as np
import pytest

from pipelines.recall.routing import entropy_weights, routed

SIMS = {
    "session": [0.9, 0.5, 0.4, 0.3],
    "turn": [0.6, 0.55, 0.5, 0.45],
    "summary": [0.8, 0.78, 0.2, 0.1],
    "keyword": [0.3] * 4,
}


def test_weights_are_the_normalised_inverse_entropy_of_the_paper():
    found = entropy_weights([np.array(s) for s in SIMS.values()], 0.2)
    assert found == pytest.approx([0.537412, 0.031169, 0.431417, 0.000001], abs=2e-6)


def test_levels_of_equal_entropy_keep_their_weights_and_others_shift_towards_the_clear_one():
    weights = {"leaf": 0.2, "topic": 0.4}
    alike = {name: np.array([0.5, 0.1, 0.0]) for name in weights}
    assert routed(weights, alike, 0.1) == pytest.approx(weights)
    clear = {"leaf": np.array([0.9, 0.1, 0.1]), "topic": np.array([0.4, 0.39, 0.38])}
    shifted = routed(weights, clear, 0.1)
    assert shifted["leaf"] > weights["leaf"] and shifted["topic"] < weights["topic"]
    assert shifted["leaf"] / 0.2 + shifted["topic"] / 0.4 == pytest.approx(2)


def test_a_level_alone_and_a_level_without_units_are_left_as_they_are():
    assert routed({"leaf": 0.3, "fact": 0.5}, {"leaf": np.array([0.3, 0.1])}, 0.1) == {"leaf": 0.3, "fact": 0.5}
