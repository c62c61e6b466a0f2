"""Tests of NSGA-II: survivors and parents."""

import math

import numpy as np
import pytest
from test_algorithms import SPACE, genotypes, make

from movinet_nas.contracts.algorithm import simulate_run
from nas.record.pareto import crowded_order
from search_space.base.errors import InputError


@pytest.mark.parametrize("options", [{"population": 1}, {"population": 0}, {"crossover": -0.1}, {"crossover": 1.5}])
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(InputError):
        make("nsga2", **options)


def test_it_begins_as_random_search() -> None:
    random = genotypes(simulate_run(make("random"), 12))
    assert genotypes(simulate_run(make("nsga2", population=12), 12)) == random


def test_without_crossover_a_child_is_one_change_from_a_survivor() -> None:
    """The population is the best of all completed trials, at any age."""
    algorithm = make("nsga2", population=5, crossover=0.0)
    simulate_run(algorithm, 40)
    told = [(*algorithm.proposed[index], value) for index, value in algorithm.results.items()]
    place = crowded_order([(math.log(cost), value) for _, cost, value in told])
    best = np.array([genotype for (genotype, _, _), at in zip(told, place, strict=True) if at < 5])
    for seed in range(20):
        child = np.array([algorithm.ask(np.random.default_rng(seed))])
        both = SPACE.active(child) & SPACE.active(best)
        assert ((best != child) & both).sum(axis=1).min() <= 1
