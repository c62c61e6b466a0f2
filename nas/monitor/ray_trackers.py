"""MLflow and Weights & Biases by Ray Tune's integrations, with readable trials.

Trials and results are exchanged with workers as text. An integration gets the parameters and the metrics over training
steps instead, under the name of the trial in the run.
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
LONGEST = 200  # characters of a service's message


@dataclass(eq=False)
class Shown:
    """The attributes of a Tune trial that integrations read."""

    trial_id: str
    name: str
    config: Mapping[str, Any]
    experiment_dir_name: str
    local_path: str

    def __str__(self) -> str:
        return self.name


class Translated(LoggerCallback):
    """An integration that receives the trials of a search; after a failure it is noted once and disabled.

    Args:
      name: of the integration.
      integration: Ray Tune's, which is connected here.
      search: the search with the trials.
      errors: its exceptions.

    Raises:
      InputError: it cannot be connected.
    """

    def __init__(
        self, name: str, integration: LoggerCallback, search: Search, errors: tuple[type[Exception], ...]
    ) -> None:
        self.name, self.integration, self.search, self.errors = name, integration, search, errors
        self.shown: dict[str, Shown] = {}
        self.failed: set[str] = set()  # trials whose training failed without an error of the worker
        self.broken = False
        try:
            integration.setup()
        except errors as error:
            raise InputError(f"tracking.{name}", _line(error), "prevented the connection") from None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # for Tune's unused snapshots

    def log_trial_start(self, trial: Any) -> None:
        """Pass on the start of a trial."""
        proposal = from_dict(json.loads(trial.config["proposal"]))
        assert isinstance(proposal, Proposal)
        config = parameters(self.search.algorithm.space, proposal)
        run = self.search.ledger.path.parent.name
        shown = Shown(trial.trial_id, name_of(proposal), config, run, trial.local_path)
        self.shown[trial.trial_id] = shown
        self._attempt(self.integration.log_trial_start, shown)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Pass on a measurement."""
        event = from_dict(json.loads(result["event"]))
        if isinstance(event, Failed):
            self.failed.add(trial.trial_id)
            return
        assert isinstance(event, Rung | Completed)
        steps = {"training_iteration": event.steps, "timesteps_total": event.steps}
        measured = {**event.metrics, "seconds": event.seconds, **steps}
        self._attempt(self.integration.log_trial_result, iteration, self.shown[trial.trial_id], measured)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Pass on the end of a trial that was started."""
        shown = self.shown.pop(trial.trial_id, None)
        if shown is not None:
            self._attempt(self.integration.log_trial_end, shown, failed or trial.trial_id in self.failed)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait for pending messages."""
        self._attempt(functools.partial(self.integration.on_experiment_end, trials=trials, **info))

    def _attempt(self, action: Callable[..., object], *arguments: object) -> None:
        if self.broken:
            return
        try:
            action(*arguments)
        except self.errors as error:
            self.broken = True
            self.search.note(f"reporting to {self.name} stopped: {_line(error)}")


def _line(error: Exception) -> str:
    """Return the first part of a service's message."""
    return " ".join(str(error).split())[:LONGEST] or type(error).__name__


def trackers(search: Search) -> list[Translated]:
    """Return the configured trackers. Raises `InputError` if one of them cannot be connected."""
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
    """Create the callback with files in the run's folder, because Tune's folder is deleted at the end of the run."""
    from ray.air.integrations.wandb import WandbLoggerCallback  # imports wandb

    if "mode" in options:
        os.environ["WANDB_MODE"] = options["mode"]  # read by the integration to decide whether it needs a key
    return WandbLoggerCallback(**{"group": folder.name, "dir": str(folder.absolute()), **options})
