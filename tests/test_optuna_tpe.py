"""Optuna's TPE as a search algorithm: the same suggestions, faster and without log messages."""

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial
from test_algorithms import SPACE, genotypes, make

from movinet_nas.contracts.algorithm import simulate_run
from nas.record.events import Completed


def test_it_suggests_what_optuna_suggests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare two consecutive suggestions with those of a study built at once and Optuna's unchanged sampler."""
    algorithm = make("optuna_tpe", limits=())
    simulate_run(algorithm, 40, pending=3)
    study = optuna.create_study(directions=["minimize", "minimize"])
    spaces = {c.name: optuna.distributions.CategoricalDistribution(range(len(c.options))) for c in SPACE.choices}
    for index, (genotype, cost) in algorithm.proposed.items():
        active = SPACE.active(np.array([genotype]))[0]
        genes = {c.name: gene for c, gene, on in zip(SPACE.choices, genotype, active, strict=True) if on}
        found = algorithm.results.get(index)
        state = TrialState.RUNNING if found is None else TrialState.COMPLETE
        state = TrialState.PRUNED if index in algorithm.stopped else state
        state = TrialState.FAIL if index in algorithm.failed else state
        values = None if found is None else [float(np.log(cost)), found]
        used = {name: spaces[name] for name in genes}
        study.add_trial(create_trial(state=state, params=genes, distributions=used, values=values))
    trial, sampler = (
        create_trial(state=TrialState.RUNNING),
        TPESampler(seed=int(np.random.default_rng(5).integers(2**31))),
    )
    trial.number = len(algorithm.proposed)
    suggested = []
    for _ in range(2):
        genotype = np.zeros((1, len(SPACE.choices)), dtype=int)
        for i, choice in enumerate(SPACE.choices):
            if SPACE.active(genotype)[0, i]:
                genotype[0, i] = sampler.sample_independent(study, trial, choice.name, spaces[choice.name])
        suggested.append(tuple(genotype[0].tolist()))
    new = [g for g in suggested if g not in algorithm.seen]
    asked = algorithm.ask(np.random.default_rng(5))
    if new:
        assert (asked, algorithm.wasted) == (new[0], suggested.index(new[0]))
    else:
        assert algorithm.wasted >= 2


def test_stopped_trials_are_pruned_with_their_measurements_and_failed_ones_are_failed() -> None:
    algorithm = make("optuna_tpe", limits=())
    simulate_run(algorithm, 40, pending=3)
    algorithm.ask(np.random.default_rng(0))
    trials = algorithm._study.trials
    pruned = {t.number: t.intermediate_values for t in trials if t.state is TrialState.PRUNED}
    assert pruned == {index: algorithm.early[index] for index in algorithm.stopped} and len(pruned) == 5
    assert {t.number for t in trials if t.state is TrialState.FAIL} == set(algorithm.failed)
    again = next(iter(algorithm.failed))
    algorithm.tell(Completed(again, 10, {"accuracy": 0.9}, 1.0))
    algorithm.ask(np.random.default_rng(0))
    (added,) = algorithm._study.trials[len(trials) :]
    assert added.values == [np.log(algorithm.proposed[again][1]), -0.9]


def test_it_says_nothing_and_leaves_the_verbosity_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    simulate_run(make("optuna_tpe"), 15)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_repeats_are_discarded_and_counted() -> None:
    algorithm = make("optuna_tpe")
    assert len(set(genotypes(simulate_run(algorithm, 60)))) == 60
    wasted = []
    for seed in range(20):
        algorithm.ask(np.random.default_rng(seed))
        wasted.append(algorithm.wasted)
    assert all(0 <= each <= 10 for each in wasted) and any(wasted)
