"""Variance between architectures beyond cost, variance between seeds, and their intraclass correlation.

Model: training j of architecture i measures y_ij = trend(log cost_i) + a_i + e_ij, a one-way random-effects model
beside a fixed trend. The reliability of one training is the intraclass correlation var(a) / (var(a) + var(e)):
ICC(1) of Shrout & Fleiss 1979, "Intraclass Correlations", and of McGraw & Wong 1996, "Forming Inferences About Some
Intraclass Correlation Coefficients".

Estimator: the analysis of variance with unequal numbers of seeds and a fixed trend (Henderson's method 3; Searle,
Casella & McCulloch 1992, "Variance Components", chapter 5). With N trainings of R architectures and a trend of rank p,

    E[squares within architectures]              = (N - R) var(e)
    E[squares between architectures, trend out]  = (R - p) var(e) + k var(a),   k = N - trace(G^-1 H),

where G and H are the sums over architectures of n_i x_i x_i' and n_i^2 x_i x_i', n_i is the number of seeds and x_i the
terms of the trend. Both variances are unbiased for any R > p, because the degrees of freedom of the trend are counted.
Without a trend this is the textbook ICC(1) with k / (R - 1) in place of the number of seeds.

The trend is a quadratic in log cost. Means within cost bins take about as many degrees of freedom and leave the trend
inside each bin, which would count as a difference between architectures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """Unbiased variances, float [draws]: `between` architectures beyond the trend (may be below 0), `within` them."""

    between: np.ndarray
    within: np.ndarray

    @property
    def reliability(self) -> np.ndarray:
        """Intraclass correlation of one training; NaN where nothing varies."""
        total = self.between + self.within
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(total > 0, self.between / total, np.nan)


def cost_trend(cost: np.ndarray) -> np.ndarray:
    """Terms of the trend for costs [R]: 1, log cost and its square, centred and scaled; float [R, 3]."""
    logs = np.log(cost)
    unit = (logs - logs.mean()) / max(float(logs.std()), 1e-12)
    return np.stack([np.ones_like(unit), unit, unit**2 - (unit**2).mean()], axis=1)


def components(values: np.ndarray, trend: np.ndarray, copies: np.ndarray | None = None) -> Components:
    """Estimate the variance components of trainings.

    Args:
      values: float [R, S], NaN where a training is missing.
      trend: float [R, p], terms of the fixed trend of each architecture.
      copies: int [draws, R], how often a bootstrap draw contains each architecture; default: one draw with each once.
        Copies count as different architectures. A trend fitted to a draw also follows the drawn residuals, which makes
        them smaller by (R - p) / R. So the draws are scaled up by that factor (as in Davison & Hinkley 1997, section
        6.2.3); the estimate is not.

    NaN where the trend leaves no degree of freedom, or no architecture has two trainings.
    """
    there = np.isfinite(values)
    counts = there.sum(axis=1)
    used = counts > 0
    values, trend, there, counts = values[used], trend[used], there[used], counts[used].astype(float)
    weights = np.ones((1, len(values))) if copies is None else copies[:, used].astype(float)
    filled = np.where(there, values, 0)
    shift = filled.sum() / max(counts.sum(), 1)  # against rounding errors: subtract the mean before squaring
    means = filled.sum(axis=1) / np.maximum(counts, 1) - shift
    inside = np.where(there, filled - shift - means[:, None], 0)
    squares_within = weights @ (inside**2).sum(axis=1)
    gram = _sums(weights, counts[:, None, None] * trend[:, :, None] * trend[:, None, :])
    second = _sums(weights, (counts**2)[:, None, None] * trend[:, :, None] * trend[:, None, :])
    along = weights @ (counts[:, None] * means[:, None] * trend)
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    squares_between = weights @ (counts * means**2) - np.einsum("dp,dpq,dq->d", along, inverse, along)
    trainings, architectures = weights @ counts, weights.sum(axis=1)
    free = architectures - np.linalg.matrix_rank(gram, tol=1e-10 * np.abs(gram).max(axis=(1, 2)), hermitian=True)
    if copies is not None:
        squares_between = squares_between * architectures / np.maximum(free, 1)
    weight = trainings - np.einsum("dpq,dqp->d", inverse, second)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = np.where(trainings > architectures, squares_within / (trainings - architectures), np.nan)
        between = np.where((free > 0) & (weight > 1e-9), (squares_between - free * within) / weight, np.nan)
    return Components(between, within)


def _sums(weights: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Return the sum over architectures: [draws, R], [R, p, p] -> [draws, p, p]."""
    return np.einsum("dr,rpq->dpq", weights, terms, optimize=True)
