"""Algorithm and references of a configuration, created for its space and checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.algorithms.stratified_random import cost_strata
from nas.config.search_config import SearchConfig
from nas.config.searched_task import searched_space, task_of
from nas.tasks.base import Described
from search_space.base.errors import InputError


def make_algorithm(config: SearchConfig) -> Algorithm:
    """Return the configured algorithm over the configured space.

    Raises:
      InputError: an option is out of its range, or no architecture of the space is within the limits.
    """
    kind = ALGORITHMS.find("algorithm.name", config.algorithm.name)
    options = dict(config.algorithm.options)
    space = searched_space(config)
    if len(config.costs) > 1:
        if "costs" not in inspect.signature(kind).parameters:
            raise InputError(
                "costs", list(config.costs), f"are too many for {config.algorithm.name}, which supports one"
            )
        options["costs"] = config.costs
    if "start_genotypes" in inspect.signature(kind).parameters:
        options.setdefault("start_genotypes", task_of(config).starts())
    return kind(space, config.limits, config.objective, config.costs[0], config.trials, **options)


def check(config: SearchConfig) -> None:
    """Check everything in a configuration that does not depend on data, which may take hours to create.

    Raises:
      InputError: limits without an architecture, an option of the algorithm out of its range, costs that it does not
        support, or a reference that cannot be scaled to the space.
    """
    space = searched_space(config)
    try:
        cost_strata(space, config.limits, config.costs[0], config.early_stopping.bands)
    except InputError as error:
        raise InputError(f"search.{error.place}", error.value, error.rule) from None
    make_algorithm(config)
    final_references(config)


def final_references(config: SearchConfig) -> Mapping[str, Described]:
    """Return the references that are trained at the end."""
    if not config.finals.repeats or config.networks:
        return {}
    task = task_of(config)
    return {name: task.described(architecture) for name, architecture in task.references().items()}
