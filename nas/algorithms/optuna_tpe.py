"""Optuna's TPE: Ozaki et al. 2022, "Multiobjective Tree-Structured Parzen Estimator", JAIR 73 (no arXiv number).

Everything is Optuna's: the split of the trials, the estimators, the startup, the constant liar for pending trials. Its
logger is not changed. A trial that was stopped early is a pruned trial with the measurements of its rungs; a failed
trial is a failed one. Optuna ranks pruned trials by their intermediate values for one objective only; here they belong
to the worse half, as they were stopped because others of similar cost were better.
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

from nas.algorithms.base import Algorithm
from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit

# Suggestions for one proposal before it falls back to a random candidate.
_SUGGESTIONS = 10


@final
class OptunaTPE(Algorithm):
    """Optuna's sampler with its defaults for two objectives, here log cost and objective.

    Every choice is categorical (`suggest_categorical`), and only active choices are suggested and reported, as in a
    define-by-run study of Optuna.

    `wasted` counts the suggestions that the last `ask` discarded: above a limit, or already proposed.

    Args:
      start: number of completed or stopped trials before which proposals are random, as Optuna's n_startup_trials.
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
        self._study = _empty_study()
        self._reported: dict[int, tuple[int, TrialState]] = {}  # number and state of Optuna's trials, by index

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the sampler's first new suggestion, or a random candidate if there is none."""
        self._bring_up_to_date()
        sampler = _Sampler(n_startup_trials=self.start, seed=int(rng.integers(2**31)))
        for self.wasted in range(_SUGGESTIONS):
            genotype = self._suggest(sampler)
            if self.is_new(np.array([genotype]))[0]:
                return genotype
        self.wasted = _SUGGESTIONS
        return self.random_unseen(rng)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state` into a new study."""
        super().restore(state)
        self._study, self._reported = _empty_study(), {}

    def _bring_up_to_date(self) -> None:
        """Add new events to the study; it is a cache of the state, as building it takes seconds."""
        for index, (genotype, cost) in self.proposed.items():
            number, told = self._reported.get(index, (0, None))
            state = self._state(index)
            if state is told:
                continue
            if told in (None, TrialState.FAIL):  # a retried trial is a new trial in Optuna
                number = self._made()
                self._study.add_trial(self._trial(genotype))
            self._reported[index] = number, state
            if state is TrialState.COMPLETE:
                self._study.tell(number, [float(np.log(cost)), self.results[index]])
            elif state is not TrialState.RUNNING:
                self._end(number, index, state)

    def _state(self, index: int) -> TrialState:
        if index in self.results:
            return TrialState.COMPLETE
        if index in self.stopped:
            return TrialState.PRUNED
        return TrialState.FAIL if index in self.failed else TrialState.RUNNING

    def _end(self, number: int, index: int, state: TrialState) -> None:
        """End a trial without a result, with its intermediate measurements."""
        trial = self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        for steps, value in self.early.get(index, {}).items():
            self._study._storage.set_trial_intermediate_value(trial, steps, value)
        self._study.tell(number, state=state)

    def _made(self) -> int:
        """Return the number of trials in the study."""
        return len(self._study.get_trials(deepcopy=False))

    def _trial(self, genotype: Genotype) -> FrozenTrial:
        active = self.space.active(np.array([genotype]))[0]
        genes = {c.name: gene for c, gene, on in zip(self.space.choices, genotype, active, strict=True) if on}
        distributions = {name: self._distributions[name] for name in genes}
        return create_trial(state=TrialState.RUNNING, params=genes, distributions=distributions)

    def _suggest(self, sampler: TPESampler) -> Genotype:
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = self._made()
        genotype = np.zeros((1, len(self.space.choices)), dtype=np.int64)
        for i, (name, distribution) in enumerate(self._distributions.items()):
            if not distribution.single() and self.space.active(genotype)[0, i]:
                genotype[0, i] = sampler.sample_independent(self._study, trial, name, distribution)
        return self.space.canonical(tuple(genotype[0].tolist()))  # for a table, the nearest row


class _Sampler(TPESampler):
    """Optuna's sampler over a fixed set of trials: it splits them once, and estimates each choice once."""

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
        """Return the densities of one choice among the good trials and among the others."""
        if self._halves is None:
            trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
            pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
            ended = len(pruned) + sum(trial.state is TrialState.COMPLETE for trial in trials)
            good, others = _split_trials(study, trials, default_gamma_multiobjective(ended))
            self._halves = good, sorted([*others, *pruned], key=lambda trial: trial.number)
        good, others = self._halves
        return (
            self._build_parzen_estimator(study, search_space, good, handle_below=True),
            self._build_parzen_estimator(study, search_space, others, handle_below=False),
        )


def _empty_study() -> optuna.Study:
    """Return a study in memory, created without Optuna's log line."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(directions=["minimize", "minimize"])
    finally:
        optuna.logging.set_verbosity(verbosity)
