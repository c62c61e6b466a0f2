"""Where trials are shown besides the run's own folder; nowhere unless it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_space.architecture import check_keys
from search_space.base.errors import InputError
from search_space.base.names import check_choice

MLFLOW = ("tracking_uri", "experiment_name")
WANDB = ("project", "entity", "group", "mode")
MODES = ("online", "offline")


@dataclass(frozen=True)
class TrackingConfig:
    """What shows trials besides.

    Attributes:
      tensorboard: event files in `tensorboard` of the run's folder.
      mlflow: texts for Ray Tune's integration: `tracking_uri`, `experiment_name`; {} takes MLflow's own settings.
      wandb: texts for that of Weights & Biases: `project`, which it needs, `entity`, `group`, `mode`. Its key is never
        here, as the configuration is part of the record, but where `wandb login` puts it or in WANDB_API_KEY.
    """

    tensorboard: bool = False
    mlflow: Mapping[str, str] | None = None
    wandb: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tensorboard, bool):
            raise InputError("tensorboard", self.tensorboard, "must be true or false")
        if self.mlflow is not None:
            _check_texts("mlflow", check_keys("mlflow", self.mlflow, MLFLOW))
        if self.wandb is not None:
            _check_texts("wandb", check_keys("wandb", self.wandb, WANDB, ("project",)))
            if "mode" in self.wandb:
                check_choice("wandb.mode", self.wandb["mode"], MODES)


def _check_texts(place: str, given: Mapping[str, object]) -> None:
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            raise InputError(f"{place}.{name}", value, "must be a text that is not empty")
