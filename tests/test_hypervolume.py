"""Test the only definition of hypervolume: by hand, against an exact one for any objectives, and result by result."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config.search_config import load
from nas.record import pareto
from nas.record.hypervolume import CostRange, GrowingFront, cells, common_ranges, hypervolume, ranges_of_space
from search_space.base.errors import InputError
from search_space.space.movinet import movinet_space


def test_by_hand() -> None:
    within = (CostRange(1e6, 1e8),)
    macs, accuracy = np.array([[1e7], [1e6], [1e9]]), np.array([0.8, 0.4, 0.99])
    assert hypervolume(macs, accuracy, within) == pytest.approx(0.4 / 2 + 0.8 / 2)  # half of the decades each
    assert hypervolume(np.array([[1e3]]), np.array([1.0]), within) == pytest.approx(1)  # clipped to the cheap end
    assert hypervolume(macs, np.stack([accuracy, accuracy / 2]), within) == pytest.approx([0.6, 0.3])
    assert hypervolume(macs, accuracy, (CostRange(5, 5),)) == 0
    for low, high in ((0, 1), (2, 1), (1, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match="cost range"):
            CostRange(low, high)


def test_two_costs_by_hand() -> None:
    within = (CostRange(1e6, 1e8), CostRange(1e2, 1e4))
    # Half of each range is cheaper than the first network; the second is cheaper in one cost, the third in the other.
    costs, accuracy = np.array([[1e7, 1e3], [1e6, 1e3], [1e7, 1.0]]), np.array([0.8, 0.4, 0.6])
    expected = 0.8 / 4 + 0.4 / 4 + 0.6 / 4
    assert hypervolume(costs, accuracy, within) == pytest.approx(expected)
    assert hypervolume(costs, np.stack([accuracy, accuracy / 2]), within) == pytest.approx([expected, expected / 2])
    among, shares = cells(costs, within)
    best = np.where(among, accuracy, 0).max(axis=1)
    assert best @ shares == pytest.approx(expected) and shares.sum() == pytest.approx(1)
    assert hypervolume(costs, accuracy, (within[0], CostRange(5, 5))) == 0


POINTS = st.lists(
    st.tuples(st.floats(1e5, 1e9), st.floats(1e5, 1e9), st.floats(1e5, 1e9), st.floats(0, 1)), min_size=1, max_size=12
)


@pytest.mark.parametrize("m", [1, 2, 3])
@given(POINTS, st.randoms(use_true_random=False))
def test_it_is_the_exact_one_in_any_order_at_once_result_by_result_and_by_cells(
    m: int, points: list[tuple[float, ...]], random: Random
) -> None:
    within = (CostRange(1e6, 1e8),) * m
    rows = np.array(points)[:, -m - 1 :]
    logs = np.log10(np.maximum(rows[:, :m], 1e6))
    exact = pareto.hypervolume(np.column_stack([logs, -rows[:, m]]), [*[8.0] * m, 0.0]) / 2**m
    assert 0 <= exact <= 1
    for _ in range(2):
        costs, accuracy = rows[:, :m], rows[:, m]
        assert float(hypervolume(costs, accuracy, within)) == pytest.approx(exact, abs=1e-12)
        among, shares = cells(costs, within)
        assert np.where(among, accuracy, 0).max(axis=1) @ shares == pytest.approx(exact, abs=1e-12)
        front = GrowingFront(within)
        volumes = [front.add(row[:m], row[m]) for row in rows]
        assert np.diff(volumes).min(initial=0) > -1e-12 and volumes[-1] == pytest.approx(exact, abs=1e-12)
        assert len(front.values) == pareto.non_dominated(np.unique(rows * [*[1] * m, -1], axis=0)).sum()
        rows = rows[random.sample(range(len(rows)), len(rows))]


def test_the_common_ranges_are_where_all_sets_have_networks() -> None:
    sets = [np.array([[3.0], [1.0], [8.0]]), np.array([[2.0], [20.0]]), np.array([[0.5], [9.0]])]
    assert common_ranges(sets) == (CostRange(2, 8),)
    assert common_ranges(sets[:1]) == (CostRange(1, 8),)
    assert common_ranges([np.array([[1.0], [2.0]]), np.array([[2.0], [3.0]])]) is None
    assert common_ranges([np.array([[1.0], [2.0]]), np.array([[4.0]])]) is None
    both = [np.array([[1.0, 5.0], [3.0, 6.0]]), np.array([[2.0, 1.0], [9.0, 5.5]])]
    assert common_ranges(both) == (CostRange(2, 3), CostRange(5, 5.5))
    assert common_ranges([both[0], both[1] - [[0, 1], [0, 1]]]) is None


def test_the_range_of_a_space_ends_at_its_limit() -> None:
    config = load("tiny")
    space, (limit,) = movinet_space(config.space), config.limits
    found, frame = ranges_of_space(space, config.limits, ("macs", "macs_per_frame"))
    costs = space.count(space.sample(np.random.default_rng(0), 500))
    assert found.low <= costs["macs"].min() and 0.9 * limit.at_most < found.high <= limit.at_most
    assert frame.low <= costs["macs_per_frame"].min() and frame.high < found.high
