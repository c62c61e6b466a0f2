"""FLOPs-stratified random search; even sampling over cost as in AttentiveNAS (Wang et al., arXiv 2011.09011)."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from nas.algorithms.base import Algorithm
from nas.loop.early_stopping import MAX_BANDS, CostBins
from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit, cost_range, sample_stratum


def cost_strata(space: SearchSpace[Any], limits: Sequence[Limit], cost_name: str, count: int) -> CostBins:
    """Return `count` strata of equal width in log cost over the range of feasible architectures.

    Raises:
      InputError: no architecture is within the limits, or a count out of range.
    """
    check_integer("strata", count, 1, MAX_BANDS)
    return CostBins(*_reach(space, tuple(limits), cost_name), count)


@functools.lru_cache(maxsize=64)
def _reach(space: SearchSpace[Any], limits: tuple[Limit, ...], cost_name: str) -> tuple[float, float]:
    """Return the range of feasible costs, cached: it depends on space and limits only, as its draws are fixed."""
    return cost_range(space, np.random.default_rng(0), limits, cost_name)


def ask_least_filled(algorithm: Algorithm, strata: CostBins, rng: np.random.Generator) -> Genotype:
    """Return an unseen feasible architecture of the stratum with the fewest proposals that has one; ties at random."""
    filled = strata.filled(np.array(algorithm.proposed_costs))
    for stratum in np.lexsort((rng.random(strata.count), filled)):
        low, high = strata.edges[stratum : stratum + 2]
        if stratum == strata.count - 1:
            high = float(np.nextafter(high, np.inf))  # the last stratum holds its upper edge
        found = sample_stratum(
            algorithm.space, rng, low, high, algorithm.limits, algorithm.seen.keys(), algorithm.cost_name
        )
        if found is not None:
            return found
    return algorithm.random_unseen(rng)


@final
class StratifiedRandom(Algorithm):
    """Random architectures, equally many from each of `strata` equal parts of the feasible range of log cost.

    Args:
      strata: number of parts.
      repeats: trainings of each architecture in sequence with different seeds, to measure reliability.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        strata: int = 12,
        repeats: int = 1,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.strata = cost_strata(space, limits, cost_name, strata)
        self.repeats = check_integer("repeats", repeats, 1, 1000)

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return an architecture with missing repeats, else a new one of the least filled stratum."""
        times = Counter(genotype for genotype, _ in self.proposed.values()) if self.repeats > 1 else Counter()
        for genotype, count in times.items():
            if count < self.repeats:
                return genotype
        return ask_least_filled(self, self.strata, rng)
