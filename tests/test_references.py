"""The published networks scaled to a space: within its costs, in their order, and with the published kernels."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_search import small

from nas.algorithms.stratified_random import cost_strata
from nas.config import search_config, sections
from nas.tasks.references import reference_architectures
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.published import PUBLISHED
from search_space.space.dead_options import without_dead_weights
from search_space.space.movinet import BlockConfig, SpaceConfig, movinet_space, scaled_widths
from search_space.space.sampling import Limit

NAMES = ("a0", "a1", "a2", "a3", "a4", "a5")
SHAPE = ((8, 2), (16, 2), (24, 2), (24, 1), (40, 2))  # width and stride of each block, before they are multiplied


@st.composite
def spaces(draw: st.DrawFn) -> SpaceConfig:
    """Draw proxy spaces: one to three times as wide as the default one, on clips of about the same size."""
    frames = draw(st.integers(8, 40))
    times = draw(st.sampled_from([1, 2, 3]))
    blocks = tuple(
        BlockConfig(width * times, scaled_widths(width * times), stride, tuple(range(1, draw(st.integers(2, 5)))))
        for width, stride in SHAPE
    )
    largest = draw(st.sampled_from([24, 32, 36]))
    others = st.integers(largest // 3, largest // 2).map(lambda half: 2 * half)
    return SpaceConfig(
        "drawn",
        draw(st.integers(2, 600)),
        frames,
        draw(st.sampled_from([(1,), (1, 2), (1, 2, 4)])),
        tuple(sorted({largest, *draw(st.lists(others, max_size=2))})),
        (8,),
        blocks,
        (64, 128),
        draw(st.sampled_from([128, 512])),
    )


def references(space: SpaceConfig, limits: tuple[Limit, ...] = ()) -> tuple[dict[str, Architecture], float, float]:
    bands = cost_strata(movinet_space(space), limits, "macs", 1)
    return reference_architectures(space, NAMES, bands.low, bands.high), bands.low, bands.high


def check(space: SpaceConfig, limits: tuple[Limit, ...] = ()) -> None:
    found, low, high = references(space, limits)
    assert tuple(found) == NAMES
    costs = [count(network, space.classes).macs for network in found.values()]
    assert low <= costs[0] and costs[-1] <= high
    assert costs[0] < costs[-1]
    assert all(cheaper < 1.1 * dearer for cheaper, dearer in itertools.pairwise(costs))  # the head is rounded last
    for name, network in found.items():
        check_clip(network, space)
        check_layers(network, PUBLISHED[name], space)


def check_clip(network: Architecture, space: SpaceConfig) -> None:
    clip = network.clip
    assert clip.resolution in space.resolutions
    assert clip.frame_stride in space.frame_strides
    assert clip.frames == -(-space.frames // clip.frame_stride)


def check_layers(network: Architecture, published: Architecture, space: SpaceConfig) -> None:
    """Every layer has the kernel of the published layer at its place; extra layers repeat them from the second.

    Kernels are as narrow as the network's clip allows without a change of the function.
    """
    assert [block.stride for block in network.blocks] == [block.stride for block in space.blocks]
    original = []
    for block, of_published in zip(network.blocks, published.blocks, strict=True):
        kernels = [layer.kernel for layer in of_published.layers]
        repeated = kernels[1:] or kernels
        beyond = [repeated[i % len(repeated)] for i in range(len(block.layers))]
        pairs = zip(block.layers, [*kernels, *beyond], strict=False)
        original.append(replace(block, layers=tuple(replace(layer, kernel=kernel) for layer, kernel in pairs)))
        assert all(layer.squeeze_excite for layer in block.layers)
    assert network == without_dead_weights(replace(network, blocks=tuple(original)))
    assert network.head.project in space.project and network.head.dense == space.dense
    widths = [block.width for block in network.blocks]
    assert widths == sorted(widths)


SEARCHES = {"default": search_config.load("default"), "tiny": search_config.load("tiny"), "small": small()}


@pytest.mark.parametrize("name", SEARCHES)
def test_in_the_order_of_their_costs_within_those_of_the_space(name: str) -> None:
    check(SEARCHES[name].space, SEARCHES[name].limits)


@settings(max_examples=2)
@given(space=spaces())
def test_in_any_space_like_these(space: SpaceConfig) -> None:
    check(space)


def test_one_that_cannot_be_that_cheap_is_named_with_a_way_out() -> None:
    """Every network of five blocks on clips of 96 pixels costs more than 100 000 multiply-adds."""
    space = replace(small().space, resolutions=(96,))
    with pytest.raises(InputError) as caught:
        reference_architectures(space, NAMES, 50_000, 100_000)
    assert (caught.value.place, caught.value.value) == ("finals.references", "a0")
    assert re.fullmatch(
        r"cannot be scaled to this space: \d+ multiply-adds: no scaling is within 30\.0%; the nearest costs "
        r"\d+; leave it out of the references",
        caught.value.rule,
    )


def test_a_space_of_another_number_of_blocks_has_no_published_networks() -> None:
    space = small().space
    with pytest.raises(InputError, match="'a2' has 5 blocks, the space 1; leave it out"):
        reference_architectures(replace(space, blocks=space.blocks[:1]), ("a2",), 1e5, 1e6)


def test_a_reference_may_name_its_clip() -> None:
    default = search_config.load("default")
    bands = cost_strata(movinet_space(default.space), default.limits, "macs", 1)
    found = reference_architectures(default.space, ("a0", "a2@8x24"), bands.low, bands.high)
    assert list(found) == ["a0", "a2"]
    assert (found["a2"].clip.frames, found["a2"].clip.resolution) == (8, 24)
    with pytest.raises(InputError, match=r"'a2@5x24' must have one of the space's clips: .*8x24"):
        reference_architectures(default.space, ("a2@5x24",), bands.low, bands.high)
    with pytest.raises(InputError, match=r"references\[0\]: 'a2@8' must have its clip as frames x pixels"):
        sections.Finals(references=("a2@8",))
