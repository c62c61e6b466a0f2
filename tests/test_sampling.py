"""Cost-capped and FLOPs-stratified draws: always feasible, bounded, spread over the whole reachable range."""

from __future__ import annotations

import functools
import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space.base.errors import InputError
from search_space.space.choices import Choice, Condition, SearchSpace
from search_space.space.movinet import (
    BLOCK_STRIDES,
    BlockConfig,
    SpaceConfig,
    base_config,
    movinet_space,
    scaled_widths,
)
from search_space.space.sampling import Limit, cost_range, feasible, sample_feasible, sample_stratified, sample_stratum

BLOCKS = tuple(
    BlockConfig(base, scaled_widths(base), stride, (1, 2, 3))
    for base, stride in zip((8, 16, 24, 24, 48), BLOCK_STRIDES, strict=True)
)
SMALL = movinet_space(SpaceConfig("small", 36, 32, (1, 2, 4), (16, 24), scaled_widths(8), BLOCKS, (128,), 256))
BASE = movinet_space(base_config())


@functools.cache
def range_of(space: SearchSpace[Any]) -> tuple[float, float]:
    """Return the range of multiply-adds of a space without limits."""
    return cost_range(space, np.random.default_rng(0), [])


def count_table(genotypes: np.ndarray) -> dict[str, np.ndarray]:
    """Return costs with the cheapest in the middle of the first choice, which no tilt reaches."""
    return {
        "cost": 10 + 7 * np.abs(genotypes[:, 0] - 2) + genotypes[:, 1] + 2 * genotypes[:, 2],
        "other": genotypes[:, 0] + 1,
    }


TABLE: SearchSpace[Any] = SearchSpace(
    "table",
    (
        Choice("a", ("p", "q", "r", "s", "t")),
        Choice("b", (1, 2, 3)),
        Choice("c", (0, 1), Condition("b", 2)),
    ),
    lambda values: tuple(values.items()),
    dict,
    count_table,
)

# A valley in each of twenty choices: uniform draws are never at its floor, and tilted ones move away from it.
VALLEY: SearchSpace[Any] = SearchSpace(
    "valley",
    tuple(Choice(f"c{i}", (0, 1, 2, 3, 4)) for i in range(20)),
    lambda values: tuple(values.items()),
    dict,
    lambda genotypes: {"cost": 1 + np.abs(genotypes - 2).sum(axis=1)},
)


def table_members() -> np.ndarray:
    return np.unique(TABLE.canonical_batch(np.array(list(itertools.product(range(5), range(3), range(2))))), axis=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quantile(space: Any, share: float, name: str = "macs") -> float:
    return float(np.quantile(space.count(space.sample(rng(99), 20_000))[name], share))


def test_feasible_means_within_every_limit() -> None:
    costs = {"macs": np.array([1, 2, 3]), "state_bytes": np.array([9, 5, 5])}
    assert feasible(costs, []).tolist() == [True, True, True]
    assert feasible(costs, [Limit("macs", 2)]).tolist() == [True, True, False]
    assert feasible(costs, [Limit("macs", 2), Limit("state_bytes", 5)]).tolist() == [False, True, False]
    with pytest.raises(InputError, match="limit.name: 'flops' must be one of macs, state_bytes"):
        feasible(costs, [Limit("flops", 2)])


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "1e6", None, True])
def test_a_limit_is_a_number_above_zero(bad: Any) -> None:
    with pytest.raises(InputError, match="limits.macs: .* must be a finite number above 0"):
        Limit("macs", bad)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_limit_has_a_name(name: Any) -> None:
    with pytest.raises(InputError, match="limit.name"):
        Limit(name, 1)


@pytest.mark.parametrize("space", [SMALL, BASE], ids=["small", "base"])
@pytest.mark.parametrize("share", [0.5, 0.01, 0.0001])
def test_capped_draws_are_many_feasible_and_bounded(space: Any, share: float) -> None:
    limits = [Limit("macs", quantile(space, share)), Limit("state_bytes", quantile(space, 0.9, "state_bytes"))]
    start = time.process_time()
    draws = sample_feasible(space, rng(), 200, limits)
    assert time.process_time() - start < 5
    assert draws.shape == (200, len(space.choices)) and feasible(space.count(draws), limits).all()
    assert np.array_equal(draws, space.canonical_batch(draws))
    assert len(np.unique(draws, axis=0)) > 190
    # The tilt is no stronger than needed: draws use the range up to the cap.
    assert np.median(space.count(draws)["macs"]) > (0.4 if share == 0.5 else 0.65) * limits[0].at_most


def test_without_limits_draws_are_the_uniform_ones() -> None:
    draws = sample_feasible(SMALL, rng(), 4000, [])
    shares = [np.bincount(draws[:, i], minlength=3) / 4000 for i in range(3)]
    assert np.abs(shares[0] - 1 / 3).max() < 0.04 and abs(shares[1][0] - 0.5) < 0.04


