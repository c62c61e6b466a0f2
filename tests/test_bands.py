"""Test successive halving within FLOPs bins: the rule on small cases, replay, and survival of small networks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.loop.early_stopping import BinnedStopping, CostBins
from nas.record.objective import Objective
from search_space.base.errors import InputError

RUNGS = (50, 150)


def one_band(minimum: int = 3, reduction: float = 2, objective: Objective | None = None) -> BinnedStopping:
    bands = CostBins(1, 10, 1)
    return BinnedStopping(RUNGS, reduction, bands, objective or Objective("accuracy", "max"), minimum)


def test_edges_are_even_in_log_cost():
    assert CostBins(1e6, 1e9, 3).edges == pytest.approx((1e6, 1e7, 1e8, 1e9))
    assert CostBins(5, 5, 2).edges == (5, 5, 5)


@pytest.mark.parametrize(
    ("cost", "band"), [(0.5, 0), (1, 0), (9.99, 0), (10, 1), (99.9, 1), (100, 2), (999, 2), (1000, 2), (1e9, 2)]
)
def test_a_band_holds_its_lower_edge_and_the_outer_bands_the_rest(cost, band):
    bands = CostBins(1, 1000, 3)
    exact = CostBins(bands.low, bands.high, 3)
    object.__setattr__(exact, "edges", (1, 10, 100, 1000))  # without rounding errors of exp and log
    assert exact.of(cost) == band


@given(st.floats(1, 1e12), st.floats(1, 1e12), st.integers(1, 40), st.floats(1e-3, 1e15))
def test_every_cost_is_within_the_edges_of_its_band(a, b, count, cost):
    bands = CostBins(min(a, b), max(a, b), count)
    band = bands.of(cost)
    assert 0 <= band < count
    assert band == 0 or bands.edges[band] <= cost
    assert band == count - 1 or cost < bands.edges[band + 1]
    costs = np.array([cost, a, b, *bands.edges])
    assert bands.filled(costs).tolist() == [sum(bands.of(each) == i for each in costs) for i in range(count)]


def test_the_best_share_goes_on_once_enough_are_there():
    halving = one_band(minimum=3, reduction=2)
    decisions = [halving.decide(i, 5, 50, value) for i, value in enumerate([0.5, 0.4, 0.3, 0.6, 0.45, 0.55])]
    # The third has 2 better of 3; the fourth is best; the fifth has 2 better of 5; the sixth 1 of 6.
    assert decisions == ["continue", "continue", "stop", "continue", "continue", "continue"]
    assert halving.decide(6, 5, 50, 0.46) == "continue"  # 3 better of 7
    assert halving.decide(7, 5, 50, 0.45) == "stop"  # 4 better of 8
    assert halving.recorded(0, 50) == 8


def test_exactly_one_in_reduction_is_not_among_the_best():
    halving = one_band(minimum=1, reduction=4)
    values = [0.9, 0.1, 0.2, 0.3]
    assert [halving.decide(i, 5, 50, v) for i, v in enumerate(values)] == ["continue", "stop", "stop", "stop"]
    assert halving.decide(4, 5, 50, 0.8) == "continue"  # 1 better of 5 is below 1 in 4


def test_ties_go_on_and_a_minimised_metric_is_understood():
    halving = one_band(minimum=1, objective=Objective("loss", "min"))
    assert [halving.decide(i, 5, 50, 1.0) for i in range(4)] == ["continue"] * 4
    assert halving.decide(4, 5, 50, 2.0) == "stop"
    assert halving.decide(5, 5, 50, 0.5) == "continue"


def test_bands_and_rungs_are_never_compared():
    halving = BinnedStopping(RUNGS, 2, CostBins(1, 100, 2), minimum=1)
    for i in range(5):
        assert halving.decide(i, 50, 50, 0.9) == "continue"
    assert halving.decide(5, 2, 50, 0.1) == "continue"
    assert halving.decide(0, 50, 150, 0.1) == "continue"
    assert halving.decide(6, 50, 50, 0.1) == "stop"
    assert (halving.recorded(0, 50), halving.recorded(1, 50), halving.recorded(1, 150)) == (1, 6, 1)


def test_with_dominators_a_trial_goes_on_unless_so_many_no_dearer_ones_are_better():
    stopping = BinnedStopping(RUNGS, 2, CostBins(1, 10, 1), minimum=2, dominators=2)
    decide = lambda index, cost, value: stopping.decide(index, cost, 50, value)  # noqa: E731
    assert [decide(0, 5, 0.5), decide(1, 6, 0.4), decide(2, 7, 0.3)] == ["continue", "continue", "stop"]
    assert decide(3, 4, 0.2) == "continue"  # the cheapest, though the worst
    assert decide(4, 5, 0.45) == "continue"  # at equal cost one is better
    assert decide(5, 6, 0.45) == "continue"  # one is better, one equal
    assert decide(6, 6, 0.44) == "stop"
    assert decide(2, 7, 0.9) == "stop"  # repeated after a crash: the first value counts


@given(
    st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_dominators_are_counted_as_by_hand(points, dominators, share):
    stopping = BinnedStopping(RUNGS, 2, CostBins(1, 100, 3), minimum=1, dominators=dominators, dominating=share)
    for i, (cost, value) in enumerate(points):
        band = stopping.bands.of(cost)
        at_lower_cost = [v for c, v in points[: i + 1] if c <= cost and stopping.bands.of(c) == band]
        better = sum(v > value for v in at_lower_cost)
        stops = better >= dominators and better >= share * len(at_lower_cost)
        assert stopping.decide(i, cost, 50, value) == ("stop" if stops else "continue")


def test_of_many_alike_in_cost_a_share_goes_on():
    stopping = BinnedStopping(RUNGS, 2, CostBins(1, 10, 1), dominators=2, dominating=0.1)
    values = np.random.default_rng(0).random(2000).tolist()
    decided = [stopping.decide(i, 5, 50, value) for i, value in enumerate(values)]
    assert 0.08 < decided[1000:].count("continue") / 1000 < 0.12


def test_steps_that_are_no_rung_are_not_recorded():
    halving = one_band(minimum=1)
    assert halving.decide(0, 5, 70, 0.1) == "continue"
    assert halving.recorded(0, 70) == 0


def test_a_trial_repeated_after_a_crash_counts_once():
    halving = one_band()
    halving.decide(3, 5, 50, 0.7)
    halving.decide(3, 5, 50, 0.7)
    assert halving.recorded(0, 50) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([2.0, 20.0]), st.sampled_from(RUNGS), st.floats(0, 1)), max_size=30
    ),
    st.sampled_from([None, 1, 2]),
)
def test_replaying_the_rungs_restores_the_state(measured, dominators):
    rule = {"minimum": 2, "dominators": dominators}
    unbroken, resumed = (BinnedStopping(RUNGS, 2, CostBins(1, 100, 2), **rule) for _ in range(2))
    for index, cost, steps, value in measured:
        unbroken.decide(index, cost, steps, value)
    kept = {}
    for index, cost, steps, value in measured:  # the event log keeps the first of each trial, FLOPs bin and rung
        kept.setdefault((index, cost, steps), value)
    for (index, cost, steps), value in kept.items():
        resumed.decide(index, cost, steps, value)
    probes = [
        (100 + i, cost, steps, v) for i, v in enumerate((0.2, 0.5, 0.8)) for cost in (2.0, 20.0) for steps in RUNGS
    ]
    assert [unbroken.decide(*p) for p in probes] == [resumed.decide(*p) for p in probes]


def share_that_finishes(bands: int, seed: int) -> tuple[float, float]:
    """Return the fractions of small and of large networks that reach full budget; accuracy grows with log cost."""
    rng = np.random.default_rng(seed)
    halving = BinnedStopping(RUNGS, 2, CostBins(1e6, 1e9, bands), minimum=3)
    log_cost = rng.uniform(6, 9, 300)
    quality = 0.3 + 0.15 * (log_cost - 6) + rng.normal(0, 0.03, 300)
    finished = np.array(
        [
            all(
                halving.decide(i, 10 ** log_cost[i], steps, quality[i] + rng.normal(0, 0.01)) == "continue"
                for steps in RUNGS
            )
            for i in range(300)
        ]
    )
    small = log_cost < 7.5
    return float(finished[small].mean()), float(finished[~small].mean())


@pytest.mark.parametrize("seed", range(5))
def test_small_networks_finish_as_often_as_large_ones_only_with_bands(seed):
    small, large = share_that_finishes(bands=6, seed=seed)
    assert 1 / 1.5 < small / large < 1.5
    small, large = share_that_finishes(bands=1, seed=seed)
    assert small < large / 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: CostBins(0, 1, 3),
        lambda: CostBins(2, 1, 3),
        lambda: CostBins(1, math.inf, 3),
        lambda: CostBins(math.nan, 2, 3),
        lambda: CostBins(1, 2, 0),
        lambda: BinnedStopping((10, 10), 2, CostBins(1, 2, 1)),
        lambda: BinnedStopping((0,), 2, CostBins(1, 2, 1)),
        lambda: BinnedStopping((10,), 1, CostBins(1, 2, 1)),
        lambda: BinnedStopping((10,), math.nan, CostBins(1, 2, 1)),
        lambda: BinnedStopping((10,), 2, CostBins(1, 2, 1), minimum=0),
        lambda: one_band().decide(0, 5, 50, math.nan),
        lambda: Objective("accuracy", "up"),
        lambda: Objective("", "max"),
    ],
)
def test_bad_settings_are_refused_in_one_line(make):
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_objective_is_minimised_inside():
    accuracy, macs = Objective("accuracy", "max"), Objective("macs", "min")
    assert accuracy.minimised([0.2, 0.8]).tolist() == [-0.2, -0.8]
    assert macs.minimised([3, 4]).tolist() == [3, 4]
