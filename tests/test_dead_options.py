"""Test detection of kernels that compute the same function as a cheaper one: exact, named, and in no preset."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config import search_config
from search_space import published
from search_space.space.dead_options import dead_options, used_weights, warning, without_dead_weights
from search_space.space.movinet import BLOCK_STRIDES, KERNELS, BlockConfig, SpaceConfig, base_config

DEFAULT = search_config.load("default").space


@settings(max_examples=30)
@given(st.integers(1, 12), st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]))
def test_used_weights_are_those_that_a_convolution_uses(size: int, width: int, stride: int) -> None:
    """A kernel of a single 1, applied to every unit vector, shows the connections of each weight."""
    import tensorflow as tf

    connected = set()
    for weight in range(width):
        kernel = np.eye(width, dtype=np.float32)[weight].reshape(width, 1, 1, 1)
        images = np.eye(size, dtype=np.float32).reshape(size, size, 1, 1)
        seen = tf.nn.conv2d(images, kernel, strides=[1, stride, 1, 1], padding="SAME").numpy()[:, :, 0, 0]
        pairs = tuple((output, source) for source, output in np.argwhere(seen).tolist())
        if pairs:
            connected.add(tuple(sorted(pairs)))
    assert used_weights(width, size, stride) == connected


@pytest.mark.parametrize(("width", "size", "same"), [(3, 1, 1), (5, 2, 3), (7, 3, 5), (7, 2, 3)])
def test_wider_than_2n_minus_1_is_the_same_function(width: int, size: int, same: int) -> None:
    assert used_weights(width, size, 1) == used_weights(same, size, 1)
    assert used_weights(width, size + 1, 1) != used_weights(same, size + 1, 1)


@pytest.mark.parametrize("name", search_config.presets())
def test_no_preset_has_a_dead_option(name: str) -> None:
    assert dead_options(search_config.load(name).space) == []


def test_neither_has_the_space_of_the_paper() -> None:
    assert warning(base_config()) == ""


def test_every_dead_option_is_named_with_where_it_is_dead() -> None:
    """The strides of MoViNets reduce 32 x 32 pixels to 1 x 1, and 64 x 64 to 2 x 2."""
    space = replace(DEFAULT.with_strides(BLOCK_STRIDES), resolutions=(32, 64))
    dead = [each for each in dead_options(space) if each.choice == "block5.layer2.kernel"]
    assert {(each.option, each.same_as, each.resolutions) for each in dead} == {
        ((1, 5, 5), (1, 3, 3), (32, 64)),
        ((5, 3, 3), (5, 1, 1), (32,)),
    }
    assert re.fullmatch(
        r"space movinet_proxy: kernels that compute the same function as a cheaper one, .*; "
        r"block5 1x5x5, 5x3x3 \(resolution 32\)",
        warning(space),
    )


def test_a_clip_of_few_frames_has_dead_temporal_kernels() -> None:
    space = replace(DEFAULT, frames=4)
    dead = dead_options(space)
    assert {each.frame_strides for each in dead if each.option == (7, 1, 1)} == {(2, 4)}  # 2 frames and 1
    assert "5x3x3" in warning(space) and "resolution" not in warning(space)


def test_a_network_without_dead_weights_is_no_wider_than_what_it_sees() -> None:
    a0 = replace(published.PUBLISHED["a0"], clip=replace(published.PUBLISHED["a0"].clip, frames=4, resolution=32))
    narrow = without_dead_weights(a0)
    assert without_dead_weights(narrow) == narrow != a0
    first, *others = narrow.blocks[-1].layers  # the first layer still has 2 x 2 pixels
    assert first.kernel[1] <= 3 and {layer.kernel[1] for layer in others} == {1}
    assert [len(block.layers) for block in narrow.blocks] == [len(block.layers) for block in a0.blocks]
    assert without_dead_weights(published.PUBLISHED["a0"]) == published.PUBLISHED["a0"]


def test_kernels_of_one_map_are_compared_at_the_stride_of_their_layer() -> None:
    """A first layer of stride 2 has the larger input."""
    block = BlockConfig(8, (8,), 2, (2,), kernels=KERNELS)
    space = SpaceConfig("one", 2, 16, (1,), (8,), (8,), (block,), (8,), 8)
    names = {each.choice for each in dead_options(space) if each.option == (1, 5, 5)}
    assert names == {"block1.layer2.kernel"}
