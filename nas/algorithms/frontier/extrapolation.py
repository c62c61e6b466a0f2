"""Extrapolation of trials that were stopped early to the full budget, by regression on completed trials.

Early stopping selects by the early value, so completed trials are no random sample. But it selects by the predictor of
the regression only, which does not bias the regression of full on early values. Residuals are weighted by Huber's
function (Huber 1964, "Robust Estimation of a Location Parameter"), because single trainings start to learn late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST = 4  # pairs of an early and a full value
_RIDGE = 0.5  # pseudo-observations that pull slopes to 0 where pairs are few
_HUBER = 1.345
_MAD = 1.4826  # standard deviations of a normal distribution for one median absolute deviation
_ITERATIONS = 10
_LEAST_SD = 1e-3


@dataclass(frozen=True)
class Extrapolation:
    """A line from early values and log costs to values at the full budget, and the variance around it."""

    center: np.ndarray
    width: np.ndarray
    coefficients: np.ndarray
    variance: float

    @classmethod
    def fit(cls, early: np.ndarray, log_costs: np.ndarray, full: np.ndarray) -> Extrapolation:
        """Fit the line to trials with both values, each [n], n at least `LEAST`."""
        both = np.column_stack([early, log_costs])
        center, width = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-9)
        terms = _terms((both - center) / width)
        weights, ridge = np.ones(len(full)), np.diag([0.0, _RIDGE, _RIDGE])
        freedom = len(full) / max(len(full) - terms.shape[1], 1)
        for _ in range(_ITERATIONS):
            weighted = terms.T * weights
            coefficients = np.linalg.solve(weighted @ terms + ridge, weighted @ full)
            away = np.abs(full - terms @ coefficients)
            sd = max(_MAD * float(np.median(away)) * freedom**0.5, _LEAST_SD)
            weights = 1 / np.maximum(away / (_HUBER * sd), 1.0)
        return cls(center, width, coefficients, sd**2)

    def __call__(self, early: np.ndarray, log_costs: np.ndarray) -> np.ndarray:
        """Return expected values at the full budget, [n]."""
        scaled = (np.column_stack([early, log_costs]) - self.center) / self.width
        return _terms(scaled) @ self.coefficients


def _terms(scaled: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(scaled)), scaled])
