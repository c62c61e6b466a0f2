"""The published networks at the scale of a proxy: what a search has to be better than.

A published network keeps its layers' kernels and the proportions of its widths; its clip becomes the nearest
that the space allows, in the same proportion to the largest, and depth and width are scaled to a cost in the
same place within the space's range as its published cost has between A0 and A5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from search_space.architecture import Architecture, Clip
from search_space.cost import count
from search_space.errors import InputError
from search_space.movinet_space import SpaceConfig
from search_space.published import PUBLISHED
from search_space.scaling import Coefficients, Factors, scale_to_macs

# Depth and width only, in the proportions of the default coefficients; the clip is chosen from the space.
_DEPTH_AND_WIDTH = Coefficients(depth=2**0.5, width=2**0.25, resolution=1.0, frames=1.0)
_MARGIN = 0.15  # of the log-cost range, left free at both ends, where a space has next to no members
_TOLERANCE = 0.3  # small networks of channels divisible by 8 come in steps that large


def reference_architectures(
    config: SpaceConfig, names: Sequence[str], low: float, high: float
) -> dict[str, Architecture]:
    """The published networks `names` at the scale of a space whose members cost `low` to `high` multiply-adds.

    Raises:
      InputError: a published network cannot be brought to that scale.
    """
    margin = (high / low) ** _MARGIN
    published = {name: count(PUBLISHED[name], 600).macs for name in ("a0", "a5")}
    span = math.log(published["a5"] / published["a0"])
    found = {}
    for name in names:
        macs = count(PUBLISHED[name], 600).macs
        place = min(1.0, max(0.0, math.log(macs / published["a0"]) / span))
        found[name] = _scaled(name, config, low * margin * (high / low / margin**2) ** place)
    return found


def _clip(architecture: Architecture, config: SpaceConfig) -> Clip:
    """The clip of the space nearest in proportion: A5's 120 frames of 320 pixels stand for the largest."""
    largest = PUBLISHED["a5"].clip
    pixels = architecture.clip.resolution / largest.resolution * max(config.resolutions)
    frames = architecture.clip.frames / largest.frames * -(-config.frames // min(config.frame_strides))
    resolution = min(config.resolutions, key=lambda option: abs(option - pixels))
    stride = min(config.frame_strides, key=lambda option: abs(math.log(config.frames / option / frames)))
    return Clip(-(-config.frames // stride), resolution, stride)


def _scaled(name: str, config: SpaceConfig, target: float) -> Architecture:
    architecture = replace(PUBLISHED[name], clip=_clip(PUBLISHED[name], config))
    # Head and widths of the space against those of A2, whose space all MoViNets were scaled from.
    width = max(config.project) / PUBLISHED["a2"].head.project
    try:
        scaled = scale_to_macs(
            architecture, target, config.classes, _DEPTH_AND_WIDTH, Factors(width=width), tolerance=_TOLERANCE
        )
    except InputError as error:
        rule = f"cannot be scaled to this space: {error.value:.0f} {error.rule}; leave it out of the references"
        raise InputError("finals.references", name, rule) from None
    return replace(scaled.architecture, clip=architecture.clip)
