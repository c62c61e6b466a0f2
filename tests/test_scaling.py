"""Scaling by factors, by phi and to a FLOPs target; scaling of a space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.published import A0, A2, A5, PUBLISHED, T0
from search_space.scaling.compound import (
    DEFAULT_COEFFICIENTS,
    UNSCALED,
    Coefficients,
    Factors,
    compound,
    scale,
    scale_space,
    scale_to_macs,
)
from search_space.space.movinet import base_config, movinet_space

TARGETS = [round(float(target)) for target in np.geomspace(0.5e9, 500e9, 16)]
FAMILY = [2.7e9, 6.0e9, 10.3e9, 57e9, 105e9, 281e9]  # the published multiply-adds

parents = st.sampled_from(list(PUBLISHED.values()))
factors = st.floats(0.2, 4)
targets = st.floats(np.log(0.5e9), np.log(500e9)).map(lambda log: float(np.exp(log)))


def widths(network: Architecture) -> list[int]:
    blocks = [each for block in network.blocks for each in (block.width, *(layer.expand for layer in block.layers))]
    return [network.stem.width, *blocks, network.head.project, network.head.dense]


@pytest.mark.parametrize("name", PUBLISHED)
def test_factors_of_one_change_nothing(name: str) -> None:
    assert scale(PUBLISHED[name]) == PUBLISHED[name] == compound(PUBLISHED[name], phi=0)


def test_scaling_by_hand() -> None:
    one, two, three = Layer(24, (5, 3, 3)), Layer(40, (3, 3, 3)), Layer(56, (1, 5, 5), squeeze_excite=False)
    network = Architecture(
        Clip(10, 50, 3), Stem(8), (Block(16, 2, (one,)), Block(24, 1, (one, two, three))), Head(64, 80)
    )
    scaled = scale(network, depth=2.5, width=1.5, resolution=1.1, frames=1.26)
    one, two, three = replace(one, expand=40), replace(two, expand=64), replace(three, expand=88)  # 36, 60 and 84 up
    assert scaled == Architecture(
        Clip(13, 56, 2),  # 12.6 frames; 55 pixels made even; 30 ticks over 13 frames
        Stem(16),  # 12 is halfway, and 8 would lose more than 10 %
        (Block(24, 2, (one, one, one)), Block(40, 1, (one, two, three, two, three, two, three, two))),  # 2.5 and 7.5 up
        Head(96, 120),
    )
    assert scale(network, depth=0.5).blocks == (
        network.blocks[0],
        replace(network.blocks[1], layers=(*network.blocks[1].layers[:2],)),
    )


def test_dense_layer_shrinks_but_does_not_outgrow_the_released_one() -> None:
    dense = {width: scale(A0, width=width).head.dense for width in (0.5, 1.0, 2.0)}
    assert dense == {0.5: 1024, 1.0: 2048, 2.0: 2048}
    assert scale(T0, width=1.5).head.dense == 1536
    assert scale(T0, width=4).head.dense == 2048


@given(parents, factors, factors, factors, factors)
def test_scaled_network_is_well_formed(
    parent: Architecture, depth: float, width: float, resolution: float, frames: float
) -> None:
    scaled = scale(parent, depth, width, resolution, frames)
    clip, duration = scaled.clip, parent.clip.frames * parent.clip.frame_stride
    assert all(value % 8 == 0 for value in widths(scaled))
    assert clip.resolution % 2 == 0 and abs(clip.resolution - parent.clip.resolution * resolution) <= 1
    assert abs(clip.frames - parent.clip.frames * frames) <= 0.5
    strides = range(1, 2 * duration)
    assert abs(clip.frames * clip.frame_stride - duration) == min(abs(clip.frames * s - duration) for s in strides)
    for before, after in zip(parent.blocks, scaled.blocks, strict=True):
        assert abs(len(after.layers) - len(before.layers) * depth) <= 0.5 or len(after.layers) == 1
        assert after.stride == before.stride
        assert after.layers[0].kernel == before.layers[0].kernel
        assert {layer.kernel for layer in after.layers[1:]} <= {
            layer.kernel for layer in before.layers[1:] or before.layers
        }


@given(parents, factors, factors, st.sampled_from(["depth", "resolution", "frames"]))
def test_larger_factor_costs_no_less(parent: Architecture, one: float, other: float, name: str) -> None:
    less, more = (count(scale(parent, **{name: factor}), 600) for factor in sorted((one, other)))
    assert less.macs <= more.macs


@given(parents, factors, factors)
def test_larger_width_factor_makes_nothing_narrower(parent: Architecture, one: float, other: float) -> None:
    less, more = (widths(scale(parent, width=factor)) for factor in sorted((one, other)))
    assert all(a <= b for a, b in zip(less, more, strict=True))


def test_compound_scaling_is_scaling_by_powers() -> None:
    equal = Coefficients(depth=2**0.25, width=2**0.125, resolution=2**0.125, frames=2**0.25)
    assert equal.growth == pytest.approx(2, abs=1e-12)
    assert compound(A2, 4, equal) == scale(A2, depth=2, width=2**0.5, resolution=2**0.5, frames=2)


def test_default_coefficients_double_published_networks() -> None:
    """Test a single network; tests/test_expected_growth.py tests many."""
    for phi in (-2.0, -1.0, 0.0, 1.0, 2.0):
        ratio = count(compound(A5, phi + 1), 600).macs / count(compound(A5, phi), 600).macs
        assert 1.8 < ratio < 2.35


def test_base_factors_are_composed_without_rounding_in_between() -> None:
    base = Factors(depth=1.3, width=1.3, resolution=1.3, frames=1.3)
    both = base.times(DEFAULT_COEFFICIENTS.factors(1))
    assert compound(A0, 1, base=base) == scale(A0, **vars(both))
    assert compound(A0, 1, base=base) != compound(scale(A0, **vars(base)), 1)


@given(parents, targets)
def test_any_target_is_met(parent: Architecture, target: float) -> None:
    scaled = scale_to_macs(parent, target, classes=600)
    assert abs(scaled.deviation) <= 0.02
    assert scaled.macs == count(scaled.architecture, 600).macs
    assert scaled.deviation == pytest.approx(scaled.macs / target - 1)
    assert scaled.architecture == scale(parent, **vars(scaled.factors))
    assert (scaled.factors.depth, scaled.factors.width) == (
        DEFAULT_COEFFICIENTS.factors(scaled.phi).depth,
        DEFAULT_COEFFICIENTS.factors(scaled.phi).width,
    )


@settings(max_examples=25)
@given(parents, targets, st.floats(1, 1.1))
def test_larger_target_costs_no_less(parent: Architecture, target: float, ratio: float) -> None:
    assert scale_to_macs(parent, target, 600).macs <= scale_to_macs(parent, target * ratio, 600).macs


def test_larger_targets_cost_no_less_across_a_gap() -> None:
    macs = [scale_to_macs(A0, target, 600).macs for target in np.linspace(1.6e9, 2.6e9, 60).tolist()]
    assert macs == sorted(macs)
    assert len(set(macs)) > 20


@pytest.mark.parametrize("name", PUBLISHED)
def test_gaps_between_steps_of_phi_are_filled_by_the_clip(name: str) -> None:
    parent = PUBLISHED[name]
    found = [scale_to_macs(parent, target, 600) for target in TARGETS]
    pure = [each.architecture == compound(parent, each.phi) for each in found]
    assert 0 < sum(pure) < len(pure)
    for each, untouched in zip(found, pure, strict=True):
        if not untouched:
            steps = (count(compound(parent, each.phi + step / 64), 600).macs for step in range(-8, 9))
            assert min(abs(macs / each.target - 1) for macs in steps) > 0.02


def test_own_cost_is_met_unscaled() -> None:
    for parent in PUBLISHED.values():
        scaled = scale_to_macs(parent, count(parent, 600).macs, 600)
        assert (scaled.architecture, scaled.phi, scaled.deviation) == (parent, 0, 0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_proxy_is_lifted_to_the_family(name: str) -> None:
    shrink = Factors(depth=0.8, width=0.5, resolution=0.25, frames=0.25)
    proxy = scale(PUBLISHED[name], **vars(shrink))
    base = Factors(1 / 0.8, 2, 4, 4)
    assert base.times(shrink) == UNSCALED
    found = [scale_to_macs(proxy, target, 600, base=base) for target in FAMILY]
    assert all(abs(each.deviation) <= 0.02 for each in found)
    assert [each.macs for each in found] == sorted(each.macs for each in found)
    assert len({each.architecture.fingerprint for each in found}) == len(FAMILY)


def test_coefficients_of_one_dimension() -> None:
    scaled = scale_to_macs(A2, 20e9, 600, Coefficients(depth=1, width=1, resolution=1, frames=2))
    assert scaled.architecture.blocks == A2.blocks
    assert scaled.architecture.clip.resolution == 224


@pytest.mark.parametrize("target", [1000, 10**17])
def test_unreachable_target_names_the_nearest(target: int) -> None:
    with pytest.raises(InputError, match=rf"target: {target} .*no scaling is within 2\.0%; the nearest costs \d+$"):
        scale_to_macs(A5, target, 600)


@pytest.mark.parametrize("target", [0, -5, float("nan"), float("inf"), "1e9", True])
def test_senseless_target_is_refused(target: object) -> None:
    with pytest.raises(InputError, match="^target: .* must be a number from 1 to 1e"):
        scale_to_macs(A0, target, 600)  # type: ignore[arg-type]


def test_senseless_factors_and_coefficients_are_refused() -> None:
    with pytest.raises(InputError, match=r"width: 0 must be a number"):
        scale(A0, width=0)
    with pytest.raises(InputError, match=r"depth: nan must be a number"):
        scale(A0, depth=float("nan"))
    with pytest.raises(InputError, match=r"frames: 0\.5 must be a number from 1 to 16"):
        Coefficients(depth=1, width=1, resolution=1, frames=0.5)
    with pytest.raises(InputError, match=r"block\.layers: 1000000000 must be an integer from 1 to 256"):
        scale(A0, depth=1e9)
    with pytest.raises(InputError, match=r"resolution: "):
        scale(A0, resolution=1e20)


def test_space_scaled_by_zero_is_itself() -> None:
    assert scale_space(base_config(), phi=0) == base_config()


def test_space_scaled_by_hand() -> None:
    config = replace(base_config(), frames=12, frame_strides=(1, 2, 8), resolutions=(48, 50, 64))
    double = Coefficients(depth=2, width=2, resolution=2, frames=2)
    small = scale_space(config, -1, double)
    assert (small.frames, small.frame_strides, small.resolutions) == (6, (1, 2, 6), (24, 26, 32))
    assert (small.stem_widths, small.project, small.dense) == ((8, 16), (192, 256, 320), 1024)
    first = small.blocks[0]  # widths 16, 24 and 32
    assert (first.base_width, first.widths, first.depths) == (16, (8, 16), (1, 2, 3, 4, 5))
    assert (first.kernels, first.expansions) == (config.blocks[0].kernels, config.blocks[0].expansions)
    large = scale_space(config, 1, double)
    assert (large.frames, large.resolutions, large.dense) == (24, (96, 100, 128), 2048)
    assert large.blocks[0].depths == tuple(range(2, 21, 2))


def test_space_costs_about_twice_as_much_a_step() -> None:
    """Test the mean cost of random architectures; tolerances cover rounded widths and the minimum of one layer."""
    means = []
    for phi in range(-3, 4):
        space = movinet_space(scale_space(base_config(), phi))
        means.append(space.count(space.sample(np.random.default_rng(0), 2000))["macs"].mean())
    assert all(1.6 < after / before < 2.4 for before, after in zip(means, means[1:], strict=False))
    assert means[-1] / means[0] == pytest.approx(2**6, rel=0.4)
