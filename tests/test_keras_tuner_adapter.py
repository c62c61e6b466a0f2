"""Test Keras Tuner in both directions: real tuners over the space, and its oracles under Ray Tune."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras_tuner
import numpy as np
import pytest
from small_search import ROOT, finished, ledger_of, searching, written

from nas.algorithms.keras_tuner import MoViNetHyperModel, genotype_of, hyperparameters
from nas.algorithms.registry import ALGORITHMS
from nas.config import search_config, sections
from nas.record.events import Completed, Proposal
from search_space.base.errors import InputError
from search_space.space.choices import Choice, SearchSpace
from search_space.space.movinet import base_config, movinet_space
from search_space.space.sampling import Limit, feasible, sample_feasible

TINY = search_config.load("tiny")
SPACE = movinet_space(TINY.space)


@pytest.mark.parametrize("space", [SPACE, movinet_space(base_config())], ids=["tiny", "base"])
def test_hyperparameters_survive_json_and_stand_for_every_member(space: SearchSpace) -> None:
    tuned = hyperparameters(space)
    again = keras_tuner.HyperParameters.from_config(json.loads(json.dumps(tuned.get_config())))
    assert again.get_config() == tuned.get_config()
    names = [choice.name for choice in space.choices]
    assert [each.name for each in again.space] == names
    for genotype in space.sample(np.random.default_rng(0), 20).tolist():
        again.values = {each.name: each.values[gene] for each, gene in zip(again.space, genotype, strict=True)}
        assert genotype_of(again, space) == tuple(genotype)


def test_options_that_keras_tuner_does_not_take_are_texts() -> None:
    space = SearchSpace("s", (Choice("a", (None, (1, 2))), Choice("b", (False, True)), Choice("c", (1, 2.5)),
                              Choice("d", (3, 4)), Choice("e", (7,))), dict, dict,
                        lambda g: {"macs": 1 + g.sum(axis=1)})  # fmt: skip
    values = {each.name: list(each.values) for each in hyperparameters(space).space}
    texts = {"a": ["None", "(1, 2)"], "b": ["False", "True"], "c": ["1", "2.5"]}
    assert values == texts | {"d": [3, 4], "e": [7]}


def test_the_defaults_keep_the_limits() -> None:
    flipped = SearchSpace("s", (Choice("a", (2, 1, 0)),), dict, dict, lambda g: {"macs": 3 - g[:, 0]})
    assert genotype_of(hyperparameters(flipped, [Limit("macs", 1)]), flipped) == (2,)
    with pytest.raises(InputError, match=r"limits\.macs"):
        hyperparameters(SPACE, [Limit("macs", 1)])


def test_a_model_is_that_of_its_candidate_and_takes_full_clips() -> None:
    from movinet.model.keras_model import build

    hypermodel = MoViNetHyperModel(TINY.space)
    tuned = hyperparameters(SPACE)
    tuned.values |= {"frame_stride": 4, "resolution": 16}
    model = hypermodel.build(tuned)
    alone = build(SPACE.decode(genotype_of(tuned, SPACE)), TINY.space.classes)
    assert model.count_params() == alone.count_params()
    clips = np.random.default_rng(0).random((1, 16, 24, 24, 3), dtype=np.float32)
    assert model(clips).shape == (1, 12)


def test_a_candidate_over_a_limit_is_a_failed_trial() -> None:
    limits = [Limit("macs", 400_000)]
    hypermodel = MoViNetHyperModel(TINY.space, limits)
    tuned = keras_tuner.HyperParameters()
    hypermodel.declare_hyperparameters(tuned)
    assert feasible(SPACE.count(np.array([genotype_of(tuned, SPACE)])), limits)[0]
    tuned.values |= {each.name: each.values[-1] for each in tuned.space}
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="limit"):
        hypermodel.build(tuned)


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs/how_to/search/keras_tuner.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    check = "\nprint([t.status for t in tuner.oracle.trials.values()], architecture.fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{example}{check}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("COMPLETED") >= 1


@pytest.mark.parametrize("options", [{"weight": -0.1}, {"weight": 1.1}, {"start": 1}])
def test_bad_options_of_the_bayesian_oracle_are_refused(options: dict) -> None:
    with pytest.raises(InputError):
        ALGORITHMS["keras_tuner_bayesian"](SPACE, **options)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_bayesian_oracle_follows_its_weight(weight: float) -> None:
    """Proposals resemble accurate architectures if only accuracy counts, and are cheap if only cost counts."""
    space = SearchSpace("s", tuple(Choice(f"c{i}", tuple(range(6))) for i in range(4)), dict, dict,
                        lambda g: {"macs": 2 ** g.sum(axis=1)})  # fmt: skip
    algorithm = ALGORITHMS["keras_tuner_bayesian"](space, weight=weight, start=2)
    told = np.unique(sample_feasible(space, np.random.default_rng(1), 30, ()), axis=0).tolist()
    for index, genotype in enumerate(told):
        algorithm.tell(Proposal(index, "search", tuple(genotype), {}, "f", 0, 0, {"macs": 2 ** sum(genotype)}))
        algorithm.tell(Completed(index, 10, {"accuracy": sum(genotype) / 20}, 1.0))
    asked = np.mean([sum(algorithm.ask(np.random.default_rng(seed))) for seed in range(5)])
    mean = np.mean([sum(genotype) for genotype in told])
    assert asked > mean + 3 if weight == 0 else asked < mean - 3


@pytest.mark.slow
def test_ray_tune_schedules_the_oracle(tmp_path: Path) -> None:
    algorithm = sections.AlgorithmConfig("keras_tuner_bayesian", {"start": 2})
    settings = replace(TINY, algorithm=algorithm)
    output = finished(searching(tmp_path / "out", "ray", written(tmp_path, settings)), seconds=900)
    events = ledger_of(tmp_path / "out").events
    searched = [e for e in events if isinstance(e, Proposal) and e.kind == "search"]
    assert len({e.fingerprint for e in searched}) == TINY.trials, output
    assert sum(isinstance(e, Completed) for e in events) >= 4
