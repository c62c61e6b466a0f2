"""The algorithm and the references that a configuration names, made for its space and checked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.algorithms.stratified_random import cost_strata
from nas.config.search_config import SearchConfig
from nas.config.searched_space import searched_space
from nas.loop.early_stopping import CostBins
from nas.loop.references import reference_architectures
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.movinet import BLOCK_STRIDES, nearest


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
        options.setdefault("start_genotypes", _published_starts(config, space))
    return kind(space, config.limits, config.objective, config.costs[0], config.trials, **options)


def _published_starts(config: SearchConfig, space: SearchSpace[Architecture]) -> list[Genotype]:
    """Return the architectures nearest to the published networks at the proxy's scale."""
    if len(config.space.blocks) != len(BLOCK_STRIDES):
        return []
    return [nearest(space, architecture) for architecture in scaled_references(config, space).values()]


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
    final_references(config, space)


def final_references(config: SearchConfig, space: SearchSpace[Architecture]) -> Mapping[str, Architecture]:
    """Return the references that are trained at the end."""
    return scaled_references(config, space) if config.finals.repeats and not config.networks else {}


def scaled_references(config: SearchConfig, space: SearchSpace[Architecture]) -> Mapping[str, Architecture]:
    """Return the configured references at the scale of the space within the limits.

    Raises:
      InputError: one cannot be scaled; the message has the limits if it could be scaled without them.
    """
    if not config.finals.references:
        return {}

    def scaled(macs: CostBins) -> Mapping[str, Architecture]:
        return reference_architectures(config.space, config.finals.references, macs.low, macs.high)

    within = cost_strata(space, config.limits, "macs", 1)
    try:
        return scaled(within)
    except InputError as error:
        if not config.limits:
            raise
        try:
            scaled(cost_strata(space, (), "macs", 1))
        except InputError:
            raise error from None
        names = ", ".join(f"limits.{limit.name}" for limit in config.limits)
        rule = f"cannot be scaled to networks within {names}, but could without; raise the limit, or leave it out"
        raise InputError(error.place, error.value, rule) from None
