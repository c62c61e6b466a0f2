"""Exact costs by their names in a configuration."""

from __future__ import annotations

from search_space.base.catalogue import Catalogue
from search_space.cost.counting import COST_NAMES, CostFunction

COSTS: Catalogue[CostFunction] = Catalogue(
    "movinet_nas.costs",
    dict.fromkeys(COST_NAMES, "search_space.cost.counting:count_batch"),
    "must be a function of a batch of architectures and the number of classes",
    lambda found: callable(found) and not isinstance(found, type),
)
