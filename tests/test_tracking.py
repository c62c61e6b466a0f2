"""Trackers of trials: accepted settings, the calls of Ray Tune's integrations, and no tracker without a request.

The real MLflow and Weights & Biases run where they are installed, which the lock file does not do:

    python -m pip install --target /tmp/trackers mlflow-skinny wandb
    PYTHONPATH=/tmp/trackers MLFLOW_ALLOW_FILE_STORE=true make test ARGS="-m slow tests/test_tracking.py"
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from played_run import begin, settings
from ray.tune.logger import LoggerCallback
from small_search import finished, ledger_of, searching, small, written

import run_search
from nas.config import search_config as config
from nas.config.search_config import SearchConfig
from nas.config.sections import Finals, Mlflow, SimulationConfig, TrackingConfig, Wandb
from nas.loop.search import Search
from nas.monitor.ray_trackers import Shown, Translated
from nas.monitor.trial_parameters import name_of, parameters
from nas.record.events import Completed, Failed, Note, Rung, to_dict
from search_space.base.errors import InputError

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    with begin(tmp_path / "run", settings()) as writer:
        yield Search(settings(), writer)


def simulated(**tracking: Any) -> SearchConfig:
    """Return a search of a few trials, some of which diverge."""
    chosen = {"simulation": SimulationConfig(diverge=0.2), "trials": 6, "workers": 2, "finals": Finals(1, 1, ())}
    return small(**chosen, tracking=TrackingConfig(**tracking))


@pytest.mark.parametrize(
    ("tracking", "words"),
    [
        ({"tensorboard": 1}, "search.tracking.tensorboard: 1 must be true or false"),
        (
            {"mlflow": True},
            "search.tracking.mlflow: True must be a mapping with the keys tracking_uri, ",
        ),
        ({"mlflow": {"uri": "x"}}, "search.tracking.mlflow: 'uri' is an unknown key"),
        ({"mlflow": {"tracking_uri": ""}}, "search.tracking.mlflow.tracking_uri: '' must be a text that is not empty"),
        ({"wandb": {}}, "lacks the key 'project'"),
        ({"wandb": {"project": "x", "api_key": "y"}}, "'api_key' is an unknown key"),
        ({"wandb": {"project": "x", "mode": "ofline"}}, "did you mean 'offline'?"),
        ({"comet": {}}, "search.tracking: 'comet' is an unknown key"),
    ],
)
def test_what_cannot_be_asked_for(tracking: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as raised:
        config.from_dict(config.to_dict(small()) | {"tracking": tracking})
    assert words in str(raised.value)


def test_what_is_asked_for_is_recorded() -> None:
    chosen = small(tracking=TrackingConfig(True, Mlflow(), Wandb("x", mode="offline")))
    assert config.from_dict(json.loads(json.dumps(config.to_dict(chosen)))) == chosen


@pytest.mark.parametrize(("name", "asked"), [("mlflow", Mlflow()), ("wandb", Wandb("x"))])
def test_a_package_that_is_missing_is_one_line(
    name: str, asked: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_spec(name):
        pytest.skip(f"{name} is installed")
    file = written(tmp_path, simulated(**{name: asked}))
    assert run_search.main(["search", str(file), "--out", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: tracking.{name}: '{name}' is not installed: pip install {name}")
    assert not (tmp_path / "run").exists()


def test_nothing_is_imported_unless_it_is_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, replace(simulated(), trials=2))
    program = f"""
import contextlib, pathlib, sys
from nas.config import search_config as config
from nas.execution import ray_tune as ray_executor
from nas.loop import run_folder as run
run.start(config.load({str(file)!r}), pathlib.Path({str(tmp_path / "run")!r}), "serial", contextlib.nullcontext)
print({{"tensorboard", "mlflow", "wandb", "nas.monitor.event_file", "nas.monitor.ray_trackers"}} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("set()\n", "")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "ledger.jsonl", "run.lock"]


