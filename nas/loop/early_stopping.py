"""Asynchronous early stopping in bands of like cost.

Small networks learn less from the start, so ranked together all of them would die at the first rung.
Here a trial is compared only with trials of like cost: those in the same band of log-cost. Either the best share of a
band goes on (ASHA; Li et al. 2020, arXiv 1810.05934), or what is not dominated (as in MO-ASHA; Schmucker et al. 2021,
arXiv 2106.12639): a network that some cheaper ones were better than will not be on the front, while of the proposals
of a search that knows where the front is, halving ends half of the good ones.
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


class BandedStopping:
    """Decides at each rung whether a trial goes on.

    Args:
      rungs: training steps after which trials are compared, rising.
      reduction: the best 1/`reduction` of a band's values at a rung go on; above 1.
      bands: which trials are comparable.
      objective: the metric compared and its direction.
      minimum: so many values must be at a band's rung before any trial is stopped there.
      dominators: in place of `reduction`: a trial goes on unless so many of its band that cost no more are better.
      dominating: with `dominators`: and at least this share of those that cost no more, itself counted; of many
        hundreds a fixed number would beat nearly every one, most of all where they crowd.

    The state is a function of the values recorded, so replaying the ledger's rung events through
    `decide` restores it.

    Raises:
      InputError: rungs that do not rise, a reduction of 1 or less, a minimum or a number of dominators below 1, a
        share that is none.
    """

    def __init__(
        self,
        rungs: tuple[int, ...],
        reduction: float,
        bands: Bands,
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
            raise InputError("dominating", dominating, "must be a share, from 0 to below 1")
        self.rungs = tuple(rungs)
        self.reduction = reduction
        self.bands = bands
        self.objective = objective
        self.minimum = minimum
        self.dominators = dominators
        self.dominating = dominating
        self._recorded: dict[tuple[int, int], _Recorded] = {}

    def decide(self, index: int, cost: float, steps: int, value: float) -> Literal["continue", "stop"]:
        """Records trial `index`'s metric after `steps`, and says whether it goes on.

        It goes on unless `minimum` values are there and, of the band's, at least 1/`reduction` are better; or, with
        `dominators`, so many that cost no more. A trial repeated after a crash keeps its first value. Steps that are
        no rung: it goes on.

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
            better, no_dearer = there.no_dearer(cost, value)
            behind = better >= max(self.dominators, self.dominating * no_dearer)
        return "stop" if behind else "continue"

    def recorded(self, band: int, steps: int) -> int:
        """How many trials of `band` reached the rung at `steps`."""
        return len(self._recorded.get((band, steps), ()))


class _Recorded:
    """Costs and minimised values of the trials of a band at a rung."""

    def __init__(self) -> None:
        self.of: dict[int, float] = {}  # value by trial
        self.costs, self.values = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.of)

    def first(self, index: int, cost: float, value: float) -> float:
        """The value that trial `index` has, which is this one unless it had one."""
        if index not in self.of:
            self.of[index] = value
            self.costs.append(cost)
            self.values.append(value)
        return self.of[index]

    def better(self, value: float) -> int:
        """How many are better than a value."""
        return int(np.count_nonzero(np.frombuffer(self.values) < value))

    def no_dearer(self, cost: float, value: float) -> tuple[int, int]:
        """Of those that cost no more, how many are better than a value, and how many there are."""
        no_dearer = np.frombuffer(self.costs) <= cost
        return int(np.count_nonzero(no_dearer & (np.frombuffer(self.values) < value))), int(no_dearer.sum())
