"""Coefficients for which the expected cost of a random architecture of a space doubles per unit of phi.

MoViNets, arXiv 2103.11511, section 3, and EfficientNet, arXiv 1905.11946: depth * width^2 * resolution^2 * frames = 2
doubles the cost of a network that consists of pointwise convolutions and is never rounded. Depthwise convolutions,
stem and head grow by less, and rounding makes even the mean over a whole space a staircase in phi: at a product of 2
a step is a factor from 1.78 to 2 in the space around A2. So the growth is solved by counting.

Architectures of the space are scaled, as for a family, not the space itself: a scaled space merges equal options, so
its architectures are not the scaled ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.cost.counting import ArchitectureBatch, count_batch, pack
from search_space.rounding import DIVISOR
from search_space.scaling.compound import FULL_DENSE, UNSCALED, Coefficients, Factors
from search_space.space.movinet import SpaceConfig, movinet_space
from search_space.space.sampling import Limit, sample_feasible

PHIS = (-2, -1, 0, 1, 2, 3)  # about the range from A0 to A5 around a parent in between
TOLERANCE = 0.05  # relative tolerance of the ratio 2, at every step
DIMENSIONS = tuple(field.name for field in fields(Coefficients))
_EXPONENTS = np.array([1, 2, 2, 1])  # of the dimensions in the cost of a pointwise convolution
_ITERATIONS = 4  # of a growth that is proportional except for rounding
_TRIALS = 150
_REACH = 0.015  # standard deviation of the trials, in log-cost per dimension


def _whole(values: np.ndarray) -> np.ndarray:
    return np.maximum(1, np.floor(values + 0.5).astype(np.int64))


def _divisible(values: np.ndarray) -> np.ndarray:
    """Return `rounding.make_divisible` of an array."""
    rounded = np.maximum(DIVISOR, np.floor(values + DIVISOR / 2).astype(np.int64) // DIVISOR * DIVISOR)
    return np.where(rounded < 0.9 * values, rounded + DIVISOR, rounded)


def _repeated(depth: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Return the source layer of each layer of the scaled block: depths [N, B] -> [N, B, L]."""
    layer, before = np.arange(scaled.max()), depth[..., None]
    repeated = np.where(before > 1, 1 + (layer - before) % np.maximum(before - 1, 1), 0)
    return np.where(layer < before, layer, repeated)


def scale_batch(batch: ArchitectureBatch, factors: Factors) -> ArchitectureBatch:
    """Apply `scaling.scale` to N candidates at once."""
    depth = _whole(batch.depth * factors.depth)
    source = _repeated(batch.depth, depth)

    def layers(values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, source, axis=-1)

    return ArchitectureBatch(
        frames=_whole(batch.frames * factors.frames),
        resolution=2 * _whole(batch.resolution * factors.resolution / 2),
        stem=_divisible(batch.stem * factors.width),
        width=_divisible(batch.width * factors.width),
        depth=depth,
        strides=batch.strides,
        expand=_divisible(layers(batch.expand) * factors.width),
        kernel_time=layers(batch.kernel_time),
        kernel_space=layers(batch.kernel_space),
        squeeze_excite=layers(batch.squeeze_excite),
        project=_divisible(batch.project * factors.width),
        dense=np.minimum(_divisible(batch.dense * factors.width), np.maximum(batch.dense, FULL_DENSE)),
    )


def random_members(
    config: SpaceConfig, rng: np.random.Generator, n: int, limits: Sequence[Limit] = ()
) -> ArchitectureBatch:
    """Draw n architectures within the limits, uniformly over the options of every choice.

    Raises:
      InputError: no architecture is within the limits.
    """
    space = movinet_space(config)
    genotypes = sample_feasible(space, rng, check_integer("members", n, 1, 10**6), limits)
    return pack([space.decode(tuple(row)) for row in genotypes.tolist()])