class Recorder(LoggerCallback):
    """Integration that stores the calls it receives, until it breaks."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []
        self.breaks = False

    def setup(self, *arguments: object, **options: object) -> None:
        self._see("setup")

    def log_trial_start(self, trial: Shown) -> None:  # type: ignore[override]
        self._see("start", str(trial), trial.config)

    def log_trial_result(self, iteration: int, trial: Shown, result: dict[str, Any]) -> None:  # type: ignore[override]
        self._see("result", str(trial), result)

    def log_trial_end(self, trial: Shown, failed: bool = False) -> None:  # type: ignore[override]
        self._see("end", str(trial), failed)

    def _see(self, *said: object) -> None:
        if self.breaks:
            raise ConnectionError("the server\nhas gone")
        self.seen.append(said)


def tune_trial(search: Search) -> tuple[Any, Any]:
    proposal = search.propose()
    assert proposal is not None
    config = {"proposal": json.dumps(to_dict(proposal)), "search": "{}", "attempt": 0}
    return proposal, SimpleNamespace(trial_id=f"t{proposal.index}", config=config, local_path="/tmp")


def test_an_integration_is_shown_parameters_and_metrics(search: Search) -> None:
    recorder = Recorder()
    shown = Translated("mlflow", recorder, search, (OSError,))
    proposal, trial = tune_trial(search)
    shown.log_trial_start(trial)
    for event in (Rung(0, 6, {"accuracy": 0.4}, 1.0), Completed(0, 12, {"accuracy": 0.5}, 2.0)):
        shown.log_trial_result(1, trial, {"event": json.dumps(to_dict(event)), "config": trial.config})
    shown.log_trial_end(trial)
    steps = ({"training_iteration": n, "timesteps_total": n} for n in (6, 12))
    assert recorder.seen == [
        ("setup",),
        ("start", name_of(proposal), parameters(search.algorithm.space, proposal)),
        ("result", "trial_00000", {"accuracy": 0.4, "seconds": 1.0, **next(steps)}),
        ("result", "trial_00000", {"accuracy": 0.5, "seconds": 2.0, **next(steps)}),
        ("end", "trial_00000", False),
    ]
    given = parameters(search.algorithm.space, proposal)
    assert given["kind"] == "search" and given["macs"] == proposal.cost["macs"] and len(given) > 10
    assert {type(value) for value in given.values()} <= {bool, int, float, str}


def test_a_trial_that_failed_is_shown_as_failed(search: Search) -> None:
    recorder = Recorder()
    shown = Translated("mlflow", recorder, search, (OSError,))
    _, diverged = tune_trial(search)
    _, died = tune_trial(search)
    shown.log_trial_start(diverged)
    shown.log_trial_start(died)
    shown.log_trial_result(1, diverged, {"event": json.dumps(to_dict(Failed(0, "loss nan", 1)))})
    shown.log_trial_end(diverged)
    shown.log_trial_end(died, failed=True)
    shown.log_trial_end(SimpleNamespace(trial_id="never begun"))
    assert recorder.seen[-2:] == [("end", "trial_00000", True), ("end", "trial_00001", True)]


def test_a_server_that_goes_is_noted_once_and_the_search_goes_on(search: Search) -> None:
    recorder, notes = Recorder(), []
    search.watchers.append(lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    shown = Translated("mlflow", recorder, search, (OSError,))
    recorder.breaks = True
    for _ in range(2):
        _, trial = tune_trial(search)
        shown.log_trial_start(trial)
        shown.log_trial_end(trial)
    assert notes == ["reporting to mlflow stopped: the server has gone"]
    with pytest.raises(InputError, match=r"tracking\.mlflow: 'the server has gone' prevented the connection"):
        Translated("mlflow", recorder, search, (OSError,))


@pytest.mark.slow
def test_the_real_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    address = f"file:{tmp_path / 'mlruns'}"
    chosen = simulated(mlflow={"tracking_uri": address, "experiment_name": "mine"})
    errors = finished(searching(tmp_path / "run", "ray", written(tmp_path, chosen)))
    assert errors == ("", "")
    client, ledger = mlflow.tracking.MlflowClient(address), ledger_of(tmp_path / "run")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert {run.info.run_name for run in runs} == {name_of(proposal) for proposal in ledger.proposals.values()}
    for run in runs:
        index = int(run.info.run_name.removeprefix("trial_"))
        assert run.info.status == ("FAILED" if index in ledger.failed else "FINISHED")
        assert run.data.params["macs"] == str(ledger.proposals[index].cost["macs"])
        if index in ledger.completed:
            assert run.data.metrics["accuracy"] == ledger.completed[index].metrics["accuracy"]


@pytest.mark.slow
def test_the_real_weights_and_biases_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    chosen = simulated(wandb={"project": "mine", "mode": "offline"})
    process = searching(tmp_path / "run", "ray", written(tmp_path, chosen))
    finished(process)
    assert process.returncode == 0
    written_runs = [file.read_bytes() for file in (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")]
    for proposal in ledger_of(tmp_path / "run").proposals.values():
        (content,) = (each for each in written_runs if name_of(proposal).encode() in each)
        assert b"accuracy" in content or proposal.index in ledger_of(tmp_path / "run").failed
