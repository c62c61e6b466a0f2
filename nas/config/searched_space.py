"""The space of a search with all of its costs, including those of a user's functions."""

from __future__ import annotations

from typing import Any

from nas.config.costs import COSTS
from nas.config.search_config import SearchConfig
from search_space.architecture import Architecture
from search_space.cost.counting import COST_NAMES, CostFunction, count, pack, values_of
from search_space.space.choices import SearchSpace
from search_space.space.movinet import movinet_space


def searched_space(config: SearchConfig) -> SearchSpace[Any]:
    """Return the configured space, which also counts the costs of a user's functions."""
    brought = _brought(config)
    return movinet_space(config.space, brought) if brought else movinet_space(config.space)


def exact_cost(config: SearchConfig, architecture: Architecture) -> dict[str, int]:
    """Return all exact costs of an architecture, which need not be in the space.

    Raises:
      InputError: a user's function returns something other than costs.
    """
    cost: dict[str, int] = dict(vars(count(architecture, config.space.classes)))
    for name, function in _brought(config):
        cost[name] = int(values_of(name, function, pack([architecture]), config.space.classes)[0])
    return cost


def _brought(config: SearchConfig) -> tuple[tuple[str, CostFunction], ...]:
    names = dict.fromkeys((*config.costs, *(limit.name for limit in config.limits)))
    return tuple((name, COSTS.find("costs", name)) for name in names if name not in COST_NAMES)
