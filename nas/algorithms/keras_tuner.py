"""Keras Tuner in both directions: hyper-parameters and models of a space for its tuners, and its oracles as algorithms.

Importing this module imports TensorFlow, as Keras Tuner does.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, final

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from keras_tuner.oracles import BayesianOptimizationOracle

from nas.algorithms.base import Algorithm, as_genotype
from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer, check_number
from search_space.space.choices import Choice, Genotype, SearchSpace
from search_space.space.movinet import SpaceConfig, movinet_space
from search_space.space.sampling import Limit, feasible, sample_feasible

_OBSERVATIONS = 64  # largest number of results for the Gaussian process, whose time grows with their cube
_CANDIDATES = 512  # random candidates, and as many mutations of the best ones
_PARENTS = 16
_RHO = 0.05  # of the augmented Tchebycheff function, as in ParEGO


def hyperparameters(space: SearchSpace[Any], limits: Sequence[Limit] = ()) -> keras_tuner.HyperParameters:
    """Return a space as Keras Tuner's hyper-parameters: one `Choice` for each, a `Fixed` for a single option.

    Numbers stay numbers, other options become text. All are always active, because a tuner builds a model for every
    conditional scope before it starts; `genotype_of` leaves out absent choices. The defaults are an architecture within
    the limits, if possible with the cheapest option of every choice.

    Raises:
      InputError: no architecture is within the limits.
    """
    tuned = keras_tuner.HyperParameters()
    _declare(tuned, space, limits)
    return tuned


def genotype_of(tuned: keras_tuner.HyperParameters, space: SearchSpace[Any]) -> Genotype:
    """Return the canonical genotype of hyper-parameters; a choice without a value has its first option."""
    genes = (_values(c).index(tuned.values.get(c.name, _values(c)[0])) for c in space.choices)
    return space.canonical(tuple(genes))


def _declare(tuned: keras_tuner.HyperParameters, space: SearchSpace[Any], limits: Sequence[Limit]) -> None:
    first = space.canonical_batch(np.zeros((1, len(space.choices)), dtype=np.int64))
    if not feasible(space.count(first), limits)[0]:
        first = sample_feasible(space, np.random.default_rng(0), 1, limits)
    for choice, gene in zip(space.choices, first[0].tolist(), strict=True):
        values = _values(choice)
        if len(values) == 1:
            tuned.Fixed(choice.name, values[0])
        else:
            tuned.Choice(choice.name, values, default=values[gene])


def _values(choice: Choice) -> list[Any]:
    """Return the options in Keras Tuner's form: of one type, without None and tuples."""
    for kind in (int, float):
        if all(type(option) is kind for option in choice.options):
            return list(choice.options)
    return [str(option) for option in choice.options]


class MoViNetHyperModel(keras_tuner.HyperModel):
    """The MoViNet space as a hyper-model for Keras Tuner.

    The models take full clips `B T H W 3` in 0..1, of the space's frames and largest resolution, for any frame stride
    and resolution of the candidate, and return logits `B classes`. They are compiled with sparse categorical
    cross-entropy and the metric accuracy; the tuner's own `optimizer=`, `loss=` and `metrics=` replace that.

    A candidate above the limits raises `keras_tuner.errors.FailedTrialError`: the tuner records the trial as failed and
    continues. It stops after three in a row, or after `max_consecutive_failed_trials=`.

    Args:
      config: the space.
      limits: caps on exact costs.
      optimizer: see `keras.Model.compile`.
      options: of `movinet.model.keras_model.build`, such as dropout.
    """

    def __init__(
        self, config: SpaceConfig, limits: Sequence[Limit] = (), optimizer: str = "adam", **options: Any
    ) -> None:
        super().__init__(name=config.name)
        self.config, self.limits, self.optimizer, self.options = config, tuple(limits), optimizer, options
        self.space = movinet_space(config)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Add the hyper-parameters of the space."""
        _declare(hp, self.space, self.limits)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled model of one candidate."""
        from movinet.model.keras_layers import MemberClip
        from movinet.model.keras_model import build

        _declare(hp, self.space, self.limits)
        genotype = genotype_of(hp, self.space)
        if not feasible(self.space.count(np.array([genotype])), self.limits)[0]:
            raise keras_tuner.errors.FailedTrialError("the candidate is above a limit")
        architecture, resolution = self.space.decode(genotype), max(self.config.resolutions)
        clip = architecture.clip
        clips = keras.Input((self.config.frames, resolution, resolution, 3), name="clips")
        view = MemberClip(0, clip.frame_stride, clip.frames, clip.resolution, name="clip")
        network = build(architecture, self.config.classes, **self.options)
        model = keras.Model(clips, network(view(clips)), name=self.name)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=self.optimizer, loss=loss, metrics=["accuracy"])
        return model


