"""Optuna's TPE: Ozaki et al. 2022, "Multiobjective Tree-Structured Parzen Estimator", JAIR 73 (no arXiv number).

Everything is Optuna's own: the split of the trials, the estimators, the startup, the constant liar for what is
pending. Its logger stays as it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.algorithms.algorithm import Algorithm
from nas.objective import ACCURACY, Objective
from search_space.architecture import check_integer
from search_space.sampling import Limit
from search_space.space import Genotype, SearchSpace

# Suggestions for one proposal before it falls back to a random member.
_SUGGESTIONS = 10


@final
class OptunaTPE(Algorithm):
    """Optuna's sampler with its defaults for two objectives, here log cost and objective.

    Every choice is a category to it (`suggest_categorical`), and only those present are suggested and told, as in a
    define-by-run study of Optuna.

    `wasted` counts the suggestions that the last `ask` discarded: over a limit, or proposed before.

    Args:
      start: so many completed trials are random, as Optuna's n_startup_trials.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        start: int = 10,
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        self.start = check_integer("start", start, 1, 10**9)
        self.wasted = 0
        self._distributions: dict[str, BaseDistribution] = {
            c.name: CategoricalDistribution(range(len(c.options))) for c in space.choices
        }
        self._study, self._trials = _empty_study(), dict[int, int]()  # numbers of Optuna's trials, by index

    def ask(self, rng: np.random.Generator) -> Genotype:
        """The sampler's first suggestion that is new, or a random member where none is."""
        self._bring_up_to_date()
        sampler = _Sampler(n_startup_trials=self.start, seed=int(rng.integers(2**31)))
        for self.wasted in range(_SUGGESTIONS):
            genotype = self._suggest(sampler)
            if self.is_new(np.array([genotype]))[0]:
                return genotype
        self.wasted = _SUGGESTIONS
        return self.random_unseen(rng)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave, in a new study."""
        super().restore(state)
        self._study, self._trials = _empty_study(), dict[int, int]()

    def _bring_up_to_date(self) -> None:
        """Adds to the study what was told since; it is only a form of the state, kept as making it takes seconds."""
        for index in list(self.proposed)[len(self._trials) :]:
            self._trials[index] = len(self._trials)
            self._study.add_trial(self._trial(self.proposed[index][0]))
        completed = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for index in list(self.results)[len(completed) :]:
            cost = self.proposed[index][1]
            self._study.tell(self._trials[index], [float(np.log(cost)), self.results[index]])

    def _trial(self, genotype: Genotype) -> FrozenTrial:
        active = self.space.active(np.array([genotype]))[0]
        genes = {c.name: gene for c, gene, on in zip(self.space.choices, genotype, active, strict=True) if on}
        distributions = {name: self._distributions[name] for name in genes}
        return create_trial(state=TrialState.RUNNING, params=genes, distributions=distributions)

    def _suggest(self, sampler: TPESampler) -> Genotype:
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = len(self._trials)
        genotype = np.zeros((1, len(self.space.choices)), dtype=np.int64)
        for i, (name, distribution) in enumerate(self._distributions.items()):
            if not distribution.single() and self.space.active(genotype)[0, i]:
                genotype[0, i] = sampler.sample_independent(self._study, trial, name, distribution)
        return self.space.canonical(tuple(genotype[0].tolist()))  # of a table, the nearest row


class _Sampler(TPESampler):
    """Optuna's sampler over trials that stay the same: it splits them once, and estimates each choice once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._halves: tuple[list[FrozenTrial], list[FrozenTrial]] | None = None  # the good ones, the others
        self._estimators: dict[str, tuple[Any, Any]] = {}

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        ((name, distribution),) = search_space.items()
        if name not in self._estimators:
            self._estimators[name] = self._estimate(study, search_space)
        good, bad = self._estimators[name]
        drawn = good.sample(self._rng.rng, self._n_ei_candidates)
        best = self._compare(drawn, self._compute_acquisition_func(drawn, good, bad))
        return {name: distribution.to_external_repr(best[name])}

    def _estimate(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> tuple[Any, Any]:
        """Densities of one choice among the good trials and among the others."""
        if self._halves is None:
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
            completed = sum(trial.state is TrialState.COMPLETE for trial in trials)
            self._halves = _split_trials(study, trials, default_gamma_multiobjective(completed))
        good, others = self._halves
        return (
            self._build_parzen_estimator(study, search_space, good, handle_below=True),
            self._build_parzen_estimator(study, search_space, others, handle_below=False),
        )


def _empty_study() -> optuna.Study:
    """A study in memory, made without the line that Optuna logs."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(directions=["minimize", "minimize"])
    finally:
        optuna.logging.set_verbosity(verbosity)
