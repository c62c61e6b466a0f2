"""Asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934) in bands of like cost.

Small networks learn less from the start, so ranked together all of them would die at the first rung.
Here a trial is compared only with trials of like cost: those in the same band of log-cost.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nas.objective import ACCURACY, Objective
from search_space.architecture import check_integer
from search_space.errors import InputError

MAX_BANDS = 1000


@dataclass(frozen=True)
class Bands:
    """`count` bands of equal width in log-cost from `low` to `high`; the outer two take what lies beyond."""

    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        check_integer("bands.count", self.count, 1, MAX_BANDS)
        if not 0 < self.low <= self.high < math.inf:
            raise InputError("bands", (self.low, self.high), "must be two finite costs, 0 < low <= high")

    @functools.cached_property
    def edges(self) -> tuple[float, ...]:
        """The `count` + 1 costs that bound the bands."""
        step = math.log(self.high / self.low) / self.count
        return (self.low, *(self.low * math.exp(step * i) for i in range(1, self.count)), self.high)

    def of(self, cost: float) -> int:
        """The band of `cost`: band i holds edges[i] <= cost < edges[i + 1]."""
        return bisect_right(self.edges, cost, 1, self.count) - 1

    def filled(self, costs: np.ndarray) -> np.ndarray:
        """How many of the costs [n] each band holds: int [count]."""
        return np.bincount(np.searchsorted(self.edges[1:-1], costs, side="right"), minlength=self.count)


class BandedHalving:
    """Decides at each rung whether a trial goes on.

    Args:
      rungs: training steps after which trials are compared, rising.
      reduction: the best 1/`reduction` of a band's values at a rung go on; above 1.
      bands: which trials are comparable.
      objective: the metric compared and its direction.
      minimum: so many values must be at a band's rung before any trial is stopped there.

    The state is a function of the values recorded, so replaying the ledger's rung events through
    `decide` restores it.

    Raises:
      InputError: rungs that do not rise, a reduction of 1 or less, a minimum below 1.
    """

    def __init__(
        self,
        rungs: tuple[int, ...],
        reduction: float,
        bands: Bands,
        objective: Objective = ACCURACY,
        minimum: int = 3,
    ) -> None:
        for i, steps in enumerate(rungs):
            check_integer(f"rungs[{i}]", steps, rungs[i - 1] + 1 if i else 1, 2**63 - 1)
        if not 1 < reduction < math.inf:
            raise InputError("reduction", reduction, "must be a finite number above 1")
        check_integer("minimum", minimum, 1, 2**63 - 1)
        self.rungs = tuple(rungs)
        self.reduction = reduction
        self.bands = bands
        self.objective = objective
        self.minimum = minimum
        self._values: dict[tuple[int, int], dict[int, float]] = {}
        self._sorted: dict[tuple[int, int], list[float]] = {}

    def decide(self, index: int, cost: float, steps: int, value: float) -> Literal["continue", "stop"]:
        """Records trial `index`'s metric after `steps`, and says whether it goes on.

        It goes on unless `minimum` values are there and at least 1/`reduction` of them are better.
        A trial repeated after a crash keeps its first value. Steps that are no rung: it goes on.

        Raises:
          InputError: a value that is not finite.
        """
        if not math.isfinite(value):
            raise InputError(f"trial {index}", value, "must be a finite number; a diverged trial is a failed one")
        if steps not in self.rungs:
            return "continue"
        place = self.bands.of(cost), steps
        recorded, in_order = self._values.setdefault(place, {}), self._sorted.setdefault(place, [])
        if index not in recorded:
            recorded[index] = float(self.objective.minimised(value))
            insort(in_order, recorded[index])
        better = bisect_left(in_order, recorded[index])
        enough = len(recorded) >= self.minimum
        return "stop" if enough and better * self.reduction >= len(recorded) else "continue"

    def recorded(self, band: int, steps: int) -> int:
        """How many trials of `band` reached the rung at `steps`."""
        return len(self._values.get((band, steps), ()))