@final
class KerasTunerBayesian(Algorithm):
    """Keras Tuner's Bayesian oracle: its Gaussian process, upper confidence bound and treatment of pending trials.

    Its scalar is that of ParEGO (Knowles 2006): the augmented Tchebycheff function of log cost and objective, each
    scaled to 0..1 over the results. The weight of the cost is drawn for every proposal, so that the trials cover the
    front; a fixed weight would find one part of it.

    Two things differ from Keras Tuner, to save time. The maximum is searched among new feasible architectures, not by
    gradients in the box around them, which took 1.3 s of a core for 8 choices and 30 results. And the process is fitted
    to 64 trials: the best half for the drawn weight, and the latest.

    Args:
      weight: of the cost, from 0 to 1; by default it is drawn.
      start: number of results before the oracle is used; by default 3 per choice, as in Keras Tuner, but at most a
        quarter of the planned trials.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        weight: float | None = None,
        start: int | None = None,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.weight = None if weight is None else check_number("weight", weight, 0, 1)
        tuned = int((space.options > 1).sum())
        default = max(min(3 * tuned, planned // 4), 2)
        self.start = check_integer("start", default if start is None else start, 2, 10**9)
        self._hyperparameters = hyperparameters(space)

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the new candidate with the lowest confidence bound; a random one at the start."""
        if len(self.results) >= self.start and self.space.size > 1:
            scores = self._scores(rng.random() if self.weight is None else self.weight)
            candidates = self._new_members(sorted(scores, key=scores.__getitem__)[:_PARENTS], rng)
            if len(candidates):
                bound = self._bound(scores, candidates, seed=int(rng.integers(1, 2**31)))
                return as_genotype(candidates[bound.argmin()])
        return self.random_unseen(rng)

    def _scores(self, weight: float) -> dict[int, float]:
        """Return the values to minimise, by index of the completed trials."""
        both = np.array([(value, np.log(self.proposed[index][1])) for index, value in self.results.items()])
        span = np.ptp(both, axis=0)
        terms = (both - both.min(axis=0)) / np.where(span > 0, span, 1.0) * (1 - weight, weight)
        return dict(zip(self.results, (terms.max(axis=1) + _RHO * terms.sum(axis=1)).tolist(), strict=True))

    def _new_members(self, best: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        parents = np.array([self.proposed[index][0] for index in best])
        children = self.space.mutate_batch(np.resize(parents, (_CANDIDATES, parents.shape[1])), rng)
        found = np.concatenate([sample_feasible(self.space, rng, _CANDIDATES, self.limits), children])
        return found[self.is_new(found)]

    def _bound(self, scores: Mapping[int, float], candidates: np.ndarray, seed: int) -> np.ndarray:
        """Return Keras Tuner's confidence bound of candidates int [n, G]: float [n]."""
        objective = keras_tuner.Objective("score", "min")
        oracle = BayesianOptimizationOracle(objective, seed=seed, hyperparameters=self._hyperparameters)
        best = sorted(scores, key=scores.__getitem__)[: _OBSERVATIONS // 2]
        others = [*(index for index in self.results if index not in best), *self.running()]
        for index in sorted((*best, *others[-(_OBSERVATIONS - len(best)) :])):
            trial = self._trial(index, scores.get(index))
            oracle.trials[trial.trial_id] = trial
            if index not in scores:
                oracle.ongoing_trials[trial.trial_id] = trial
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length scale at the end of its range does not concern the user
            oracle.gpr.fit(*oracle._vectorize_trials())
            mean, deviation = oracle.gpr.predict(self._vectors(candidates), return_std=True)
        bound: np.ndarray = mean - oracle.beta * deviation
        return bound

    def _trial(self, index: int, score: float | None) -> Trial:
        tuned = self._hyperparameters.copy()
        for choice, gene in zip(self.space.choices, self.proposed[index][0], strict=True):
            tuned.values[choice.name] = _values(choice)[gene]
        trial = Trial(tuned, trial_id=str(index), status="RUNNING" if score is None else "COMPLETED")
        trial.score = score
        return trial

    def _vectors(self, genotypes: np.ndarray) -> np.ndarray:
        """Map genotypes int [n, G] to the box 0..1 of the oracle: float [n, choices of two options or more]."""
        tuned = self.space.options > 1
        vectors: np.ndarray = (genotypes[:, tuned] + 0.5) / self.space.options[tuned]
        return vectors
