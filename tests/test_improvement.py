"""Test expected hypervolume improvement at exact cost against its definition: the mean gain of drawn values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.algorithms.frontier.expected_improvement import AttainmentFront, expected_improvement, normal_distribution
from nas.record.pareto import hypervolume

REFERENCE = {1: np.array([1.0]), 2: np.array([1.0, 1.0]), 3: np.array([1.0, 1.0, 1.0])}


def test_the_normal_distribution_is_that_of_the_standard_library() -> None:
    x = np.linspace(-30, 30, 4001)
    exact = [0.5 * math.erfc(-value / math.sqrt(2)) for value in x]
    np.testing.assert_allclose(normal_distribution(x), exact, rtol=1e-8, atol=0)


@pytest.mark.parametrize(("mean", "sd", "level"), [(0.3, 0.2, 0.1), (0.1, 0.2, 0.9), (0.5, 0.0, 0.2), (0.1, 0.0, 0.2)])
def test_the_expected_excess_is_the_mean_of_draws(mean: float, sd: float, level: float) -> None:
    draws = mean + sd * np.random.default_rng(0).standard_normal(400_000)
    one = expected_improvement(np.array([mean]), np.array([sd]), np.array([level]))[0]
    assert one == pytest.approx(np.maximum(draws - level, 0).mean(), abs=1e-3)


@given(st.integers(1, 3), st.integers(0, 8), st.integers(0, 10**6))
def test_a_certain_candidate_gains_what_the_hypervolume_does(costs: int, points: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known, values = rng.uniform(0, 1.2, (points, costs)), rng.uniform(-0.2, 1, points)
    candidate, value = rng.uniform(0, 1.1, (1, costs)), rng.uniform(-0.2, 1.2, 1)
    attained = AttainmentFront.of(known, values, REFERENCE[costs], worst=0.0)
    gain = attained.improvement(candidate, value, np.zeros(1))[0]
    corner = np.append(REFERENCE[costs], 0.0)
    before = np.column_stack([known, -values])
    after = np.vstack([before, [*candidate[0], -value[0]]])
    assert gain == pytest.approx(hypervolume(after, corner) - hypervolume(before, corner), abs=1e-9)


def test_an_uncertain_candidate_gains_the_mean_over_what_it_may_be() -> None:
    rng = np.random.default_rng(1)
    known, values = rng.uniform(0, 1, (6, 2)), rng.uniform(0, 1, 6)
    attained = AttainmentFront.of(known, values, REFERENCE[2], worst=0.0)
    at = np.array([[0.3, 0.4]])
    draws = 0.5 + 0.3 * rng.standard_normal(100_000)
    certain = attained.improvement(np.repeat(at, len(draws), axis=0), draws, np.zeros(len(draws)))
    uncertain = attained.improvement(at, np.array([0.5]), np.array([0.3]))[0]
    assert uncertain == pytest.approx(certain.mean(), abs=2e-3)
    assert uncertain > attained.improvement(at, np.array([0.5]), np.zeros(1))[0]
