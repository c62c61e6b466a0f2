"""Intervals by the bootstrap: Efron & Tibshirani 1993, "An Introduction to the Bootstrap"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from search_space.base.checks import check_integer

Statistic = Callable[[np.ndarray], float]


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic, rng: np.random.Generator, resamples: int = 2000
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic over resampled items: (low, high).

    Args:
      values: [n] or [n, ...]; items of the first axis are drawn with replacement. Rows keep their columns together, so
        that a statistic of two columns is paired.
      statistic: function from an array like `values` to a number; draws for which it is NaN are left out.
      rng: of the draws.
      resamples: number of draws.

    Returns (NaN, NaN) for fewer than two items, or if the statistic is NaN in more than half of the draws.

    Raises:
      InputError: resamples below 1.
    """
    check_integer("resamples", resamples, 1, 10**7)
    items = np.asarray(values)
    if len(items) < 2:
        return float("nan"), float("nan")
    draws = rng.integers(0, len(items), (resamples, len(items)))
    found = np.array([statistic(items[draw]) for draw in draws], dtype=np.float64)
    known = found[~np.isnan(found)]
    if 2 * len(known) < resamples:
        return float("nan"), float("nan")
    low, high = np.quantile(known, (0.025, 0.975), method="inverted_cdf" if np.isinf(known).any() else "linear")
    return float(low), float(high)
