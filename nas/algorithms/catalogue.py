"""Search algorithms by the name a configuration calls them."""

from __future__ import annotations

from collections.abc import Mapping

from nas.algorithms.ageing_evolution import AgeingEvolution
from nas.algorithms.algorithm import Algorithm
from nas.algorithms.given import Given
from nas.algorithms.random_search import RandomSearch
from nas.algorithms.stratified_random import StratifiedRandom

ALGORITHMS: Mapping[str, type[Algorithm]] = {
    "random": RandomSearch,
    "stratified_random": StratifiedRandom,
    "ageing_evolution": AgeingEvolution,
    "given": Given,
}
