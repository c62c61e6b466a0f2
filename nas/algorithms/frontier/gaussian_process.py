"""Gaussian process that predicts the objective of untrained architectures.

Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5. The squared exponential
kernel over fixed one-hot slots is a product of one Hamming kernel per choice; absence is one value of a choice. Log
costs are further coordinates of it. In addition, log costs have a linear trend and options additive effects, which need
fewer results than the product. Kernel and noise parameters maximise the posterior density.

`n` is a number of architectures, `G` of choices, `m` of costs, `F` of features, `P` of parameters.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_space.base.errors import InputError
from search_space.space.choices import SearchSpace

# Priors of the logarithms of parameters, for values of mean 0 and variance 1: centres, and standard deviations
# of the part common to a kind of choices and of the part of a single choice. The weights of the choices initially sum
# to _SPREAD, so that two random architectures are moderately similar. The prior of the common part is wide, as the
# important kinds depend on the task; with a narrower one a search takes longer (results/published/arena/README.md).
_SPREAD = 2.0
_COST_WEIGHT = 0.1
_SCALE = 1.0
_TREND = 0.5
_EFFECT = 1.0
_NOISE = 0.1
_COMMON_SD = 3.0
_OWN_SD = 0.7
_SLOPE_SD = 0.7

# Share of the unexplained variance that belongs to the architecture, so that another training would repeat it. Without
# repeats the data cannot estimate it, and with few trainings one is a large part of their mean.
_OWN_SHARE = 0.5
_JITTER = 1e-6
_MORE = (1e-8, 1e-6, 1e-4, 1e-2)  # fractions of the mean variance, added if a covariance is not positive definite
_FAR = 2.5  # widths of the first log cost beyond which the noise is constant

# Resilient propagation (Riedmiller and Braun 1993): step sizes of log parameters.
_FIRST_STEP, _LEAST_STEP, _LARGEST_STEP = 0.2, 1e-3, 1.0
_ITERATIONS = 30


class Encoding:
    """Encoding of architectures as points; their weighted squared distance measures the difference.

    Features are one-hot slots of every choice, then the log costs, scaled by `center` and `width` [m].

    Attributes:
      axis_of: int [F], the choice or cost of each feature, numbered together.
      kind_of: int [G + m], the kind of each choice or cost; choices of a kind have equal names except for numbers.
    """

    def __init__(self, space: SearchSpace[Any], center: np.ndarray, width: np.ndarray) -> None:
        self.space, self.center, self.width = space, center, width
        self.costs = len(center)
        slots = [len(choice.options) + (choice.condition is not None) for choice in space.choices]
        self.axis_of = np.repeat(np.arange(len(slots) + self.costs), slots + [1] * self.costs)
        kinds = [_kind(choice.name) for choice in space.choices] + [f"cost {i}" for i in range(self.costs)]
        names = list(dict.fromkeys(kinds))
        self.kind_of = np.array([names.index(kind) for kind in kinds])

    def __call__(self, genotypes: np.ndarray, log_costs: np.ndarray) -> np.ndarray:
        """Encode canonical genotypes int [n, G] with log costs [n, m] as features [n, F]."""
        # Architectures that differ in a choice differ in two slots: together 1.
        slots = self.space.one_hot(genotypes) * math.sqrt(0.5)
        return np.concatenate([slots, (log_costs - self.center) / self.width], axis=1, dtype=np.float64)

    def place(self, features: np.ndarray) -> np.ndarray:
        """Return the position of features [n, F] in the range of the first log cost: [n]."""
        return np.clip(features[:, -self.costs], -_FAR, _FAR)


def _kind(name: str) -> str:
    """Return `kernel` for `block1.layer2.kernel` and for `kernel3`."""
    return name.rpartition(".")[2].rstrip("0123456789_")


@dataclass(frozen=True)
class Kernel:
    """A prior for values of mean 0 and variance 1.

    Attributes:
      weights: weight of each choice and each log cost in the squared distance, [G + m].
      scale: variance of the part that depends on the distance; trend: of the slope in a log cost; effect: of an option.
      noise: unexplained variance at the center of the first log cost; slope: of its logarithm there.
    """

    weights: np.ndarray
    scale: float
    trend: float
    effect: float
    noise: float
    slope: float

    def similarity(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return exp(-1/2 squared distance) of features [n, F] and [k, F]: [n, k]."""
        root = np.sqrt(self.weights[encoding.axis_of])
        a, b = a * root, b * root
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        return np.exp(-0.5 * np.maximum(squared, 0))

    def line(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return the covariance of the part linear in log costs and options, with an unknown mean: [n, k]."""
        k = encoding.costs
        return 1 + self.trend * a[:, -k:] @ b[:, -k:].T + self.effect * a[:, :-k] @ b[:, :-k].T

    def unexplained(self, a: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return the variance that no feature explains: [n]."""
        return self.noise * np.exp(self.slope * encoding.place(a))

    def between(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return the covariance of the values, without noise of training, of features [n, F] and [k, F]: [n, k]."""
        similar = self.similarity(a, b, encoding)
        covariance = self.scale * similar + self.line(a, b, encoding)
        rows, columns = np.nonzero(_same(similar))
        own = np.sqrt(self.unexplained(a[rows], encoding) * self.unexplained(b[columns], encoding))
        covariance[rows, columns] += _OWN_SHARE * own
        return covariance

    def variance(self, a: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return the diagonal of `between(a, a)`: [n]."""
        k = encoding.costs
        line = 1 + self.trend * (a[:, -k:] ** 2).sum(axis=1) + self.effect * (a[:, :-k] ** 2).sum(axis=1)
        return self.scale + line + _OWN_SHARE * self.unexplained(a, encoding)

    def noise_of_training(self, a: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Return the variance between trainings of one architecture: [n]."""
        return (1 - _OWN_SHARE) * self.unexplained(a, encoding) + _JITTER


def _same(similar: np.ndarray) -> np.ndarray:
    """Return which pairs are one architecture: their distance is 0 except for rounding."""
    return similar > 1 - 1e-9


def cholesky(covariance: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor of a covariance [n, n]; add variance if rounding made it indefinite.

    Raises:
      InputError: the matrix is not finite, or far from positive definite.
    """
    variance = float(np.diag(covariance).mean())
    for more in (0.0, *_MORE):
        with suppress(np.linalg.LinAlgError):
            matrix = covariance + more * variance * np.eye(len(covariance)) if more else covariance
            factor = np.linalg.cholesky(matrix)
            if np.isfinite(factor).all():
                return factor
    rule = (
        "is the mean variance of a covariance that is not positive definite; the surrogate cannot model these results"
    )
    raise InputError("surrogate", variance, rule)


def inverse(covariance: np.ndarray) -> np.ndarray:
    """Return the inverse of a covariance [n, n]; `InputError` as in `cholesky`."""
    root = np.linalg.inv(cholesky(covariance))
    return root.T @ root


class LogPosterior:
    """The posterior density of the parameters given features [n, F] and values [n].

    Parameters are logarithms [P]: of the common part of each kind, of the part of each choice, of scale, trend, effect
    and noise; the last is the slope of the noise. `extra` [n] is the variance of each value beyond the noise of a
    training.
    """

    def __init__(self, encoding: Encoding, features: np.ndarray, values: np.ndarray, extra: np.ndarray) -> None:
        self.encoding, self.features, self.values, self.extra = encoding, features, values, extra
        self.kinds, self.axes = encoding.kind_of.max() + 1, len(encoding.kind_of)
        common = np.full(self.kinds, _SPREAD / len(encoding.space.choices))
        common[self.kinds - encoding.costs :] = _COST_WEIGHT
        effect = _EFFECT / len(encoding.space.choices)
        self.center = np.array([*np.log([*common, *[1.0] * self.axes, _SCALE, _TREND, effect, _NOISE]), 0.0])
        sds = [_COMMON_SD, _OWN_SD, _COMMON_SD, _SLOPE_SD]
        self.sd = np.repeat(sds, [self.kinds, self.axes, 4, 1])

    def kernel(self, parameters: np.ndarray) -> Kernel:
        """Return the kernel of parameters [P]."""
        common, own, rest = np.split(parameters, [self.kinds, self.kinds + self.axes])
        weights = np.exp(common[self.encoding.kind_of] + own)
        scale, trend, effect, noise = np.exp(rest[:4]).tolist()
        return Kernel(weights, scale, trend, effect, noise, float(rest[4]))

    def loss(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the negative log density of parameters [P], up to a constant, and its gradient [P]."""
        kernel, x, away = self.kernel(parameters), self.features, (parameters - self.center) / self.sd
        similar, line = kernel.similarity(x, x, self.encoding), kernel.line(x, x, self.encoding)
        unexplained = np.sqrt(kernel.unexplained(x, self.encoding))
        own = _OWN_SHARE * _same(similar) + (1 - _OWN_SHARE) * np.eye(len(x))
        noise = own * np.outer(unexplained, unexplained)
        covariance = kernel.scale * similar + line + noise
        covariance[np.diag_indices_from(covariance)] += self.extra + _JITTER
        factor = cholesky(covariance)
        root = np.linalg.inv(factor)
        inverse = root.T @ root
        alpha = inverse @ self.values
        density = 0.5 * self.values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        # d/dp = 1/2 sum(inner * dK/dp)
        inner = inverse - np.outer(alpha, alpha)
        shared, noisy = kernel.scale * inner * similar, (inner * noise).sum(axis=1)
        pulls = (x**2).T @ shared.sum(axis=1) - np.einsum("if,if->f", x, shared @ x)
        of_axes = -0.5 * kernel.weights * np.bincount(self.encoding.axis_of, pulls)
        of_kinds = np.bincount(self.encoding.kind_of, of_axes)
        k = self.encoding.costs
        trend = kernel.trend * (inner * (x[:, -k:] @ x[:, -k:].T)).sum()
        effect = kernel.effect * (inner * (x[:, :-k] @ x[:, :-k].T)).sum()
        rest = 0.5 * np.array([shared.sum(), trend, effect, noisy.sum(), noisy @ self.encoding.place(x)])
        return float(density), np.concatenate([of_kinds, of_axes, rest]) + away / self.sd

    def fit(self) -> Kernel:
        """Return the kernel of highest density found in a bounded number of steps."""
        parameters = best = self.center
        step, before, lowest = np.full(len(best), _FIRST_STEP), np.zeros(len(best)), math.inf
        for _ in range(_ITERATIONS):
            density, gradient = self.loss(parameters)
            if density < lowest:
                lowest, best = density, parameters
            turned = gradient * before
            step = np.clip(step * np.where(turned > 0, 1.3, np.where(turned < 0, 0.5, 1.0)), _LEAST_STEP, _LARGEST_STEP)
            before = np.where(turned < 0, 0.0, gradient)
            parameters = parameters - np.sign(before) * step
        return self.kernel(best)


class Posterior:
    """Prediction of architectures from a kernel and measured values of others.

    Args:
      features: of trained architectures, [n, F]; repeats of one are further data.
      values: measured, [n], with the variance `extra` [n] beyond the noise of a training.
      pending: of those in training, [k, F]; their values are assumed to equal the mean, which reduces only the
        variance.
    """

    def __init__(
        self,
        kernel: Kernel,
        encoding: Encoding,
        features: np.ndarray,
        values: np.ndarray,
        extra: np.ndarray,
        pending: np.ndarray | None = None,
    ) -> None:
        self.kernel, self.encoding = kernel, encoding
        self.trained = self.features = features
        self._inverse = inverse(self._covariance(features, extra))
        self._alpha = self._inverse @ values
        if pending is not None and len(pending):
            self.features = np.concatenate([features, pending])
            across = kernel.between(pending, features, encoding)
            carried = across @ self._inverse
            # Inverse of a block matrix (Rasmussen and Williams 2006, A.3): much faster than inverting the whole.
            corner = inverse(self._covariance(pending, 0.0) - carried @ across.T)
            side = corner @ carried
            self._inverse = np.block([[self._inverse + carried.T @ side, -side.T], [-side, corner]])

    def _covariance(self, features: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        """Return the covariance of measurements of architectures, [n, n]."""
        covariance = self.kernel.between(features, features, self.encoding)
        covariance[np.diag_indices_from(covariance)] += self.kernel.noise_of_training(features, self.encoding) + extra
        return covariance

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Return the expected value of architectures, without noise of training, [n]."""
        return self.kernel.between(features, self.trained, self.encoding) @ self._alpha

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the value of architectures, without noise of training, each [n]."""
        across = self.kernel.between(features, self.features, self.encoding)
        explained = np.einsum("ij,ij->i", across @ self._inverse, across)
        variance = self.kernel.variance(features, self.encoding) - explained
        return across[:, : len(self.trained)] @ self._alpha, np.sqrt(np.maximum(variance, 1e-12))
