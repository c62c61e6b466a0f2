"""Keras Tuner's random search over the same Keras model; prints JSON. `throughput.py` runs it in a separate process.

The first argument is a request: `{search, data, candidates, seed, train}`. Prints `{members, started, ended}`; without
`train` only the architectures that the same seed draws.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
import plain_training
from keras_tuner.oracles import RandomSearchOracle

from nas.config import search_config
from nas.evaluation.proxy_trainer import open_made
from search_space import architecture as schema
from search_space.architecture import Architecture
from search_space.space.choices import SearchSpace
from search_space.space.movinet import movinet_space
from search_space.space.sampling import feasible


def label(option: Any) -> Any:
    """Return an option in a form that Keras Tuner can store: kernels as text."""
    return "x".join(map(str, option)) if isinstance(option, tuple) else option


def declare(hp: keras_tuner.HyperParameters, space: SearchSpace[Architecture]) -> None:
    """Declare the choices of the space; layers of deeper blocks are conditional on the depth of the block."""
    options = {choice.name: choice.options for choice in space.choices}
    for choice in space.choices:
        labels = [label(option) for option in choice.options]
        if choice.condition is None:
            hp.Choice(choice.name, labels)
            continue
        parent, at_least = choice.condition.parent, choice.condition.at_least
        with hp.conditional_scope(parent, [option for option in options[parent] if option >= at_least]):
            hp.Choice(choice.name, labels)


def decode(values: Mapping[str, Any], space: SearchSpace[Architecture]) -> Architecture:
    """Return the architecture for values of the active choices."""
    known = {choice.name: {label(option): option for option in choice.options} for choice in space.choices}
    return space.assemble({name: known[name][value] for name, value in values.items()})


class RandomWithinLimits(RandomSearchOracle):
    """Random search that redraws architectures above the search's limits."""

    def __init__(self, search: search_config.SearchConfig, **kwargs: Any) -> None:
        self.space, self.limits = movinet_space(search.space), search.limits
        hp = keras_tuner.HyperParameters()
        declare(hp, self.space)
        super().__init__(hyperparameters=hp, allow_new_entries=False, tune_new_entries=False, **kwargs)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the next random architecture within the limits."""
        while True:
            found = super().populate_space(trial_id)
            if found["values"] is None or self._allowed(found["values"]):
                return found

    def _allowed(self, values: Mapping[str, Any]) -> bool:
        costs = self.space.count(np.array([self.space.encode(decode(values, self.space))]))
        return bool(feasible(costs, self.limits)[0])


class Candidates(keras_tuner.HyperModel):
    """Builds, compiles and fits architectures in the search's space."""

    def __init__(self, search: search_config.SearchConfig, data: str) -> None:
        super().__init__()
        self.search, self.data = search, open_made(data)
        self.space = movinet_space(search.space)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model of an architecture."""
        return plain_training.compiled(self._member(hp), self.search)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Return the training history."""
        clip = self._member(hp).clip
        return plain_training.fit(model, clip, self.search, self.data, kwargs["callbacks"])

    def _member(self, hp: keras_tuner.HyperParameters) -> Architecture:
        return decode({choice.name: hp.get(choice.name) for choice in hp.space if hp.is_active(choice)}, self.space)


def trained(oracle: RandomWithinLimits, search: search_config.SearchConfig, data: str) -> dict[str, float]:
    """Return the start of the first trial and the end of the last one."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.Tuner(oracle, Candidates(search, data), directory=folder, project_name="search")
        started = time.monotonic()
        tuner.search(verbose=0)
    return {"started": started, "ended": time.monotonic()}


def main() -> None:
    """Run the search of the request."""
    request = json.loads(sys.argv[1])
    search = search_config.from_dict(request["search"])
    oracle = RandomWithinLimits(
        search, objective="val_accuracy", max_trials=request["candidates"], seed=request["seed"]
    )
    if request["train"]:
        times = trained(oracle, search, request["data"])
        trials = [oracle.get_trial(name) for name in oracle.start_order]
    else:
        times = {}
        with tempfile.TemporaryDirectory() as folder:
            oracle._set_project_dir(folder, "draw")
            trials = [oracle.create_trial(f"tuner{i}") for i in range(request["candidates"])]
    if any(trial.status not in ("COMPLETED", "RUNNING") for trial in trials):
        sys.exit("\n".join(str(trial.message) for trial in trials))
    members = [schema.to_dict(decode(trial.hyperparameters.values, oracle.space)) for trial in trials]
    print(json.dumps({"members": members, **times}))


if __name__ == "__main__":
    main()
