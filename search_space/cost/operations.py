"""The operations of a MoViNet and their sizes in any variant of the TF Model Garden: MoViNets, arXiv 2103.11511.

The same code serves Python ints (one network) and int64 arrays (one entry per candidate);
`search_space.cost.counting` adds them up. A convolution uses each weight once at every position of its output, so an
operation is described by its weights and its positions. Shapes are `B T H W C`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from search_space.variant import Variant

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
    """A matrix product with bias on one vector per clip, or per frame."""

    name: str
    weights: Count
    channels: Count  # of the output


Head = tuple[Convolution, Dense, Dense]


class Slot(NamedTuple):
    """One layer and its surroundings. In a batch, an absent layer has present = expand = squeeze_excite = 0."""

    first: bool  # of its block: only the first layer may change width or size, and then projects the skip
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


def squeeze_excite_channels(seen: Count) -> Count:
    """Return make_divisible(seen / 4, 8) in integers."""
    eights = (seen + 16) // 32
    return 8 * (eights + (320 * eights < 9 * seen))  # one step up if rounding lost more than 10 %, or everything


def larger(a: Count, b: Count) -> Count:
    """Return the larger of two ints, or of two arrays entry by entry."""
    return max(a, b) if isinstance(a, int) else np.maximum(a, b)


def walk(channels: Count, size: Count, blocks: Iterable[BlockCounts]) -> Iterator[Slot]:
    """Yield the layers in order, after a stem of `channels` and `size` x `size` positions per frame."""
    area = size * size
    for width, stride, layers in blocks:
        size = -(-size // stride)
        area_out = size * size
        for index, layer in enumerate(layers):
            yield Slot(index == 0, stride, channels, area, width, area_out, *layer)
            channels, area, stride = width, area_out, 1


def stem_operation(width: Count, resolution: Count) -> Convolution:
    """Return the 1x3x3 convolution of spatial stride 2."""
    size = (resolution + 1) // 2
    return Convolution("stem", "conv", STEM_TAPS * width, size * size, width)


def convolutions(slot: Slot, variant: Variant) -> tuple[Convolution, ...]:
    """Return expand, depthwise (over space and over time, if split) and project of a layer, in order.

    The first layer of a block also has skip. Absent operations have no weights and no channels: an identity skip, or a
    convolution over time if the kernel has one frame.
    """
    main = (
        Convolution("expand", "pointwise", slot.channels * slot.expand, slot.area, slot.expand),
        *_depthwise(slot, variant),
        Convolution("project", "pointwise", slot.expand * slot.width, slot.area_out, slot.width * slot.present),
    )
    if not slot.first:
        return main
    width = slot.width if slot.stride != 1 else slot.width * (slot.channels != slot.width)
    return (*main, Convolution("skip", "pointwise", slot.channels * width, slot.area_out, width))


def _depthwise(slot: Slot, variant: Variant) -> tuple[Convolution, ...]:
    expand, over_space = slot.expand, slot.kernel_space * slot.kernel_space
    if not variant.factorised:
        weights = slot.kernel_time * over_space * expand
        return (Convolution("depthwise", "depthwise", weights, slot.area_out, expand),)
    moving = expand * (slot.kernel_time > 1)
    return (
        Convolution("depthwise", "depthwise", over_space * expand, slot.area_out, expand),
        Convolution("temporal", "depthwise", slot.kernel_time * moving, slot.area_out, moving),
    )


def gated(slot: Slot, variant: Variant) -> Count:
    """Return 1 if a layer has squeeze-excite, else 0."""
    return slot.squeeze_excite * (variant.se_type != "none")


def gates_per_frame(variant: Variant) -> bool:
    """Return True if each frame has separate gates, not the clip."""
    return variant.causal or variant.se_type in ("2d", "2plus3d")


def squeeze_excite(slot: Slot, variant: Variant) -> tuple[Dense, Dense]:
    """Return the two 1x1 convolutions on the mean of the clip or frame; without channels if the layer has none."""
    seen = slot.expand * (2 if variant.se_type == "2plus3d" else 1)
    expand = slot.expand * gated(slot, variant)
    hidden = squeeze_excite_channels(seen) * gated(slot, variant)
    return Dense("squeeze_excite.reduce", seen * hidden, hidden), Dense(
        "squeeze_excite.expand", hidden * expand, expand
    )


def state_values(slot: Slot, variant: Variant) -> Count:
    """Return the number of state values of a causal layer: its buffer, its running mean and its frame counts."""
    area = slot.area_out if variant.factorised else slot.area
    buffer = (slot.kernel_time - 1) * slot.expand * area
    mean = gated(slot, variant) * (slot.expand + 1) * variant.remembers_mean
    return buffer + mean + gated(slot, variant) * variant.encodes_position


def head_operations(last: Slot, project: Count, dense: Count, classes: int) -> Head:
    """Return projection, dense layer and classifier after the `last` layer."""
    return (
        Convolution("head.project", "pointwise", last.width * project, last.area_out, project),
        Dense("head.dense", project * dense, dense),
        Dense("head.classes", dense * classes, classes),
    )


def live_in_layer(slot: Slot, frames: Count, gates: Count) -> Count:
    """Return the peak number of live values in a layer by the schedule of `Cost`; `gates`: of squeeze-excite."""
    inputs, expanded = slot.channels * slot.area, slot.expand * slot.area
    depthwise, output = slot.expand * slot.area_out, slot.width * slot.area_out
    main = (inputs + depthwise) * frames + larger(larger(expanded, output) * frames, gates)
    if not slot.first:
        return main  # for an absent layer twice its input, never more than in the previous layer
    if slot.stride == 1:
        skip = inputs + output + output * (slot.channels != slot.width)
    else:
        skip = slot.channels * slot.area_out + output + larger(inputs, output)
    return larger(main, skip * frames)


def live_in_head(last: Slot, frames: Count, head: Head) -> Count:
    """Return the peak number of live values from the last layer's output to the logits."""
    project, dense, classes = (operation.channels for operation in head)
    features = last.area_out * frames
    pooled = features * project + larger(features * last.width, project)
    return larger(pooled, dense + larger(project, classes))
