"""Compound scaling of a network and of a space: MoViNets, arXiv 2103.11511, section 3; EfficientNet, arXiv 1905.11946.

Depth, width, resolution and frames grow by alpha^phi, beta^phi, gamma^phi and delta^phi. Rounding to layers, to
channels divisible by 8, to even pixels and to whole frames makes the cost of a scaled network a staircase in phi. So
the phi of a target is found by counting, not by the formula.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Annotated, NamedTuple

import numpy as np

from search_space.architecture import (
    MAX_FRAMES,
    MAX_LAYERS_PER_BLOCK,
    MAX_RESOLUTION,
    Architecture,
    Block,
    Clip,
    Head,
    Layer,
    Stem,
)
from search_space.base.checks import check_integer, check_number
from search_space.base.configuration import configuration, within
from search_space.base.errors import InputError
from search_space.cost.counting import ArchitectureBatch, count, count_batch, pack
from search_space.rounding import make_divisible
from search_space.space.movinet import BlockConfig, SpaceConfig

FULL_DENSE = 2048  # units of the dense layer in all published networks A0-A5
STEPS = 64  # grid points of phi per unit: neighbours differ by 1 % in unrounded cost
PHI_LIMIT = 24  # a factor of 10^7 in both directions
WINDOW = STEPS  # grid points searched on either side of the target: a factor of 2 in unrounded cost
MAX_COEFFICIENT = 16
MAX_FACTOR = 1e30  # far above useful factors, and within floating point: above MAX_COEFFICIENT ** PHI_LIMIT
MAX_TARGET = 1e18
TUNED = 0.25  # largest relative change of frames and pixels to fill a gap in the staircase
TRADED = 0.1  # largest relative change of one of them in the opposite direction


_Factor = Annotated[float, within(1 / MAX_FACTOR, MAX_FACTOR)]
_Coefficient = Annotated[float, within(1, MAX_COEFFICIENT)]


@configuration
class Factors:
    """Factors by which the dimensions are multiplied, before rounding.

    Attributes:
      depth: factor of the number of layers.
      width: factor of all channels.
      resolution: factor of height and width in pixels.
      frames: factor of the number of frames.
    """

    depth: _Factor = 1.0
    width: _Factor = 1.0
    resolution: _Factor = 1.0
    frames: _Factor = 1.0

    def times(self, other: Factors) -> Factors:
        """Return both factors applied one after the other, without rounding in between."""
        return Factors(*(mine * theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@configuration
class Coefficients:
    """Growth of the dimensions per unit of phi.

    Attributes:
      depth: alpha, growth of the number of layers.
      width: beta, growth of all channels.
      resolution: gamma, growth of height and width in pixels.
      frames: delta, growth of the number of frames.
    """

    depth: _Coefficient
    width: _Coefficient
    resolution: _Coefficient
    frames: _Coefficient

    @property
    def growth(self) -> float:
        """Unrounded growth of multiply-adds per unit of phi: depth * width^2 * resolution^2 * frames."""
        return self.depth * self.width**2 * self.resolution**2 * self.frames

    def factors(self, phi: float) -> Factors:
        """Return the factors at `phi`."""
        return Factors(self.depth**phi, self.width**phi, self.resolution**phi, self.frames**phi)


UNSCALED = Factors()

# The four dimensions have about equal shares in the doubling of cost (.27, .23, .22 and .28; width and resolution enter
# squared). The published networks are similar: from A2 to A5 cost grows by 2^4.58, depth by 2^1.18, width^2 by
# 2^1.27, resolution^2 by 2^1.03 and frames by 2^1.26, which are shares of .26, .28, .22 and .28. Their product is 2.11,
# because a part of the cost does not grow, and the third digits are tuned to the rounding: the mean cost of random
# architectures doubles within 5 % per phi from -2 to 3, in the space around A2 and in the default space at full size
# (`expected_growth`, docs/explanation/compound_scaling.md). The paper's coefficients, quoted from memory, multiply to
# 3.16.
DEFAULT_COEFFICIENTS = Coefficients(depth=1.224, width=1.089, resolution=1.085, frames=1.235)


@dataclass(frozen=True)
class Scaled:
    """A network scaled to a target: `architecture == scale(parent, **vars(factors))`, deviation = macs / target - 1."""

    architecture: Architecture
    phi: float
    factors: Factors
    macs: int
    target: int
    deviation: float


def _whole(value: float) -> int:
    """Return the nearest integer, half up, at least 1."""
    return max(1, math.floor(value + 0.5))


def _even(value: float) -> int:
    """Return the nearest even integer, half up, at least 2."""
    return 2 * _whole(value / 2)


def _dense(units: int, width: float) -> int:
    """Scale units with the width, but up to 2048 only, as in the published networks at any width."""
    return min(make_divisible(units * width), max(units, FULL_DENSE))


def _clip(clip: Clip, factors: Factors) -> Clip:
    frames = _whole(clip.frames * factors.frames)
    stride = _whole(clip.frames * clip.frame_stride / frames)
    return Clip(frames, _even(clip.resolution * factors.resolution), stride)


def _layers(layers: tuple[Layer, ...], depth: float) -> Iterator[Layer]:
    repeated = layers[1:] or layers
    wanted = check_integer("block.layers", _whole(len(layers) * depth), 1, MAX_LAYERS_PER_BLOCK)
    for index in range(wanted):
        yield layers[index] if index < len(layers) else repeated[(index - len(layers)) % len(repeated)]


def _block(block: Block, factors: Factors) -> Block:
    wider = tuple(replace(layer, expand=make_divisible(layer.expand * factors.width)) for layer in block.layers)
    layers = tuple(_layers(wider, factors.depth))
    return replace(block, width=make_divisible(block.width * factors.width), layers=layers)


def _scale(architecture: Architecture, factors: Factors) -> Architecture:
    head = architecture.head
    return Architecture(
        clip=_clip(architecture.clip, factors),
        stem=Stem(make_divisible(architecture.stem.width * factors.width)),
        blocks=tuple(_block(block, factors) for block in architecture.blocks),
        head=Head(make_divisible(head.project * factors.width), _dense(head.dense, factors.width)),
    )


def scale(
    architecture: Architecture, depth: float = 1.0, width: float = 1.0, resolution: float = 1.0, frames: float = 1.0
) -> Architecture:
    """Return the architecture with every dimension multiplied by its factor, then rounded.

    Args:
      depth: layers of each block, at least 1. The last ones are removed first; new ones repeat in turn the block's
        layers after the first, or its only layer.
      width: stem, blocks, expansions and head projection, divisible by 8; the dense layer likewise, up to 2048.
      resolution: even pixels.
      frames: whole frames, and the frame stride that best keeps the clip's duration.

    Raises:
      InputError: a factor is not positive, or a dimension leaves the range of `Architecture`.
    """
    return _scale(architecture, Factors(depth, width, resolution, frames))


def compound(
    architecture: Architecture, phi: float, coefficients: Coefficients = DEFAULT_COEFFICIENTS, base: Factors = UNSCALED
) -> Architecture:
    """Return the architecture scaled by `base` and `phi`: `phi + 1` costs about `coefficients.growth` times more."""
    return _scale(architecture, base.times(coefficients.factors(phi)))


class _Step(NamedTuple):
    """One step of the staircase; of steps with equal cost the one with the smallest |phi| comes first."""

    macs: int
    distance: float  # |phi|
    phi: float
    factors: Factors


@dataclass(frozen=True)
class _Staircase:
    """The scalings of a parent over a fixed grid of phi, by exact cost."""

    parent: Architecture
    classes: int
    coefficients: Coefficients
    base: Factors
    largest: Clip | None

    def _at(self, index: int) -> tuple[float, Factors, Architecture] | None:
        """Return the scaling at phi = index / STEPS; None if a dimension leaves the range of `Architecture`."""
        phi = index / STEPS
        try:
            factors = self._within(self.base.times(self.coefficients.factors(phi)))
            return phi, factors, _scale(self.parent, factors)
        except InputError:
            return None

    def _within(self, factors: Factors) -> Factors:
        """Return the factors, with frames and resolution limited to those of the largest clip."""
        if self.largest is None:
            return factors
        frames = min(factors.frames, self.largest.frames / self.parent.clip.frames)
        resolution = min(factors.resolution, self.largest.resolution // 2 * 2 / self.parent.clip.resolution)
        return replace(factors, frames=frames, resolution=resolution)

    def _macs(self, index: int) -> float:
        scaling = self._at(index)
        return count(scaling[2], self.classes).macs if scaling else math.inf

    def _steps(self, indices: Iterable[int]) -> list[_Step]:
        scalings = [scaling for scaling in map(self._at, indices) if scaling]
        if not scalings:
            return []
        macs = count_batch(pack([architecture for *_, architecture in scalings]), self.classes)["macs"].tolist()
        return [_Step(cost, abs(phi), phi, factors) for cost, (phi, factors, _) in zip(macs, scalings, strict=True)]

    def neighbours(self, target: float) -> list[_Step]:
        """Return the steps nearest to the target from below and from above, or only one if the other does not exist."""
        grid = range(-PHI_LIMIT * STEPS, PHI_LIMIT * STEPS + 1)
        # The staircase can fall a little (a skip projection goes when two rounded widths meet), so bisection finds
        # the neighbourhood only.
        middle = bisect.bisect_left(grid, target, key=self._macs)
        window = grid[max(0, middle - WINDOW) : middle + WINDOW + 1]
        steps = sorted(self._steps(window))
        below = sorted((step for step in steps if step.macs <= target), key=lambda step: (-step.macs, step.distance))
        above = [step for step in steps if step.macs >= target]
        return below[:1] + above[:1]

    def refined(self, step: _Step, direction: int) -> Iterator[_Step]:
        """Yield variants of a step with more (direction 1) or fewer (-1) frames and pixels, or one for the other."""
        scaled = _scale(self.parent, step.factors)
        clip, parent = scaled.clip, self.parent.clip

        def moved(value: int, unit: int) -> np.ndarray:
            back, forth = (unit * int(value * share / unit) for share in (TRADED, TUNED))
            return value + direction * np.arange(-back, forth + 1, unit)

        most = self.largest or Clip(MAX_FRAMES, MAX_RESOLUTION, 1)
        frames, pixels = moved(clip.frames, 1), moved(clip.resolution, 2)
        frames, pixels = np.meshgrid(frames[frames <= most.frames], pixels[pixels <= most.resolution])
        macs = _macs_of_clips(scaled, self.classes, frames.ravel(), pixels.ravel())
        for cost, t, size in zip(macs.tolist(), frames.ravel().tolist(), pixels.ravel().tolist(), strict=True):
            factors = replace(step.factors, frames=t / parent.frames, resolution=size / parent.resolution)
            yield _Step(cost, step.distance, step.phi, factors)

    def between(self, lower: _Step, upper: _Step) -> list[_Step]:
        """Return the steps that fill the gap between two steps, both included."""
        candidates = [*self.refined(lower, 1), *self.refined(upper, -1)]
        return [step for step in candidates if lower.macs <= step.macs <= upper.macs]


def _macs_of_clips(architecture: Architecture, classes: int, frames: np.ndarray, resolution: np.ndarray) -> np.ndarray:
    """Return multiply-adds of one network on clips of `frames` int64 [N] and `resolution` int64 [N]."""
    one = vars(pack([architecture]))
    arrays = {name: array for name, array in one.items() if name != "strides"}
    tiled = {name: np.broadcast_to(array, (len(frames), *array.shape[1:])) for name, array in arrays.items()}
    tiled |= {"frames": frames, "resolution": resolution}
    return count_batch(ArchitectureBatch(strides=one["strides"], **tiled), classes)["macs"]


def scale_to_macs(
    architecture: Architecture,
    target: float,
    classes: int,
    coefficients: Coefficients = DEFAULT_COEFFICIENTS,
    base: Factors = UNSCALED,
    tolerance: float = 0.02,
    largest: Clip | None = None,
) -> Scaled:
    """Return the architecture scaled by `base` and the phi whose exact cost is nearest to `target` multiply-adds.

    If rounding leaves no phi within `tolerance` (a fraction of the target), the gap in the staircase is filled. Frames
    and pixels are added to its lower step, removed from its upper one, or traded for each other. The set of candidates
    does not depend on the target, so that a larger target never gives a cheaper network.

    `largest` limits frames and pixels; depth and width then grow further.

    Raises:
      InputError: no scaling is within the tolerance; the message has the nearest.
    """
    check_number("target", target, 1, MAX_TARGET)
    check_number("tolerance", tolerance, 0, 1)
    staircase = _Staircase(architecture, classes, coefficients, base, largest)

    def miss(step: _Step) -> tuple[float, int]:
        return abs(step.macs - target), step.macs

    steps = staircase.neighbours(target)
    if len(steps) == 2 and min(map(miss, steps))[0] > tolerance * target:
        steps = staircase.between(*steps)
    best = min(steps, key=miss, default=None)
    if best is None or miss(best)[0] > tolerance * target:
        nearest = f"; the nearest costs {best.macs}" if best else ""
        raise InputError("target", target, f"multiply-adds: no scaling is within {tolerance:.1%}{nearest}")
    scaled = _scale(architecture, best.factors)
    return Scaled(scaled, best.phi, best.factors, best.macs, round(target), best.macs / target - 1)


def _options(values: Iterable[int], scaled: Callable[[int], int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(scaled(value) for value in values))


def _scale_block(block: BlockConfig, factors: Factors) -> BlockConfig:
    return replace(
        block,
        base_width=make_divisible(block.base_width * factors.width),
        widths=_options(block.widths, lambda width: make_divisible(width * factors.width)),
        depths=_options(block.depths, lambda depth: _whole(depth * factors.depth)),
    )


def scale_space(
    config: SpaceConfig, phi: float, coefficients: Coefficients = DEFAULT_COEFFICIENTS, base: Factors = UNSCALED
) -> SpaceConfig:
    """Return the space with every option scaled by `base` and `phi` as by `scale`; equal options are merged.

    Frames are those of the source, so the clip's length changes and the frame strides stay, except those longer than
    the clip. Kernels, expansion ratios and squeeze-excite do not change.

    Raises:
      InputError: an option leaves its range.
    """
    factors = base.times(coefficients.factors(phi))
    frames = _whole(config.frames * factors.frames)

    def widths(values: Iterable[int]) -> tuple[int, ...]:
        return _options(values, lambda value: make_divisible(value * factors.width))

    return replace(
        config,
        frames=frames,
        frame_strides=_options(config.frame_strides, lambda stride: min(stride, frames)),
        resolutions=_options(config.resolutions, lambda size: _even(size * factors.resolution)),
        stem_widths=widths(config.stem_widths),
        blocks=tuple(_scale_block(block, factors) for block in config.blocks),
        project=widths(config.project),
        dense=_dense(config.dense, factors.width),
    )
