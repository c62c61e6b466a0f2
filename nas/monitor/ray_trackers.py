"""MLflow and Weights & Biases by Ray Tune's own integrations, which are shown trials as a person would want them.

A trial of ours is sent to a worker as texts, and so are its results back. An integration sees in their place its
parameters and its metrics over training steps, under the name the trial has in the run.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.exceptions import RayError
from ray.tune.logger import LoggerCallback

from nas.loop.search import Search
from nas.monitor.trial_parameters import name_of, parameters
from nas.record.events import Completed, Failed, Proposal, Rung, from_dict
from search_space.base.configuration import plain
from search_space.base.errors import InputError

ERRORS = (OSError, ValueError, RayError)
LONGEST = 200  # characters of what a service says


@dataclass(eq=False)
class Shown:
    """As much of a Tune trial as integrations look at."""

    trial_id: str
    name: str
    config: Mapping[str, Any]
    experiment_dir_name: str
    local_path: str

    def __str__(self) -> str:
        return self.name


class Translated(LoggerCallback):
    """An integration that is shown the trials of a search; one that fails is noted, and shown no more.

    Args:
      name: of the integration.
      integration: Ray Tune's, which is connected here.
      search: whose trials they are.
      errors: what it may raise.

    Raises:
      InputError: it cannot be connected.
    """

    def __init__(
        self, name: str, integration: LoggerCallback, search: Search, errors: tuple[type[Exception], ...]
    ) -> None:
        self.name, self.integration, self.search, self.errors = name, integration, search, errors
        self.shown: dict[str, Shown] = {}
        self.failed: set[str] = set()  # trials whose training failed though their worker did not
        self.broken = False
        try:
            integration.setup()
        except errors as error:
            raise InputError(f"tracking.{name}", _line(error), "is why it cannot be connected") from None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for snapshots of Tune's, which nobody reads

    def log_trial_start(self, trial: Any) -> None:
        """Begins to show a trial."""
        proposal = from_dict(json.loads(trial.config["proposal"]))
        assert isinstance(proposal, Proposal)
        config = parameters(self.search.algorithm.space, proposal)
        run = self.search.ledger.path.parent.name
        shown = Shown(trial.trial_id, name_of(proposal), config, run, trial.local_path)
        self.shown[trial.trial_id] = shown
        self._attempt(self.integration.log_trial_start, shown)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Shows a measurement."""
        event = from_dict(json.loads(result["event"]))
        if isinstance(event, Failed):
            self.failed.add(trial.trial_id)
            return
        assert isinstance(event, Rung | Completed)
        steps = {"training_iteration": event.steps, "timesteps_total": event.steps}
        measured = {**event.metrics, "seconds": event.seconds, **steps}
        self._attempt(self.integration.log_trial_result, iteration, self.shown[trial.trial_id], measured)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Ends a trial; one that was never begun was not shown."""
        shown = self.shown.pop(trial.trial_id, None)
        if shown is not None:
            self._attempt(self.integration.log_trial_end, shown, failed or trial.trial_id in self.failed)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Waits for what is still on its way."""
        self._attempt(functools.partial(self.integration.on_experiment_end, trials=trials, **info))

    def _attempt(self, action: Callable[..., object], *arguments: object) -> None:
        if self.broken:
            return
        try:
            action(*arguments)
        except self.errors as error:
            self.broken = True
            self.search.note(f"nothing more is shown by {self.name}: {_line(error)}")


def _line(error: Exception) -> str:
    """The first sentence or so of what a service has to say."""
    return " ".join(str(error).split())[:LONGEST] or type(error).__name__


def trackers(search: Search) -> list[Translated]:
    """Those that the configuration asks for. Raises `InputError` if one of them cannot be connected."""
    config, folder = search.config.tracking, search.ledger.path.parent
    found = []
    if config.mlflow is not None:
        from mlflow.exceptions import MlflowException

        mlflow = MLflowLoggerCallback(**{"experiment_name": folder.name, **plain(config.mlflow)})
        found.append(Translated("mlflow", mlflow, search, (MlflowException, *ERRORS)))
    if config.wandb is not None:
        found.append(Translated("wandb", _wandb(plain(config.wandb), folder), search, ERRORS))
    return found


def _wandb(options: Mapping[str, str], folder: Path) -> LoggerCallback:
    """Its files go into the run's folder: Tune's own is gone at the end of the run."""
    from ray.air.integrations.wandb import WandbLoggerCallback  # imports wandb

    if "mode" in options:
        os.environ["WANDB_MODE"] = options["mode"]  # where the integration looks for whether it needs a key
    return WandbLoggerCallback(**{"group": folder.name, "dir": str(folder.absolute()), **options})
