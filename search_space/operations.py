"""The operations of a MoViNet and their sizes, base form of the release: MoViNets, arXiv 2103.11511.

Written once for Python ints (one network) and for int64 arrays (one entry per candidate) alike; `search_space.cost`
adds them up. A convolution uses each weight once at every position of its output, so an operation is its weights and
its positions. Shapes are `B T H W C`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

Count = Any  # an int, or an int64 array [N] with one entry per candidate

RGB = 3
STEM_TAPS = 9 * RGB  # weights of the 1x3x3 stem per output channel


class Convolution(NamedTuple):
    """A convolution without bias, followed by batch norm over its output channels."""

    name: str
    op_class: str  # conv, pointwise or depthwise
    weights: Count
    area: Count  # output positions per frame
    channels: Count  # of the output


class Dense(NamedTuple):
    """A matrix product with bias on one vector per clip."""

    name: str
    weights: Count
    channels: Count  # of the output


Head = tuple[Convolution, Dense, Dense]


class Slot(NamedTuple):
    """One layer and its surroundings. In a batch, an absent layer has present = expand = squeeze_excite = 0."""

    first: bool  # of its block: only such a layer may change width or size, and then projects the skip
    stride: int
    channels: Count  # of the input
    area: Count  # positions per frame of the input
    width: Count  # channels of the output
    area_out: Count
    expand: Count
    kernel_time: Count
    kernel_space: Count
    squeeze_excite: Count  # 0 or 1
    present: Count  # 0 or 1


LayerCounts = tuple[Count, Count, Count, Count, Count]  # the last five of Slot
BlockCounts = tuple[Count, int, Iterable[LayerCounts]]  # width, stride, layers


def squeeze_excite_channels(expand: Count) -> Count:
    """make_divisible(expand / 4, 8) in integers."""
    eights = (expand + 16) // 32
    return 8 * (eights + (320 * eights < 9 * expand))  # one step up where rounding lost more than 10 %, or all


def larger(a: Count, b: Count) -> Count:
    """The larger of two ints, or of two arrays entry by entry."""
    return max(a, b) if isinstance(a, int) else np.maximum(a, b)


def walk(channels: Count, size: Count, blocks: Iterable[BlockCounts]) -> Iterator[Slot]:
    """The layers in order, behind a stem of `channels` and `size` x `size` positions per frame."""
    area = size * size
    for width, stride, layers in blocks:
        size = -(-size // stride)
        area_out = size * size
        for index, layer in enumerate(layers):
            yield Slot(index == 0, stride, channels, area, width, area_out, *layer)
            channels, area, stride = width, area_out, 1


def stem_operation(width: Count, resolution: Count) -> Convolution:
    """The 1x3x3 convolution of spatial stride 2."""
    size = (resolution + 1) // 2
    return Convolution("stem", "conv", STEM_TAPS * width, size * size, width)


def convolutions(slot: Slot) -> tuple[Convolution, ...]:
    """Expand, depthwise and project of a layer; of a block's first layer also skip, without weights if identity."""
    expand, taps = slot.expand, slot.kernel_time * slot.kernel_space * slot.kernel_space
    main = (
        Convolution("expand", "pointwise", slot.channels * expand, slot.area, expand),
        Convolution("depthwise", "depthwise", taps * expand, slot.area_out, expand),
        Convolution("project", "pointwise", expand * slot.width, slot.area_out, slot.width * slot.present),
    )
    if not slot.first:
        return main
    width = slot.width if slot.stride != 1 else slot.width * (slot.channels != slot.width)
    return (*main, Convolution("skip", "pointwise", slot.channels * width, slot.area_out, width))


def squeeze_excite(slot: Slot) -> tuple[Dense, Dense]:
    """The two 1x1 convolutions on the clip's mean; without channels where the layer has none."""
    expand = slot.expand * slot.squeeze_excite
    hidden = squeeze_excite_channels(slot.expand) * slot.squeeze_excite
    weights = expand * hidden
    return Dense("squeeze_excite.reduce", weights, hidden), Dense("squeeze_excite.expand", weights, expand)


def head_operations(last: Slot, project: Count, dense: Count, classes: int) -> Head:
    """Projection, dense layer and classifier behind the `last` layer."""
    return (
        Convolution("head.project", "pointwise", last.width * project, last.area_out, project),
        Dense("head.dense", project * dense, dense),
        Dense("head.classes", dense * classes, classes),
    )


def live_in_layer(slot: Slot, frames: Count, gates: Count) -> Count:
    """Most values alive at once in a layer, by the schedule of `Cost`; `gates` are those of squeeze-excite."""
    inputs, expanded = slot.channels * slot.area, slot.expand * slot.area
    depthwise, output = slot.expand * slot.area_out, slot.width * slot.area_out
    main = (inputs + depthwise) * frames + larger(larger(expanded, output) * frames, gates)
    if not slot.first:
        return main  # of an absent layer twice its input, never more than in the layer before
    if slot.stride == 1:
        skip = inputs + output + output * (slot.channels != slot.width)
    else:
        skip = slot.channels * slot.area_out + output + larger(inputs, output)
    return larger(main, skip * frames)


def live_in_head(last: Slot, frames: Count, head: Head) -> Count:
    """Most values alive at once from the last layer's output to the logits."""
    project, dense, classes = (operation.channels for operation in head)
    features = last.area_out * frames
    pooled = features * project + larger(features * last.width, project)
    return larger(pooled, dense + larger(project, classes))
