"""How well one measurement ranks networks as another does: Kendall's τ-b, and what its first choices lose.

Kendall 1945, "The Treatment of Ties in Ranking Problems" (τ-b); Efron & Tibshirani 1993, "An Introduction to the
Bootstrap". A bootstrap draw is a number of copies of each of n networks, `copies` [draws, n]; a network is tied with
its copies in everything, and pairs tied in either ranking say nothing in τ-b, so copies need no special care.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

TIE_BREAKS = 16  # orders of equal predictions that draws are spread over


def redrawn(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Copies of each of n networks in bootstrap draws of n: int [draws, n]."""
    return rng.multinomial(n, np.full(n, 1 / n), size=draws)


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """τ-b of two rankings [n], -1..1; NaN where one of them ties all networks, or there are fewer than two."""
    return float(Pairs(x, y).tau(np.ones((1, len(x)), int))[0])


class Pairs:
    """All pairs of n networks, ranked by x [n] and by y [n]. Takes 6 n² bytes."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        by_x, by_y = _signs(x), _signs(y)
        self._agreement = by_x * by_y
        # Whether a ranking tells the two of a pair apart; none where it does so of all.
        self._told = tuple(None if _all_differ(values) else np.abs(by) for values, by in ((x, by_x), (y, by_y)))

    def tau(self, copies: np.ndarray) -> np.ndarray:
        """τ-b of each draw, int [draws, n] -> float [draws]."""
        copies = copies.astype(np.float32)
        agreement = _summed(self._agreement, copies)
        by_x, by_y = (_of_unlike(copies) if pairs is None else _summed(pairs, copies) for pairs in self._told)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(by_x * by_y > 0, agreement / np.sqrt(by_x * by_y), np.nan)


def _signs(values: np.ndarray) -> np.ndarray:
    """int8 [n, n]: 1 where the first is larger, -1 where it is smaller."""
    return (values[:, None] > values).astype(np.int8) - (values[:, None] < values).astype(np.int8)


def _all_differ(values: np.ndarray) -> bool:
    return len(np.unique(values)) == len(values) and not np.isnan(values).any()


def _of_unlike(copies: np.ndarray) -> np.ndarray:
    """`_summed` of 1 for all pairs of different networks: what is left of all pairs without those of copies of one."""
    exact = copies.astype(np.float64)
    return exact.sum(axis=1) ** 2 - (exact**2).sum(axis=1)


def _summed(pairs: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Sum over all pairs of networks and of their copies, [n, n] and [draws, n] -> [draws]."""
    # Exact in float32 up to 2^24 for each network, and there are fewer than 2^24 copies of the others.
    return np.einsum("dn,dn->d", copies @ pairs.astype(np.float32), copies, dtype=np.float64)


def partial(xy: ArrayLike, xz: ArrayLike, yz: ArrayLike) -> np.ndarray:
    """What x and y have in common beyond z, as a τ, from the τ of each two, [...] each.

    Kendall's own partial τ isn't 0 where x and y depend on each other through z alone. In normal variables r =
    sin(π τ / 2) (Greiner 1909; any monotone transform of them has the same τ), and for r the partial correlation is 0.
    """
    r_xy, r_xz, r_yz = (np.sin(np.pi / 2 * np.asarray(tau, float)) for tau in (xy, xz, yz))
    left = (1 - r_xz**2) * (1 - r_yz**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Nothing is left beside a z that is x or y.
        r = np.where(left > 1e-9, (r_xy - r_xz * r_yz) / np.sqrt(left), np.nan)
    return 2 / np.pi * np.arcsin(np.clip(r, -1, 1))


def regret(
    predicted: np.ndarray, truth: np.ndarray, k: int, copies: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What the best of the k networks predicted best lacks to the best network of all: [n], [n] -> [draws].

    In each draw of `copies` [draws, n] among the networks with a copy; NaN where none has one. Equal predictions are
    taken in a random order, one of a few for each draw.
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
    """τ-b within bins of networks, the mean weighted by pairs, and how many pairs there are.

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
    """Weighted mean of arrays [draws], in each draw over those that have a number; NaN where none has."""
    if not values:
        return np.array(np.nan)
    stacked = np.stack(np.broadcast_arrays(*values))
    there = np.isfinite(stacked)
    shares = there * np.reshape(np.ones(len(stacked)) if weights is None else weights, (-1, 1))
    with np.errstate(invalid="ignore"):
        return (np.where(there, stacked, 0) * shares).sum(axis=0) / shares.sum(axis=0)


def estimate(draws: np.ndarray) -> tuple[float, float, float]:
    """The first of [1 + draws] numbers and the 95 % interval of the others; NaN where over a tenth have no number."""
    value, others = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value) or len(others) < 0.9 * (len(draws) - 1):
        return value, np.nan, np.nan
    low, high = np.quantile(others, (0.025, 0.975))
    return value, float(low), float(high)
