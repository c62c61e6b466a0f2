"""A Gaussian process on the objective of architectures: what is known of those not yet trained.

Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5. The squared exponential
kernel over fixed one-hot slots, an absent choice being a value of its own, is a product of one Hamming kernel per
choice; log costs are further coordinates of it, and carry a linear trend besides. The parameters of kernel and noise
are those of highest posterior density given the data.

`n` is a number of architectures, `G` of choices, `m` of costs, `F` of features, `P` of parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_space.space import SearchSpace

# Priors of the logarithms of parameters, for values of mean 0 and variance 1: centres, and the standard deviations
# of what is common to a kind of choices and of what is a choice's own. The weights of the choices sum to _SPREAD at
# first, so that two random members are neither alike nor strangers.
_SPREAD = 2.0
_COST_WEIGHT = 0.3
_SCALE = 1.0
_TREND = 0.5
_NOISE = 0.1
_COMMON_SD = 1.0
_OWN_SD = 0.7
_LEAST_NOISE = 1e-4

# Resilient propagation (Riedmiller and Braun 1993): step sizes of log parameters.
_FIRST_STEP, _LEAST_STEP, _LARGEST_STEP = 0.2, 1e-3, 1.0
_ITERATIONS = 30


class Encoding:
    """Architectures as points whose weighted squared distance is what differs between them.

    One-hot slots of every choice, then the log costs, to which `center` and `width` give scale [m].

    Attributes:
      axis_of: int [F], of each feature the choice or cost it belongs to, counted together.
      kind_of: int [G + m], of each choice or cost its kind: of choices those named alike but for their numbers.
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
        """Canonical genotypes int [n, G] with log costs [n, m] -> features [n, F]."""
        # Members that differ in a choice differ in two slots: together 1.
        slots = self.space.one_hot(genotypes) * math.sqrt(0.5)
        return np.concatenate([slots, (log_costs - self.center) / self.width], axis=1, dtype=np.float64)


def _kind(name: str) -> str:
    """`kernel` for `block1.layer2.kernel` and for `kernel3`."""
    return name.rpartition(".")[2].rstrip("0123456789_")


