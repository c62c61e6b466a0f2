"""Test the doubling of expected cost: networks scaled in a batch, solved and drawn growth, independent samples."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config import search_config
from results.family import growth as family
from search_space.base.errors import InputError
from search_space.cost.counting import count, pack
from search_space.published import PUBLISHED
from search_space.scaling.compound import DEFAULT_COEFFICIENTS, Coefficients, Factors, compound, scale
from search_space.scaling.expected_growth import (
    DIMENSIONS,
    PHIS,
    TOLERANCE,
    ExpectedCost,
    draw,
    of_shares,
    random_members,
    scale_batch,
    shares_of,
    solve,
)
from search_space.space.movinet import SpaceConfig, base_config, movinet_space
from search_space.space.sampling import Limit

PRESET = search_config.load("default")
FAMILY = family.from_dict(PRESET.family)
EQUAL = (0.25, 0.25, 0.25, 0.25)


def expected(space: SpaceConfig, seed: int, n: int) -> ExpectedCost:
    return ExpectedCost(random_members(space, np.random.default_rng(seed), n), 600)


@functools.cache
def around_a2(seed: int, n: int) -> ExpectedCost:
    return expected(base_config(), seed, n)


@functools.cache
def of_the_default_search(seed: int, n: int) -> ExpectedCost:
    proxies = random_members(PRESET.space, np.random.default_rng(seed), n, PRESET.limits)
    return ExpectedCost(replace(proxies, strides=FAMILY.strides), 600, FAMILY.lift)


@given(st.integers(0, 1000), *[st.floats(0.2, 4)] * 4)
def test_many_are_scaled_as_one_is(seed: int, depth: float, width: float, resolution: float, frames: float) -> None:
    space = movinet_space(base_config())
    drawn = space.sample(np.random.default_rng(seed), 3).tolist()
    networks = [*(space.decode(tuple(genotype)) for genotype in drawn), *PUBLISHED.values()]
    factors = Factors(depth, width, resolution, frames)
    together = scale_batch(pack(networks), factors)
    alone = pack([scale(network, **vars(factors)) for network in networks])
    present = np.arange(together.expand.shape[-1]) < together.depth[..., None]
    assert together.strides == alone.strides
    for name, array in vars(together).items():
        if name in ("expand", "kernel_time", "kernel_space", "squeeze_excite"):
            assert np.array_equal(array[present], getattr(alone, name)[present]), name
        elif name != "strides":
            assert np.array_equal(array, getattr(alone, name)), name


def test_expected_cost_is_the_mean_of_exact_costs() -> None:
    space = movinet_space(base_config())
    networks = [space.decode(tuple(row)) for row in space.sample(np.random.default_rng(3), 20).tolist()]
    lift = Factors(0.5, 1.5, 0.7, 1.2)
    each = [count(compound(network, 1.5, base=lift), 36).macs for network in networks]
    assert ExpectedCost(pack(networks), 36, lift).at(DEFAULT_COEFFICIENTS, 1.5) == pytest.approx(np.mean(each))


def test_random_members_keep_the_limits() -> None:
    members = random_members(PRESET.space, np.random.default_rng(0), 200, PRESET.limits)
    assert ExpectedCost(members, 36).at(DEFAULT_COEFFICIENTS, 0) < PRESET.limits[0].at_most
    assert set(members.resolution.tolist()) == set(PRESET.space.resolutions)
    with pytest.raises(InputError, match=r"limits\.macs: 10 is below the cheapest"):
        random_members(PRESET.space, np.random.default_rng(0), 2, [Limit("macs", 10)])


@pytest.mark.parametrize("seed", [101, 202])
@pytest.mark.parametrize("scale_of", [around_a2, of_the_default_search])
def test_the_expected_cost_doubles_with_the_default_coefficients(scale_of, seed: int) -> None:
    steps = scale_of(seed, 1000).steps(DEFAULT_COEFFICIENTS)
    assert len(steps) == len(PHIS) - 1 == 5
    assert np.abs(steps / 2 - 1).max() <= TOLERANCE, steps


def test_independent_samples_on_both_sides_of_a_step_say_the_same() -> None:
    before, after = around_a2(101, 1000).at(DEFAULT_COEFFICIENTS, 0), around_a2(202, 1000).at(DEFAULT_COEFFICIENTS, 1)
    assert after / before == pytest.approx(2, rel=0.15)  # a mean over 1 000 is accurate to 2.5 %


def test_a_product_of_two_doubles_too_little() -> None:
    steps = around_a2(101, 1000).steps(of_shares(EQUAL, 2.0))
    assert (steps <= 2.005).all() and steps.min() < 1.9


@pytest.mark.slow
def test_drawn_coefficients_double_on_members_they_were_not_drawn_with() -> None:
    rng, solved = np.random.default_rng(4), of_the_default_search(0, 200)
    found = [draw(rng, solved) for _ in range(2)]
    for coefficients in found:
        assert of_the_default_search(101, 1000).miss(coefficients) <= 1.1 * TOLERANCE
        assert 1.95 < coefficients.growth < 2.3
    depths = [shares_of(coefficients)["depth"] for coefficients in found]
    assert np.ptp(depths) > 0.02
    assert draw(np.random.default_rng(4), solved) == found[0]


def test_solved_coefficients_keep_the_proportions() -> None:
    shares = tuple(shares_of(DEFAULT_COEFFICIENTS).values())
    found = solve(shares, around_a2(0, 200), np.random.default_rng(0))
    assert found is not None and around_a2(0, 200).doubles(found)
    assert list(shares_of(found).values()) == pytest.approx(shares, abs=0.06)


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.floats(1.5, 4))
def test_shares_and_coefficients_are_two_forms_of_one(weights: list[float], growth: float) -> None:
    shares = np.array(weights) / sum(weights)
    coefficients = of_shares(shares.tolist(), growth)
    assert coefficients.growth == pytest.approx(growth)
    assert list(shares_of(coefficients)) == list(DIMENSIONS)
    assert list(shares_of(coefficients).values()) == pytest.approx(shares.tolist())


def test_networks_too_small_to_double_are_refused() -> None:
    tiny = expected(PRESET.space, 0, 30)  # without proxy-to-full scaling: a width of 8 stays 8
    with pytest.raises(InputError, match=r"coefficients: 2 proportions were drawn, but for none"):
        draw(np.random.default_rng(0), tiny, draws=2)
    assert solve(EQUAL, tiny, np.random.default_rng(0)) is None


def test_a_step_by_hand() -> None:
    """Scale only the frames of one network, from 50 to 100: all costs except that of the head's dense layer double."""
    one = pack([PUBLISHED["a2"]])
    only_frames = Coefficients(depth=1, width=1, resolution=1, frames=2)
    before, after = (count(compound(PUBLISHED["a2"], phi, only_frames), 600).macs for phi in (0, 1))
    assert ExpectedCost(one, 600).steps(only_frames, (0, 1)).tolist() == [after / before]
    assert 1.99 < after / before < 2