def test_only_the_cheapest_few_are_found_too() -> None:
    low, _ = range_of(SMALL)
    draws = sample_feasible(SMALL, rng(), 100, [Limit("macs", low * 1.02)])
    assert np.all(SMALL.count(draws)["macs"] <= low * 1.02) and len(np.unique(draws, axis=0)) > 20
    only = sample_feasible(SMALL, rng(), 5, [Limit("macs", low)])
    assert len(only) == 5 and np.all(SMALL.count(only)["macs"] == low)


def test_walks_fill_up_where_no_tilt_leads() -> None:
    limits = [Limit("cost", 5)]
    assert quantile(VALLEY, 0.0001, "cost") > 8
    draws = sample_feasible(VALLEY, rng(), 300, limits)
    assert len(draws) == 300 and feasible(VALLEY.count(draws), limits).all()
    assert len(np.unique(draws, axis=0)) > 200
    # Each choice is away from the floor in at least one draw.
    assert np.all(np.any(draws != 2, axis=0))


@pytest.mark.parametrize("find", [sample_feasible, sample_stratified])
def test_an_infeasible_cap_is_one_line_with_the_cheapest_cost(find: Any) -> None:
    low, _ = range_of(SMALL)
    with pytest.raises(InputError) as error:
        find(SMALL, rng(), 10, [Limit("total_parameters", 10**9), Limit("macs", low - 1)], 5)
    message = str(error.value)
    assert (
        message.startswith(f"limits.macs: {low - 1} is below the cheapest architecture") and f", {low:.0f};" in message
    )
    assert "\n" not in message


def test_caps_that_exclude_each_other_are_one_line() -> None:
    # Fewer frames cost less per clip and more per frame, because the classifier runs once.
    cheapest = min(SMALL.count(SMALL.sample(rng(), 3000, -60.0))["macs"])
    per_frame, _ = cost_range(SMALL, rng(), [], "macs_per_frame")
    few_channels = [Limit("macs", cheapest), Limit("macs_per_frame", per_frame)]
    assert feasible(SMALL.count(sample_feasible(SMALL, rng(), 3, few_channels)), few_channels).all()
    with pytest.raises(InputError, match="limits: 'cost 12, other 2' cannot be satisfied together .* nearest: cost "):
        sample_feasible(TABLE, rng(), 3, [Limit("cost", 12), Limit("other", 2)])


def test_an_unknown_cost_is_named_wherever_it_is_used() -> None:
    limits = [Limit("flops", 1)]
    for call in (
        lambda: sample_feasible(SMALL, rng(), 3, limits),
        lambda: cost_range(SMALL, rng(), limits),
        lambda: cost_range(SMALL, rng(), [], "flops"),
        lambda: sample_stratified(SMALL, rng(), 3, limits, 2),
    ):
        with pytest.raises(InputError, match="'flops' must be one of macs, "):
            call()


def test_range_of_a_table_is_that_of_all_its_members() -> None:
    members = table_members()
    costs = count_table(members)["cost"]
    assert len(members) == TABLE.size
    assert cost_range(TABLE, rng(), [], "cost") == (costs.min(), costs.max())
    capped = count_table(members)["other"] <= 2
    assert cost_range(TABLE, rng(), [Limit("other", 2)], "cost") == (costs[capped].min(), costs[capped].max())


@pytest.mark.parametrize("space", [SMALL, BASE], ids=["small", "base"])
def test_range_of_a_movinet_space_is_first_to_last_options(space: Any) -> None:
    ends = space.count(np.stack([np.zeros_like(space.options), space.options - 1]))["macs"]
    assert range_of(space) == (ends[0], ends[1])


def tiny_space() -> tuple[SearchSpace[Any], np.ndarray]:
    """Return a MoViNet space small enough to enumerate, and all its architectures."""
    kernels, ratios = ((1, 3, 3), (3, 3, 3)), (1.5, 3.0)
    blocks = (
        BlockConfig(16, (16, 24), 2, (1, 2), kernels, ratios),
        BlockConfig(24, (24, 32), 1, (1, 2), kernels, ratios, (True,)),
    )
    space = movinet_space(SpaceConfig("tiny", 10, 8, (1, 2), (16, 24), (8,), blocks, (64,), 64))
    every = np.array(list(itertools.product(*map(range, space.options))))
    return space, np.unique(space.canonical_batch(every), axis=0)


def test_range_under_caps_on_two_costs_is_that_of_an_enumeration() -> None:
    space, members = tiny_space()
    costs, generator = space.count(members), rng(3)
    assert len(members) == space.size
    for _ in range(10):
        some = generator.integers(len(members))
        names = generator.choice(list(costs), 3, replace=False)
        limits = [Limit(name, costs[name][some] * generator.uniform(1.0, 1.3)) for name in names[:2]]
        reachable = costs[names[2]][feasible(costs, limits)]
        low, high = cost_range(space, generator, limits, names[2])
        assert low == reachable.min() and 0.99 * reachable.max() <= high <= reachable.max()


