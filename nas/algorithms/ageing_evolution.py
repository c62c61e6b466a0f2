"""Regularized evolution: Real et al. 2019, "Regularized Evolution for Image Classifier ...", arXiv 1802.01548.

The paper's tournament ranks by accuracy; this one by rank on the Pareto fronts of log cost and objective
(non-dominated sorting and crowding, Deb et al. 2002), and the start is stratified in log cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from nas.algorithms.base import Algorithm
from nas.algorithms.stratified_random import ask_least_filled, cost_strata
from nas.record.objective import ACCURACY, Objective
from nas.record.pareto import crowded_order
from search_space.base.checks import check_integer, check_number
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit

# Children generated for one proposal before it falls back to the least filled stratum.
_CHILDREN = 100


@final
class AgeingEvolution(Algorithm):
    """Mutates the winners of tournaments among the last completed trials.

    Args:
      start: number of stratified random proposals at the start; by default a third of the planned ones.
      population: number of last completed trials in the population; by default equal to the start.
      tournament: number of random members of the population that compete to be a parent; by default a quarter of the
        population, as in the paper (25 of 100).
      crossover: fraction of children with two parents; every child is mutated.
      strata: parts of the range of log cost that the start fills evenly.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        start: int | None = None,
        population: int | None = None,
        tournament: int | None = None,
        crossover: float = 0.25,
        strata: int = 12,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.start = check_integer("start", max(planned // 3, 2) if start is None else start, 2, 10**9)
        self.population = check_integer("population", self.start if population is None else population, 2, 10**9)
        winners = max(self.population // 4, 2) if tournament is None else tournament
        self.tournament = check_integer("tournament", winners, 1, self.population)
        self.crossover = check_number("crossover", crossover, 0, 1)
        self.strata = cost_strata(space, limits, cost_name, strata)

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return a child of the population; a stratified random candidate at the start and if no child is new."""
        if len(self.proposed) >= self.start and len(self.results) >= 2 and self.space.size > 1:
            child = self._breed(rng)
            if child is not None:
                return child
        return ask_least_filled(self, self.strata, rng)

    def _breed(self, rng: np.random.Generator) -> Genotype | None:
        living = list(self.results)[-self.population :]
        parents = [self.proposed[index] for index in living]
        place = crowded_order([(np.log(cost), self.results[i]) for i, (_, cost) in zip(living, parents, strict=True)])
        for _ in range(_CHILDREN):
            child = self._winner(parents, place, rng)
            if rng.random() < self.crossover:
                child = self.space.crossover(child, self._winner(parents, place, rng), rng)
            child = self.space.mutate(child, rng)
            if self.is_new(np.array([child]))[0]:
                return child
        return None

    def _winner(self, parents: list[tuple[Genotype, int]], place: np.ndarray, rng: np.random.Generator) -> Genotype:
        drawn = rng.choice(len(parents), size=min(self.tournament, len(parents)), replace=False)
        return parents[drawn[place[drawn].argmin()]][0]
