"""Kendall's τ-b, partial τ and regret against slower implementations, closed forms and invariances."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.rank_correlation import Pairs, kendall, partial, redrawn, regret

RANKINGS = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n) for _ in range(2)])
)
ONCE = np.ones((1, 5), int)


def by_counting(x: list[int], y: list[int]) -> float:
    """Compute τ-b pair by pair."""
    agree = told_x = told_y = 0
    for i, j in combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        agree, told_x, told_y = agree + a * b, told_x + a * a, told_y + b * b
    return agree / math.sqrt(told_x * told_y) if told_x * told_y else math.nan


@given(RANKINGS)
def test_tau_is_what_counting_pairs_gives(rankings: tuple[list[int], list[int]]) -> None:
    x, y = rankings
    assert kendall(np.array(x), np.array(y)) == pytest.approx(by_counting(x, y), nan_ok=True)


@given(RANKINGS)
def test_tau_knows_only_order(rankings: tuple[list[int], list[int]]) -> None:
    x, y = map(np.array, rankings)
    tau = kendall(x, y)
    assert kendall(y, x) == pytest.approx(tau, nan_ok=True)
    assert kendall(np.exp(x), y) == pytest.approx(tau, nan_ok=True)
    assert kendall(-x, y) == pytest.approx(-tau, nan_ok=True)


def test_tau_of_known_rankings() -> None:
    rising = np.arange(2000.0)
    assert kendall(rising, rising) == 1
    assert kendall(rising, -rising) == -1
    assert math.isnan(kendall(rising, np.ones(2000)))
    assert math.isnan(kendall(np.ones(1), np.ones(1)))
    # Kendall 1945: 1 pair of 3 is tied in one ranking, the others agree.
    assert kendall(np.array([1, 1, 2]), np.array([1, 2, 3])) == pytest.approx(2 / math.sqrt(2 * 3))


@given(RANKINGS, st.integers(0, 100))
def test_a_draw_is_the_networks_it_holds(rankings: tuple[list[int], list[int]], seed: int) -> None:
    x, y = map(np.array, rankings)
    copies = redrawn(len(x), 3, np.random.default_rng(seed))
    assert (copies.sum(axis=1) == len(x)).all()
    for tau, some in zip(Pairs(x, y).tau(copies), copies, strict=True):
        drawn = np.repeat(np.arange(len(x)), some)
        assert tau == pytest.approx(by_counting(x[drawn].tolist(), y[drawn].tolist()), nan_ok=True)


def test_nothing_is_left_where_a_third_explains_all_of_it() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=1500)
    x, y = (z + rng.normal(0, 0.5, 1500) for _ in range(2))
    more = x + 0.5 * (y - z)  # has information about y that z lacks
    told = [kendall(a, b) for a, b in ((x, y), (x, z), (y, z), (more, y), (more, z))]
    assert told[0] > 0.5
    assert partial(told[0], told[1], told[2]) == pytest.approx(0, abs=0.05)
    # Kendall's partial τ would be far from 0.
    assert (told[0] - told[1] * told[2]) / math.sqrt((1 - told[1] ** 2) * (1 - told[2] ** 2)) > 0.12
    assert partial(told[3], told[4], told[2]) > 0.2
    assert math.isnan(partial(told[2], 1.0, told[2]))


def test_the_best_chosen_against_the_best() -> None:
    truth = np.array([0.5, 0.1, 0.9, 0.6, 0.2])
    predicted = np.array([5.0, 4.0, 1.0, 3.0, 2.0])
    found = [regret(predicted, truth, k, ONCE, np.random.default_rng(0))[0] for k in range(1, 6)]
    assert found == pytest.approx([0.4, 0.4, 0.3, 0.3, 0.0])
    assert regret(truth, truth, 1, ONCE, np.random.default_rng(0)) == 0
    without = np.array([[0, 2, 0, 1, 1], [0, 0, 0, 0, 0]])  # only the networks in the draw count, each once
    found = regret(predicted, truth, 2, without, np.random.default_rng(0))
    assert found == pytest.approx([0.0, math.nan], nan_ok=True)


def test_equal_predictions_are_chosen_at_random() -> None:
    truth, predicted = np.array([0.1, 0.5, 0.9, 0.0]), np.array([1.0, 1.0, 1.0, 0.0])
    orders = [0.9 - max(order[:2]) for order in permutations(truth[:3])]
    rng = np.random.default_rng(1)
    found = [regret(predicted, truth, 2, np.ones((16, 4), int), rng).mean() for _ in range(60)]
    assert np.mean(found) == pytest.approx(np.mean(orders), abs=0.02)
