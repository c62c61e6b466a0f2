"""The published networks at the scale of a proxy, as baseline of a search.

A published network keeps its layers' kernels and the proportions of its widths. Its blocks get the strides of the
space, its head is one of the space's. Its target cost has the same relative position in the space's range as its
published cost has between A0 and A5. It is first scaled evenly in all dimensions, which determines the nearest clip of
the space, then only in depth and width. Kernels that would partly multiply padding are replaced by smaller ones that
compute the same function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace

from search_space.architecture import Architecture, Clip, Head, with_strides
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.published import PUBLISHED
from search_space.scaling.compound import Coefficients, Factors, scale_to_macs
from search_space.space.dead_options import without_dead_weights
from search_space.space.movinet import SpaceConfig

_EVEN = Coefficients(depth=2**0.25, width=2**0.125, resolution=2**0.125, frames=2**0.25)
# After the clip is chosen from the space.
_DEPTH_AND_WIDTH = Coefficients(depth=2**0.5, width=2**0.25, resolution=1.0, frames=1.0)
_MARGIN = 0.15  # of the log-cost range, excluded at both ends, where a space has hardly any architectures
_TOLERANCE = 0.3  # steps of small networks with channels divisible by 8 are that large


@functools.lru_cache(maxsize=16)  # scaling takes a second, and a search needs it several times
def reference_architectures(
    config: SpaceConfig, names: tuple[str, ...], low: float, high: float
) -> Mapping[str, Architecture]:
    """Return published networks by name, scaled to a space whose architectures cost `low` to `high` multiply-adds.

    `names` are those of `nas.config.sections.Finals.references`, with or without a clip.

    Raises:
      InputError: a published network cannot be scaled to the space, or a clip is not one of the space's.
    """
    margin = (high / low) ** _MARGIN
    published = {name: count(PUBLISHED[name], 600).macs for name in ("a0", "a5")}
    span = math.log(published["a5"] / published["a0"])
    found = {}
    for reference in names:
        name, _, clip = reference.partition("@")
        macs = count(PUBLISHED[name], 600).macs
        place = min(1.0, max(0.0, math.log(macs / published["a0"]) / span))
        target = low * margin * (high / low / margin**2) ** place
        found[name] = _scaled(name, config, target, _clip_of(reference, clip, config) if clip else None)
    return found


def _clip_of(reference: str, clip: str, config: SpaceConfig) -> Clip:
    frames, resolution = map(int, clip.split("x"))
    known = [
        Clip(-(-config.frames // stride), pixels, stride)
        for stride in config.frame_strides
        for pixels in config.resolutions
    ]
    for each in known:
        if (each.frames, each.resolution) == (frames, resolution):
            return each
    clips = ", ".join(f"{each.frames}x{each.resolution}" for each in known)
    raise InputError("finals.references", reference, f"must have one of the space's clips: {clips}")


def _scaled(name: str, config: SpaceConfig, target: float, clip: Clip | None) -> Architecture:
    published, largest = PUBLISHED[name], PUBLISHED["a5"].clip
    strides = [block.stride for block in config.blocks]
    if len(strides) != len(published.blocks):
        rule = f"has {len(published.blocks)} blocks, the space {len(strides)}; leave it out of the references"
        raise InputError("finals.references", name, rule)
    architecture = with_strides(published, strides)
    # A5's clip corresponds to the largest of the space; head and widths are relative to A2, from whose space all
    # MoViNets were scaled.
    frames = -(-config.frames // min(config.frame_strides)) / largest.frames
    width = max(config.project) / PUBLISHED["a2"].head.project
    base = Factors(width=width, resolution=max(config.resolutions) / largest.resolution, frames=frames)
    try:
        clip = clip or _nearest_clip(_to_target(architecture, target, config, _EVEN, base).clip, config)
        architecture = without_dead_weights(replace(architecture, clip=clip))
        scaled = _to_target(architecture, target, config, _DEPTH_AND_WIDTH, Factors(width=width))
    except InputError as error:
        rule = f"cannot be scaled to this space: {error.value:.0f} {error.rule}; leave it out of the references"
        raise InputError("finals.references", name, rule) from None
    project = min(config.project, key=lambda option: abs(option - scaled.head.project))
    head = Head(project, config.dense)  # as in every candidate
    return without_dead_weights(replace(scaled, clip=clip, head=head))


def _to_target(
    architecture: Architecture, target: float, config: SpaceConfig, coefficients: Coefficients, base: Factors
) -> Architecture:
    return scale_to_macs(architecture, target, config.classes, coefficients, base, _TOLERANCE).architecture


def _nearest_clip(clip: Clip, config: SpaceConfig) -> Clip:
    resolution = min(config.resolutions, key=lambda option: abs(math.log(option / clip.resolution)))
    stride = min(config.frame_strides, key=lambda option: abs(math.log(config.frames / option / clip.frames)))
    return Clip(-(-config.frames // stride), resolution, stride)
