"""Asynchronous early stopping within FLOPs bins.

Small networks learn less from the start, so a common ranking would stop all of them at the first rung. So a trial is
compared only with trials in the same bin of log cost. Either the best fraction of a bin continues (ASHA; Li et al.
2020, arXiv 1810.05934), or the trials that are not dominated (as in MO-ASHA; Schmucker et al. 2021, arXiv 2106.12639):
a network that several cheaper ones beat will not be on the front. Halving would also stop half of the good proposals
of a search that proposes near the front.
"""

from __future__ import annotations

import functools
import math
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer
from search_space.base.errors import InputError

MAX_BANDS = 1000


@dataclass(frozen=True)
class CostBins:
    """`count` bins of equal width in log cost from `low` to `high`; the outer two include costs beyond."""

    low: float
    high: float
    count: int

    def __post_init__(self) -> None:
        check_integer("bands.count", self.count, 1, MAX_BANDS)
        if not 0 < self.low <= self.high < math.inf:
            raise InputError("bands", (self.low, self.high), "must be two finite costs, 0 < low <= high")

    @functools.cached_property
    def edges(self) -> tuple[float, ...]:
        """The `count` + 1 edges of the bins."""
        step = math.log(self.high / self.low) / self.count
        return (self.low, *(self.low * math.exp(step * i) for i in range(1, self.count)), self.high)

    def of(self, cost: float) -> int:
        """Return the bin of `cost`: bin i has edges[i] <= cost < edges[i + 1]."""
        return bisect_right(self.edges, cost, 1, self.count) - 1

    def filled(self, costs: np.ndarray) -> np.ndarray:
        """Return the number of costs [n] in each bin: int [count]."""
        return np.bincount(np.searchsorted(self.edges[1:-1], costs, side="right"), minlength=self.count)


class BinnedStopping:
    """Decides at each rung whether a trial continues.

    Args:
      rungs: training steps after which trials are compared, rising.
      reduction: the best 1/`reduction` of a bin's values at a rung continue; above 1.
      bands: bins of comparable trials.
      objective: the metric compared and its direction.
      minimum: number of values at a bin's rung from which trials are stopped there.
      dominators: in place of `reduction`: a trial stops if at least this number of trials of its bin at equal or lower
        cost are better.
      dominating: with `dominators`: and if they are at least this fraction of the trials of equal or lower cost,
        including itself. Among many hundreds, a fixed number would beat nearly every trial, most of all in dense parts.

    The state is a function of the recorded values, so replaying the rung events of an event log through `decide`
    restores it.

    Raises:
      InputError: rungs that do not rise, a reduction of 1 or less, a minimum or a number of dominators below 1, or an
        invalid fraction.
    """

    def __init__(
        self,
        rungs: tuple[int, ...],
        reduction: float,
        bands: CostBins,
        objective: Objective = ACCURACY,
        minimum: int = 3,
        dominators: int | None = None,
        dominating: float = 0.0,
    ) -> None:
        for i, steps in enumerate(rungs):
            check_integer(f"rungs[{i}]", steps, rungs[i - 1] + 1 if i else 1, 2**63 - 1)
        if not 1 < reduction < math.inf:
            raise InputError("reduction", reduction, "must be a finite number above 1")
        check_integer("minimum", minimum, 1, 2**63 - 1)
        if dominators is not None:
            check_integer("dominators", dominators, 1, 2**63 - 1)
        if not 0 <= dominating < 1:
            raise InputError("dominating", dominating, "must be a fraction, from 0 to below 1")
        self.rungs = tuple(rungs)
        self.reduction = reduction
        self.bands = bands
        self.objective = objective
        self.minimum = minimum
        self.dominators = dominators
        self.dominating = dominating
        self._recorded: dict[tuple[int, int], _Recorded] = {}

    def decide(self, index: int, cost: float, steps: int, value: float) -> Literal["continue", "stop"]:
        """Record the metric of trial `index` after `steps`, and return whether it continues.

        It stops if there are `minimum` values and at least 1/`reduction` of the bin's values are better; or, with
        `dominators`, at least this number at equal or lower cost. A trial repeated after a crash keeps its first value.
        At steps without a rung it continues.

        Raises:
          InputError: a value that is not finite.
        """
        if not math.isfinite(value):
            raise InputError(f"trial {index}", value, "must be a finite number; a diverged trial is a failed one")
        if steps not in self.rungs:
            return "continue"
        there = self._recorded.setdefault((self.bands.of(cost), steps), _Recorded())
        value = there.first(index, cost, float(self.objective.minimised(value)))
        if len(there) < self.minimum:
            return "continue"
        if self.dominators is None:
            behind = there.better(value) * self.reduction >= len(there)
        else:
            better, at_lower_cost = there.at_lower_cost(cost, value)
            behind = better >= max(self.dominators, self.dominating * at_lower_cost)
        return "stop" if behind else "continue"

    def recorded(self, band: int, steps: int) -> int:
        """Return the number of trials of a bin that reached the rung at `steps`."""
        return len(self._recorded.get((band, steps), ()))


class _Recorded:
    """Costs and minimised values of the trials of a bin at a rung."""

    def __init__(self) -> None:
        self.of: dict[int, float] = {}  # value by trial
        self.costs, self.values = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.of)

    def first(self, index: int, cost: float, value: float) -> float:
        """Return the first value of trial `index`; record this one if there is none."""
        if index not in self.of:
            self.of[index] = value
            self.costs.append(cost)
            self.values.append(value)
        return self.of[index]

    def better(self, value: float) -> int:
        """Return how many values are better."""
        return int(np.count_nonzero(np.frombuffer(self.values) < value))

    def at_lower_cost(self, cost: float, value: float) -> tuple[int, int]:
        """Return, among trials at equal or lower cost, the number of better ones and the number of all."""
        at_lower_cost = np.frombuffer(self.costs) <= cost
        return int(np.count_nonzero(at_lower_cost & (np.frombuffer(self.values) < value))), int(at_lower_cost.sum())
