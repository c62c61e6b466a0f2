"""Trains candidates of a network family that a user brings."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np

from nas.config.search_config import SearchConfig
from nas.evaluation.training_loop import TrainingLoop
from nas.record.events import Completed, Failed, Proposal, Rung
from nas.tasks.own import OwnTask
from search_space.base.catalogue import reason
from search_space.base.errors import InputError


class TaskTrainer(TrainingLoop):
    """Trains networks of a family, in this process; an error that a training raises makes it a failed one.

    Args:
      config: the run's.
      own: the family.

    Raises:
      InputError: the run is a simulated one, or the family has no valid labels.
    """

    def __init__(self, config: SearchConfig, own: OwnTask) -> None:
        self.own, self.labels = own, own.labels
        super().__init__(config)

    def begin(self, architecture: Mapping[str, Any], seed: int) -> Any:
        """Return the network that the family starts with."""
        return self.own.task.start(self.own.with_tuples(architecture), seed)

    def step(self, candidate: Any, indices: np.ndarray) -> Any:
        """Train on the training examples `indices` [N]; return the loss before."""
        return self.own.task.step(candidate, indices)

    def batch_logits(self, candidate: Any, split: str, indices: np.ndarray) -> np.ndarray:
        """Return logits [N, classes] of the examples `indices` [N] of a split.

        Raises:
          InputError: the family returns something else.
        """
        return self.own.checked_logits(candidate, split, indices)

    def classes_of(self, split: str) -> np.ndarray:
        """Return the class of each example of a split: int [N]."""
        return self.labels[split]

    def train(self, proposal: Proposal, attempt: int = 0) -> Generator[Rung | Completed | Failed]:
        """Train as `TrainingLoop.train`; yield `Failed` also for an error of the family, with its file and line."""
        try:
            yield from super().train(proposal, attempt)
        except InputError:
            raise
        except Exception as error:  # foreign code may raise anything
            yield Failed(proposal.index, " ".join(reason(error, self.own.file).split()), 1)
