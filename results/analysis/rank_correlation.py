"""Agreement of two rankings of networks: Kendall's τ-b, and the regret of the first choices.

Kendall 1945, "The Treatment of Ties in Ranking Problems" (τ-b); Efron & Tibshirani 1993, "An Introduction to the
Bootstrap". A bootstrap draw is a number of copies of each of n networks, `copies` [draws, n]. A network is tied with
its copies in both rankings, and τ-b ignores tied pairs, so copies need no special treatment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

TIE_BREAKS = 16  # random orders of equal predictions, used by the draws in turn


def redrawn(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return copies of each of n networks in bootstrap draws of n: int [draws, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Return τ-b of two rankings [n], -1..1; NaN if one of them ties all networks, or for fewer than two."""
    return float(Pairs(x, y).tau(np.ones((1, len(x)), int))[0])


class Pairs:
    """All pairs of n networks, ranked by x [n] and by y [n]. Takes 6 n² bytes."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        by_x, by_y = _signs(x), _signs(y)
        self._agreement = by_x * by_y
        # Whether a ranking orders the two networks of a pair; None if it orders all pairs.
        self._told = tuple(None if _all_differ(values) else np.abs(by) for values, by in ((x, by_x), (y, by_y)))

    def tau(self, copies: np.ndarray) -> np.ndarray:
        """Return τ-b of each draw, int [draws, n] -> float [draws]."""
        copies = copies.astype(np.float32)
        agreement = _summed(self._agreement, copies)
        by_x, by_y = (_of_unlike(copies) if pairs is None else _summed(pairs, copies) for pairs in self._told)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(by_x * by_y > 0, agreement / np.sqrt(by_x * by_y), np.nan)


def _signs(values: np.ndarray) -> np.ndarray:
    """Return int8 [n, n]: 1 where the first is larger, -1 where it is smaller."""
    return (values[:, None] > values).astype(np.int8) - (values[:, None] < values).astype(np.int8)


def _all_differ(values: np.ndarray) -> bool:
    return len(np.unique(values)) == len(values) and not np.isnan(values).any()


def _of_unlike(copies: np.ndarray) -> np.ndarray:
    """Return the number of pairs of different networks: `_summed` of 1, without pairs of copies of one network."""
    exact = copies.astype(np.float64)
    return exact.sum(axis=1) ** 2 - (exact**2).sum(axis=1)


def _summed(pairs: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Return the sum over all pairs of networks and of their copies, [n, n] and [draws, n] -> [draws]."""
    # Exact in float32 up to 2^24 for each network, and there are fewer than 2^24 copies of the others.
    return np.einsum("dn,dn->d", copies @ pairs.astype(np.float32), copies, dtype=np.float64)


def partial(xy: ArrayLike, xz: ArrayLike, yz: ArrayLike) -> np.ndarray:
    """Return the partial τ of x and y given z, from the three pairwise τ, [...] each.

    Kendall's partial τ is not 0 if x and y are related only through z. In normal variables r =
    sin(π τ / 2) (Greiner 1909; any monotone transform of them has the same τ), and for r the partial correlation is 0.
    """
    r_xy, r_xz, r_yz = (np.sin(np.pi / 2 * np.asarray(tau, float)) for tau in (xy, xz, yz))
    left = (1 - r_xz**2) * (1 - r_yz**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        # There is no residual if z is x or y.
        r = np.where(left > 1e-9, (r_xy - r_xz * r_yz) / np.sqrt(left), np.nan)
    return 2 / np.pi * np.arcsin(np.clip(r, -1, 1))


def regret(
    predicted: np.ndarray, truth: np.ndarray, k: int, copies: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the accuracy of the best network minus that of the best among the k predicted best: [n], [n] -> [draws].

    Each draw of `copies` [draws, n] uses the networks with a copy; NaN without any. Equal predictions are taken in a
    random order, one of a few per draw.
    """
    tied = len(np.unique(predicted)) < len(predicted)
    parts = np.array_split(copies, min(TIE_BREAKS, len(copies)) if tied else 1)
    return np.concatenate([_regret(predicted, truth, k, part, rng.permutation(len(truth))) for part in parts])


def _regret(predicted: np.ndarray, truth: np.ndarray, k: int, copies: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    order = shuffled[np.argsort(-predicted[shuffled], kind="stable")]
    there, found = copies[:, order] > 0, truth[order]
    chosen = there & (there.cumsum(axis=1) <= k)
    best, taken = (np.where(some, found, -np.inf).max(axis=1) for some in (there, chosen))
    with np.errstate(invalid="ignore"):
        return best - taken


def within_bins(
    x: np.ndarray, y: np.ndarray, bins: np.ndarray, copies: np.ndarray, least: int = 2
) -> tuple[np.ndarray, float]:
    """Return τ-b within bins of networks, as mean weighted by pairs, and the number of pairs.

    Args:
      x, y: [n] rankings, NaN where a network has none and is left out.
      bins: int [n], the bin of each network; bins of fewer than `least` networks are left out.
      copies: int [draws, n].
    """
    both = np.isfinite(x) & np.isfinite(y)
    groups = [np.flatnonzero(both & (bins == each)) for each in np.unique(bins)]
    groups = [group for group in groups if len(group) >= least]
    pairs = [len(group) * (len(group) - 1) / 2 for group in groups]
    return mean([Pairs(x[group], y[group]).tau(copies[:, group]) for group in groups], pairs), sum(pairs)


def mean(values: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Return the weighted mean of arrays [draws], in each draw without NaN; NaN if all are."""
    if not values:
        return np.array(np.nan)
    stacked = np.stack(np.broadcast_arrays(*values))
    there = np.isfinite(stacked)
    shares = there * np.reshape(np.ones(len(stacked)) if weights is None else weights, (-1, 1))
    with np.errstate(invalid="ignore"):
        return (np.where(there, stacked, 0) * shares).sum(axis=0) / shares.sum(axis=0)


def estimate(draws: np.ndarray) -> tuple[float, float, float]:
    """Return the first of [1 + draws] numbers and the 95 % interval of the others; NaN if over a tenth are NaN."""
    value, others = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value) or len(others) < 0.9 * (len(draws) - 1):
        return value, np.nan, np.nan
    low, high = np.quantile(others, (0.025, 0.975))
    return value, float(low), float(high)
