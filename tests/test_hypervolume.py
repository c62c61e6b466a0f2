"""The one definition of hypervolume: by hand, against the exact one of any objectives, and result by result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config.search_config import load
from nas.record import pareto
from nas.record.hypervolume import CostRange, GrowingFront, common_range, hypervolume, range_of_space
from search_space.base.errors import InputError
from search_space.space.movinet import movinet_space


def test_by_hand() -> None:
    within = CostRange(1e6, 1e8)
    macs, accuracy = np.array([1e7, 1e6, 1e9]), np.array([0.8, 0.4, 0.99])
    assert hypervolume(macs, accuracy, within) == pytest.approx(0.4 / 2 + 0.8 / 2)  # half the decades each
    assert hypervolume(np.array([1e3]), np.array([1.0]), within) == pytest.approx(1)  # cheaper: from the cheap end
    assert hypervolume(macs, np.stack([accuracy, accuracy / 2]), within) == pytest.approx([0.6, 0.3])
    assert hypervolume(macs, accuracy, CostRange(5, 5)) == 0
    for low, high in ((0, 1), (2, 1), (1, np.inf), (np.nan, 1)):
        with pytest.raises(InputError, match="cost range"):
            CostRange(low, high)


POINTS = st.lists(st.tuples(st.floats(1e5, 1e9), st.floats(0, 1)), min_size=1, max_size=12)


@settings(max_examples=60)
@given(POINTS, st.randoms(use_true_random=False))
def test_it_is_the_exact_one_of_the_pareto_module_in_any_order(points: list[tuple[float, float]], random) -> None:  # type: ignore[no-untyped-def]
    within = CostRange(1e6, 1e8)
    macs, accuracy = np.array(points).T
    logs = np.log10(np.maximum(macs, within.low))
    exact = pareto.hypervolume(np.stack([logs, -accuracy], axis=1), (8, 0)) / 2
    assert 0 <= exact <= 1
    for _ in range(2):
        macs, accuracy = np.array(points).T
        assert float(hypervolume(macs, accuracy, within)) == pytest.approx(exact, abs=1e-12)
        front = GrowingFront(within)
        volumes = [front.add(*point) for point in points]
        assert volumes == sorted(volumes) and volumes[-1] == pytest.approx(exact, abs=1e-12)
        assert front.points == sorted(front.points) and len(front.points) <= len(points)
        random.shuffle(points)


def test_the_common_range_is_where_all_sets_have_networks() -> None:
    sets = [np.array([3.0, 1.0, 8.0]), np.array([2.0, 20.0]), np.array([0.5, 9.0])]
    assert common_range(sets) == CostRange(2, 8)
    assert common_range(sets[:1]) == CostRange(1, 8)
    assert common_range([np.array([1.0, 2.0]), np.array([2.0, 3.0])]) is None
    assert common_range([np.array([1.0, 2.0]), np.array([4.0])]) is None


def test_the_range_of_a_space_ends_at_its_limit() -> None:
    config = load("tiny")
    space, (limit,) = movinet_space(config.space), config.limits
    found = range_of_space(space, config.limits)
    costs = space.count(space.sample(np.random.default_rng(0), 500))["macs"]
    assert found.low <= costs.min() and 0.9 * limit.at_most < found.high <= limit.at_most