@dataclass(frozen=True)
class ExpectedCost:
    """Mean multiply-adds of random architectures, scaled by `base` and phi.

    Attributes:
      members: a sample of the space.
      classes: outputs.
      base: proxy-to-full scaling, applied before phi.
    """

    members: ArchitectureBatch
    classes: int
    base: Factors = UNSCALED

    def at(self, coefficients: Coefficients, phi: float) -> float:
        """Return the mean at one phi."""
        scaled = scale_batch(self.members, self.base.times(coefficients.factors(phi)))
        return float(count_batch(scaled, self.classes)["macs"].mean())

    def steps(self, coefficients: Coefficients, phis: Sequence[float] = PHIS) -> np.ndarray:
        """Return the growth of the mean from each of P phis to the next one: `[P - 1]`."""
        means = np.array([self.at(coefficients, phi) for phi in phis])
        return means[1:] / means[:-1]

    def miss(self, coefficients: Coefficients) -> float:
        """Return the largest relative deviation of a step of `PHIS` from a doubling."""
        return float(np.abs(self.steps(coefficients) / 2 - 1).max())

    def doubles(self, coefficients: Coefficients, tolerance: float = TOLERANCE) -> bool:
        """Return whether each step of `PHIS` is a doubling, within a relative tolerance."""
        before = self.at(coefficients, PHIS[0])
        for phi in PHIS[1:]:  # most that fail do so early
            after = self.at(coefficients, phi)
            if abs(after / before / 2 - 1) > tolerance:
                return False
            before = after
        return True


def of_shares(shares: Sequence[float], growth: float) -> Coefficients:
    """Return coefficients whose product is `growth`, each dimension with its share; shares add up to 1."""
    return Coefficients(*(growth ** (np.asarray(shares) / _EXPONENTS)).tolist())


def shares_of(coefficients: Coefficients) -> dict[str, float]:
    """Return the share of each dimension in the unrounded growth, by name; they add up to 1."""
    logs = np.log([getattr(coefficients, name) for name in DIMENSIONS]) * _EXPONENTS
    return dict(zip(DIMENSIONS, (logs / logs.sum()).tolist(), strict=True))


def solve(
    shares: Sequence[float], expected: ExpectedCost, rng: np.random.Generator, tolerance: float = TOLERANCE
) -> Coefficients | None:
    """Return coefficients near these proportions for which every step of `PHIS` is a doubling within `tolerance`.

    With the growth that fits all steps together, single steps deviate by up to a tenth. So coefficients about a percent
    around it are tried until every step fits; None if there are none.
    """
    middle = np.array(astuple(_right_over_all(shares, expected)))
    for i in range(_TRIALS):
        nearby = middle * np.exp(rng.normal(0, _REACH * (i > 0), len(middle)) / _EXPONENTS)
        coefficients = Coefficients(*np.maximum(nearby, 1).tolist())
        if expected.doubles(coefficients, tolerance):
            return coefficients
    return None


def _right_over_all(shares: Sequence[float], expected: ExpectedCost) -> Coefficients:
    doublings = PHIS[-1] - PHIS[0]
    growth = 2.0
    for _ in range(_ITERATIONS):
        (total,) = expected.steps(of_shares(shares, growth), (PHIS[0], PHIS[-1]))
        growth *= 2 / total ** (1 / doublings)
    return of_shares(shares, growth)


def draw(
    rng: np.random.Generator, expected: ExpectedCost, concentration: float = 2.0, draws: int = 100
) -> Coefficients:
    """Draw random proportions (symmetric Dirichlet), and solve for the growth that doubles the expected cost.

    Proportions without a solution are drawn again. The tolerance for this sample is a little below `TOLERANCE`, so that
    the result also holds for other samples.

    Raises:
      InputError: no solution; the architectures are so small that hardly any doubles.
    """
    for _ in range(draws):
        shares = rng.dirichlet([concentration] * len(DIMENSIONS))
        found = solve(shares.tolist(), expected, rng, 0.85 * TOLERANCE)
        if found:
            return found
    rule = f"proportions were drawn, but for none the expected cost doubles within {TOLERANCE:.0%} at every step"
    raise InputError("coefficients", draws, rule)
