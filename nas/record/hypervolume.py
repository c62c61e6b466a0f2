"""Hypervolume of networks by accuracy and cost: the one definition that displays, figures, comparisons and scores use.

Zitzler & Thiele 1999, "Multiobjective Evolutionary Algorithms: A Comparative Case Study".

- Axes: log10 of multiply-adds per clip over a stated range; accuracy (or another share from 0 to 1, more is better).
- Reference point: the expensive end of the range, at accuracy 0.
- Normalisation: the area is divided by the length of the range in decades.

So a hypervolume lies in 0..1: it is the best accuracy at equal or lower cost, averaged over log cost. Networks cheaper
than the range count from its cheap end; more expensive ones do not count. The range of a single run is that of all
architectures that its space and limits allow (`range_of_space`), the range of a comparison is where every set has
networks (`common_range`), the range of a benchmark table is that of its rows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.algorithms.stratified_random import cost_strata
from nas.record.objective import MACS
from search_space.base.errors import InputError
from search_space.space.choices import SearchSpace
from search_space.space.sampling import Limit


@dataclass(frozen=True)
class CostRange:
    """The multiply-adds per clip from `low` to `high` over which a hypervolume is taken."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise InputError("cost range", (self.low, self.high), "must be two finite costs, 0 < low <= high")


def range_of_space(space: SearchSpace[Any], limits: Sequence[Limit]) -> CostRange:
    """Return the range of cost of a space within its limits.

    Raises:
      InputError: no architecture is within the limits.
    """
    found = cost_strata(space, limits, MACS.name, 1)
    return CostRange(found.low, found.high)


def common_range(sets: Sequence[np.ndarray]) -> CostRange | None:
    """The range where every set of costs [n] has networks: highest of the lowest costs to lowest of the highest.

    None where the sets share no range of any length.
    """
    low, high = max(float(costs.min()) for costs in sets), min(float(costs.max()) for costs in sets)
    return CostRange(low, high) if low < high else None


def step_widths(costs: np.ndarray, within: CostRange) -> np.ndarray:
    """Share of a range, in log cost, from each of rising costs [n] to the next one: float [n].

    The mean over the range of a step function with values [..., n] is `values @ step_widths(costs, within)`.
    """
    if within.low == within.high:
        return np.zeros(len(costs))
    logs = np.log10(np.clip(costs, within.low, within.high))
    return np.diff(logs, append=np.log10(within.high)) / np.log10(within.high / within.low)


def hypervolume(costs: np.ndarray, values: np.ndarray, within: CostRange) -> np.ndarray:
    """Hypervolumes [...] of networks with costs [n] and values [..., n]; 0 over a range of no length."""
    order = np.argsort(costs, kind="stable")
    best = np.maximum.accumulate(np.maximum(values[..., order], 0), axis=-1)
    return np.asarray(best @ step_widths(costs[order], within))


class GrowingFront:
    """Pareto front of results that arrive one by one, with its hypervolume `volume` over a range of costs."""

    def __init__(self, within: CostRange) -> None:
        self.within = within
        self.points: list[tuple[float, float]] = []  # cost and value, both rising
        self.volume = 0.0

    def add(self, cost: float, value: float) -> float:
        """Take one more result; return the hypervolume."""
        place = bisect_right(self.points, (cost, math.inf))
        if place and self.points[place - 1][1] >= value:
            return self.volume  # dominated, as most of a long run's results are
        cheaper = [point for point in self.points[:place] if point[0] < cost]
        self.points = [*cheaper, (cost, value), *(point for point in self.points[place:] if point[1] > value)]
        costs, values = np.array(self.points).T
        self.volume = float(hypervolume(costs, values, self.within))
        return self.volume
