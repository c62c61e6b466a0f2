"""Hypervolume of networks by accuracy and costs: the definition for displays, figures, comparisons and scores.

Zitzler & Thiele 1999, "Multiobjective Evolutionary Algorithms: A Comparative Case Study".

- Axes: log10 of each cost objective, over a stated range; accuracy (or another value from 0 to 1, higher is better).
- Reference point: the expensive end of every range, at accuracy 0.
- Normalisation: the volume is divided by the lengths of the ranges in decades.

So a hypervolume lies in 0..1: it is the best accuracy at equal or lower costs, averaged over log costs. Networks
cheaper than a range count from its cheap end; more expensive ones do not count. The ranges of a single run are those
of all architectures that its space and limits allow (`ranges_of_space`), the ranges of a comparison are where every set
has networks (`common_ranges`). The range of a benchmark table is that of its rows.

`n` is a number of networks, `m` of costs, `C` of cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.algorithms.stratified_random import cost_strata
from nas.record import pareto
from search_space.base.errors import InputError
from search_space.space.choices import SearchSpace
from search_space.space.sampling import Limit


@dataclass(frozen=True)
class CostRange:
    """Costs from `low` to `high`, over which a hypervolume is taken."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise InputError("cost range", (self.low, self.high), "must be two finite costs, 0 < low <= high")


Ranges = tuple[CostRange, ...]  # one for each cost


def ranges_of_space(space: SearchSpace[Any], limits: Sequence[Limit], costs: Sequence[str]) -> Ranges:
    """Return the range of each named cost of a space within its limits.

    Raises:
      InputError: no architecture is within the limits, or the space does not count one of the costs.
    """
    found = [cost_strata(space, limits, name, 1) for name in costs]
    return tuple(CostRange(each.low, each.high) for each in found)


def common_ranges(sets: Sequence[np.ndarray]) -> Ranges | None:
    """Return the range where every set of costs [n, m] has networks: highest minimum to lowest maximum.

    None if the ranges of the sets do not overlap in one of the costs.
    """
    lows = np.max([costs.min(axis=0) for costs in sets], axis=0).tolist()
    highs = np.min([costs.max(axis=0) for costs in sets], axis=0).tolist()
    ends = list(zip(lows, highs, strict=True))
    return tuple(CostRange(*each) for each in ends) if all(low < high for low, high in ends) else None


def step_widths(costs: np.ndarray, within: CostRange) -> np.ndarray:
    """Return the fraction of a range, in log cost, from each of rising costs [n] to the next one: float [n].

    The mean over the range of a step function with values [..., n] is `values @ step_widths(costs, within)`.
    """
    if within.low == within.high:
        return np.zeros(len(costs))
    logs = np.log10(np.clip(costs, within.low, within.high))
    return np.diff(logs, append=np.log10(within.high)) / np.log10(within.high / within.low)


def cells(costs: np.ndarray, within: Ranges) -> tuple[np.ndarray, np.ndarray]:
    """Cut ranges at the costs [n, m] of networks: the networks of a cell at equal or lower costs, and its volume.

    Returns:
      bool [C, n], and the cells' shares of the volume of the ranges in log costs, float [C]. The mean over the ranges
      of a function with values [..., C] in the cells is `values @ shares`.
    """
    edges = [np.unique(np.clip(column, each.low, each.high)) for column, each in zip(costs.T, within, strict=True)]
    corners = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, len(within))
    widths = np.meshgrid(*map(step_widths, edges, within), indexing="ij")
    return np.all(costs <= corners[:, None], axis=-1), np.prod(widths, axis=0).ravel()


def hypervolume(costs: np.ndarray, values: np.ndarray, within: Ranges) -> np.ndarray:
    """Return hypervolumes [...] of networks with costs [n, m] and values [..., n]; 0 over an empty range."""
    values = np.maximum(values, 0)
    if len(within) == 1:
        order = np.argsort(costs[:, 0], kind="stable")
        best = np.maximum.accumulate(values[..., order], axis=-1)
        return np.asarray(best @ step_widths(costs[order, 0], within[0]))
    lows, highs = np.log10([[each.low for each in within], [each.high for each in within]])
    if (lows == highs).any():
        return np.zeros(values.shape[:-1])
    logs, corner = np.maximum(np.log10(costs), lows), [*highs, 0.0]
    points = (np.column_stack([logs, -row]) for row in values.reshape(-1, len(costs)))
    volumes = np.array([pareto.hypervolume(each, corner) for each in points])
    return volumes.reshape(values.shape[:-1]) / np.prod(highs - lows)


class GrowingFront:
    """Pareto front of results that arrive one by one, with its hypervolume `volume` over ranges of costs."""

    def __init__(self, within: Ranges) -> None:
        self.within = within
        self.costs = np.empty((0, len(within)))
        self.values = np.empty(0)
        self.volume = 0.0

    def add(self, costs: Sequence[float], value: float) -> float:
        """Add a result with its costs [m]; return the hypervolume."""
        if ((self.costs <= costs).all(axis=1) & (self.values >= value)).any():
            return self.volume  # dominated, like most results of a long run
        kept = (self.costs < costs).any(axis=1) | (self.values > value)
        self.costs = np.vstack([self.costs[kept], costs])
        self.values = np.append(self.values[kept], value)
        self.volume = float(hypervolume(self.costs, self.values, self.within))
        return self.volume
