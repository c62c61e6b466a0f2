"""Search algorithms by their names in a configuration."""

from __future__ import annotations

import inspect

from nas.algorithms.base import Algorithm
from search_space.base.catalogue import Catalogue

ALGORITHMS: Catalogue[type[Algorithm]] = Catalogue(
    "movinet_nas.algorithms",
    {
        "random": "nas.algorithms.random_search:RandomSearch",
        "stratified_random": "nas.algorithms.stratified_random:StratifiedRandom",
        "ageing_evolution": "nas.algorithms.ageing_evolution:AgeingEvolution",
        "nsga2": "nas.algorithms.nsga2:NSGA2",
        "optuna_tpe": "nas.algorithms.optuna_tpe:OptunaTPE",
        "keras_tuner_bayesian": "nas.algorithms.keras_tuner:KerasTunerBayesian",
        "frontier_search": "nas.algorithms.frontier.search:FrontierSearch",
        "given": "nas.algorithms.given:Given",
    },
    "must be a class derived from Algorithm that defines ask",
    lambda kind: isinstance(kind, type) and issubclass(kind, Algorithm) and not inspect.isabstract(kind),
)
WITH_PRIOR_SCORES = ("frontier_search",)  # those that take `hints`