@dataclass(frozen=True)
class Kernel:
    """A prior for values of mean 0 and variance 1.

    Attributes:
      weights: how much each choice and each log cost counts in the squared distance, [G + m].
      scale: variance of what depends on that distance; trend: of the slope in a log cost.
      noise: variance between two trainings of one architecture.
    """

    weights: np.ndarray
    scale: float
    trend: float
    noise: float

    def between(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """Covariance of the values without noise of features [n, F] and [k, F]: [n, k]."""
        return self.similarity(a, b, encoding) + self.line(a, b, encoding)

    def similarity(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """The part of `between` that depends on the distance."""
        root = np.sqrt(self.weights[encoding.axis_of])
        a, b = a * root, b * root
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
        return self.scale * np.exp(-0.5 * np.maximum(squared, 0))

    def line(self, a: np.ndarray, b: np.ndarray, encoding: Encoding) -> np.ndarray:
        """The part of `between` that is linear in log costs, with an unknown mean."""
        return 1 + self.trend * a[:, -encoding.costs :] @ b[:, -encoding.costs :].T

    def variance(self, a: np.ndarray, encoding: Encoding) -> np.ndarray:
        """The diagonal of `between(a, a)`: [n]."""
        return self.scale + 1 + self.trend * (a[:, -encoding.costs :] ** 2).sum(axis=1)


class Evidence:
    """The posterior density of the parameters given features [n, F] and values [n].

    Parameters are logarithms [P]: of what is common to each kind, of what is each choice's own, of scale, trend and
    noise. `extra` [n] is the variance of each value beyond the noise of a training.
    """

    def __init__(self, encoding: Encoding, features: np.ndarray, values: np.ndarray, extra: np.ndarray) -> None:
        self.encoding, self.features, self.values, self.extra = encoding, features, values, extra
        self.kinds, self.axes = encoding.kind_of.max() + 1, len(encoding.kind_of)
        common = np.full(self.kinds, _SPREAD / len(encoding.space.choices))
        common[self.kinds - encoding.costs :] = _COST_WEIGHT
        self.center = np.log([*common, *[1.0] * self.axes, _SCALE, _TREND, _NOISE])
        self.sd = np.repeat([_COMMON_SD, _OWN_SD, _COMMON_SD], [self.kinds, self.axes, 3])

    def kernel(self, logs: np.ndarray) -> Kernel:
        """The kernel of parameters [P]."""
        common, own, rest = np.split(logs, [self.kinds, self.kinds + self.axes])
        scale, trend, noise = np.exp(rest).tolist()
        return Kernel(np.exp(common[self.encoding.kind_of] + own), scale, trend, noise + _LEAST_NOISE)

    def loss(self, logs: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log density of parameters [P], up to a constant, and its gradient [P]."""
        kernel, x, away = self.kernel(logs), self.features, (logs - self.center) / self.sd
        similar, line = kernel.similarity(x, x, self.encoding), kernel.line(x, x, self.encoding)
        factor = np.linalg.cholesky(similar + line + np.diag(kernel.noise + self.extra))
        root = np.linalg.inv(factor)
        inverse = root.T @ root
        alpha = inverse @ self.values
        density = 0.5 * self.values @ alpha + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        # d/dp = 1/2 sum(inner * dK/dp)
        inner = inverse - np.outer(alpha, alpha)
        shared = inner * similar
        pulls = (x**2).T @ shared.sum(axis=1) - np.einsum("if,if->f", x, shared @ x)
        own = -0.5 * kernel.weights * np.bincount(self.encoding.axis_of, pulls)
        common = np.bincount(self.encoding.kind_of, own)
        noise = np.trace(inner) * (kernel.noise - _LEAST_NOISE)
        rest = 0.5 * np.array([shared.sum(), (inner * (line - 1)).sum(), noise])
        return float(density), np.concatenate([common, own, rest]) + away / self.sd

    def fit(self) -> Kernel:
        """The kernel of highest density found in a bounded number of steps."""
        logs = best = self.center
        step, before, lowest = np.full(len(logs), _FIRST_STEP), np.zeros(len(logs)), math.inf
        for _ in range(_ITERATIONS):
            density, gradient = self.loss(logs)
            if density < lowest:
                lowest, best = density, logs
            turned = gradient * before
            step = np.clip(step * np.where(turned > 0, 1.3, np.where(turned < 0, 0.5, 1.0)), _LEAST_STEP, _LARGEST_STEP)
            before = np.where(turned < 0, 0.0, gradient)
            logs = logs - np.sign(before) * step
        return self.kernel(best)


class Posterior:
    """What a kernel and values of architectures say about others.

    Args:
      features: of those that were trained, [n, F]; repeats of one are further data.
      values: measured, [n], with the variance `extra` [n] beyond the noise of a training.
    """

    def __init__(
        self, kernel: Kernel, encoding: Encoding, features: np.ndarray, values: np.ndarray, extra: np.ndarray
    ) -> None:
        self.kernel, self.encoding, self.features = kernel, encoding, features
        covariance = kernel.between(features, features, encoding)
        covariance[np.diag_indices_from(covariance)] += kernel.noise + extra
        self._inverse = np.linalg.inv(covariance)
        self._alpha = self._inverse @ values

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Expected objective without noise, [n]."""
        return self.kernel.between(features, self.features, self.encoding) @ self._alpha

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the objective without noise, each [n]."""
        across = self.kernel.between(features, self.features, self.encoding)
        explained = np.einsum("ij,ij->i", across @ self._inverse, across)
        variance = self.kernel.variance(features, self.encoding) - explained
        return across @ self._alpha, np.sqrt(np.maximum(variance, 1e-12))
