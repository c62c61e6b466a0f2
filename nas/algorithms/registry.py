"""Search algorithms by the name a configuration calls them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from nas.algorithms.base import Algorithm
from search_space.base.quiet_tensorflow import quiet_start


class Catalogue(Mapping[str, type[Algorithm]]):
    """Classes by name. One is imported when it is looked up, so that nobody waits for the libraries of another."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places  # "module:class"

    def __getitem__(self, name: str) -> type[Algorithm]:
        module, _, kind = self._places[name].partition(":")
        with quiet_start():  # Keras Tuner imports TensorFlow
            found: type[Algorithm] = getattr(importlib.import_module(module), kind)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


ALGORITHMS = Catalogue(
    {
        "random": "nas.algorithms.random_search:RandomSearch",
        "stratified_random": "nas.algorithms.stratified_random:StratifiedRandom",
        "ageing_evolution": "nas.algorithms.ageing_evolution:AgeingEvolution",
        "nsga2": "nas.algorithms.nsga2:NSGA2",
        "optuna_tpe": "nas.algorithms.optuna_tpe:OptunaTPE",
        "keras_tuner_bayesian": "nas.algorithms.keras_tuner:KerasTunerBayesian",
        "frontier_search": "nas.algorithms.frontier.search:FrontierSearch",
        "given": "nas.algorithms.given:Given",
    }
)
HINTED = ("frontier_search",)  # those that take `hints`