@given(st.floats(0.0, 1.0), st.integers(0, 1000))
@settings(max_examples=6)
def test_range_under_a_cap_holds_every_feasible_draw(share: float, seed: int) -> None:
    limits = [
        Limit("macs", quantile(SMALL, share)),
        Limit("activation_bytes", quantile(SMALL, 0.5, "activation_bytes")),
    ]
    low, high = cost_range(SMALL, rng(seed), limits)
    costs = SMALL.count(sample_feasible(SMALL, rng(seed), 500, limits))["macs"]
    assert low <= costs.min() and costs.max() <= 1.01 * high and high <= limits[0].at_most


@pytest.mark.parametrize(
    "limits", [[], [Limit("macs", 3_000_000)], [Limit("macs", 800_000)]], ids=["all", "half", "few"]
)
def test_strata_get_equal_shares_of_the_whole_range(limits: list[Limit]) -> None:
    draws = sample_stratified(SMALL, rng(), 200, limits, 10)
    costs = SMALL.count(draws)
    assert draws.shape == (200, len(SMALL.choices)) and feasible(costs, limits).all()
    assert len(np.unique(draws, axis=0)) == 200 and np.array_equal(draws, SMALL.canonical_batch(draws))
    low, high = cost_range(SMALL, rng(1), limits)
    held, _ = np.histogram(np.log(costs["macs"]), np.linspace(np.log(low), np.log(high * 1.0001), 11))
    assert np.all(np.abs(held - 20) <= 2)
    # The order is random: the first half is spread as well.
    assert np.ptp(np.log(costs["macs"][:100])) > 0.8 * np.log(high / low)


def test_strata_of_the_base_space() -> None:
    start = time.process_time()
    draws = sample_stratified(BASE, rng(), 50, [], 5)
    assert time.process_time() - start < 15
    low, high = range_of(BASE)
    macs = BASE.count(draws)["macs"]
    assert np.all(np.histogram(macs, np.geomspace(low, high * 1.0001, 6))[0] >= 9)


def test_strata_of_another_cost() -> None:
    parameters = SMALL.count(sample_stratified(SMALL, rng(), 50, [], 5, "total_parameters"))["total_parameters"]
    low, high = cost_range(SMALL, rng(), [], "total_parameters")
    assert np.all(np.histogram(parameters, np.geomspace(low, high * 1.0001, 6))[0] >= 9)


def test_a_space_smaller_than_asked_for_gives_all_its_members() -> None:
    draws = sample_stratified(TABLE, rng(), 1000, [], 4, "cost")
    assert np.array_equal(np.unique(draws, axis=0), table_members()) and len(draws) == TABLE.size


def test_a_number_of_strata_is_at_least_one() -> None:
    with pytest.raises(InputError, match="strata: 0 must be an integer from 1"):
        sample_stratified(SMALL, rng(), 10, [], 0)


def test_a_cost_of_zero_has_no_logarithm() -> None:
    free: SearchSpace[Any] = SearchSpace("free", TABLE.choices, TABLE.assemble, dict, lambda g: {"macs": g[:, 0]})
    with pytest.raises(InputError, match="macs: 0.0 must be above 0"):
        sample_stratified(free, rng(), 10, [], 2)


@given(st.floats(0.0, 0.95), st.integers(0, 1000))
@settings(max_examples=25)
def test_one_of_a_stratum_lies_in_it_and_is_new(position: float, seed: int) -> None:
    low, high = np.log(range_of(SMALL))
    start, end = np.exp(low + (high - low) * np.array([position, position + 0.05]))
    first = sample_stratum(SMALL, rng(seed), start, end, [], set())
    assert first is not None
    second = sample_stratum(SMALL, rng(seed), start, end, [], {first})
    assert second is not None and second != first
    for genotype in (first, second):
        assert genotype == SMALL.canonical(genotype)
        assert start <= SMALL.count(np.array([genotype]))["macs"][0] < end


def test_a_stratum_runs_out() -> None:
    low, _ = range_of(SMALL)
    only = sample_stratum(SMALL, rng(), low, low + 1, [], set())
    assert only == (0,) * len(SMALL.choices)
    assert sample_stratum(SMALL, rng(), low, low + 1, [], {only}) is None
    assert sample_stratum(SMALL, rng(), low / 2, low, [], set()) is None
    assert sample_stratum(SMALL, rng(), 2 * low, 4 * low, [Limit("macs", low)], set()) is None


def test_the_same_seed_gives_the_same_draws() -> None:
    limits = [Limit("macs", 800_000)]
    for draw in (sample_feasible, functools.partial(sample_stratified, strata=5)):
        first, again, other = (draw(SMALL, rng(seed), 30, limits) for seed in (7, 7, 8))
        assert np.array_equal(first, again) and not np.array_equal(first, other)
