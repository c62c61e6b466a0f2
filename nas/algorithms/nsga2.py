"""NSGA-II: Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II".

Steady-state: every result takes part in selection at once, so that no worker waits for a generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from nas.algorithms.base import Algorithm
from nas.record.objective import ACCURACY, Objective
from nas.record.pareto import crowded_order
from search_space.base.checks import check_integer, check_number
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit

# Children generated for one proposal before it falls back to a random one.
_CHILDREN = 100


@final
class NSGA2(Algorithm):
    """Selects parents among the best completed trials, by front and crowding, in log cost and objective.

    Args:
      population: number of random proposals at the start, and of best completed trials as parents afterwards; by
        default a fifth of the planned ones.
      crossover: fraction of children with two parents, 0.9 as in the paper; every child is mutated in one choice, which
        corresponds to the paper's rate of one over the number of genes.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        population: int | None = None,
        crossover: float = 0.9,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.population = check_integer(
            "population", max(planned // 5, 4) if population is None else population, 2, 10**9
        )
        self.crossover = check_number("crossover", crossover, 0, 1)

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return a child of the population; a random candidate at the start and if no child is new."""
        if len(self.proposed) >= self.population and len(self.results) >= 2 and self.space.size > 1:
            best = self._best()
            for _ in range(_CHILDREN):
                child = self._child(best, rng)
                if self.is_new(np.array([child]))[0]:
                    return child
        return self.random_unseen(rng)

    def _best(self) -> list[Genotype]:
        """Return the surviving population, best first."""
        completed = [(*self.proposed[index], value) for index, value in self.results.items()]
        place = crowded_order([(np.log(cost), value) for _, cost, value in completed])
        return [completed[i][0] for i in np.argsort(place)[: self.population]]

    def _child(self, best: list[Genotype], rng: np.random.Generator) -> Genotype:
        def parent() -> Genotype:  # the winner of a binary tournament
            return best[rng.choice(len(best), size=2, replace=False).min()]

        child = parent()
        if rng.random() < self.crossover:
            child = self.space.crossover(child, parent(), rng)
        return self.space.mutate(child, rng)
