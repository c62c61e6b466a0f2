"""Training of a proposal on labelled examples, rung by rung.

All candidates of a run train on the same examples in the same order, so that comparisons are fair; only the seeds of
the weights differ. Repeats have another order.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nas.config.metrics import METRICS, measured
from nas.config.search_config import SearchConfig
from nas.evaluation.clip_subset import clip_subset
from nas.record import correct_clips
from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.base.errors import InputError

EVALUATION_BATCH = 128
RUNG_CLIPS = 512  # validation clips of an early measurement, which costs a sixth of a rung's training
ORDER = 0x0DE2  # separates the stream of clip orders from other uses of a run's seed
RUNG = 0x0DE3  # and the stream of clips of early measurements


class TrainingLoop(ABC):
    """Trains proposals one after another; a subclass has the networks and the data. `N` is a number of examples.

    Args:
      config: the run's.

    Raises:
      InputError: the run is a simulated one.
    """

    advice = ""  # to the user, where a training diverged

    def __init__(self, config: SearchConfig) -> None:
        if config.simulation is not None:
            raise InputError("simulation", vars(config.simulation), "is for searches; here networks are trained")
        self.config = config
        self.metric = None if config.statistic in METRICS else METRICS.find("statistic", config.statistic)
        self.recipe = config.training
        self.rungs = config.early_stopping.steps(self.recipe.steps)
        rng = np.random.default_rng([config.seed, RUNG])
        self.rung_clips = clip_subset(self.classes_of("validation"), RUNG_CLIPS, rng)

    @abstractmethod
    def begin(self, architecture: Mapping[str, Any], seed: int) -> Any:
        """Return a candidate with initial weights drawn from a seed, as the other methods take it."""

    @abstractmethod
    def step(self, candidate: Any, indices: np.ndarray) -> Any:
        """Train a candidate on the training examples `indices` [N]; return the loss before, a number."""

    @abstractmethod
    def batch_logits(self, candidate: Any, split: str, indices: np.ndarray) -> Any:
        """Return logits [N, classes] of the examples `indices` [N] of a split, few enough for one batch."""

    @abstractmethod
    def classes_of(self, split: str) -> np.ndarray:
        """Return the class of each example of a split: int [N]."""

    def clips_per_video(self, split: str) -> np.ndarray | None:
        """Return the number of consecutive examples of each video, int [videos]; None where each stands alone."""
        return None

    def parted(self) -> Sequence[str]:
        """Return the names of the classes where their parts are measured too; see `metrics_of`."""
        return ()

    def train(self, proposal: Proposal, attempt: int = 0) -> Generator[Rung | Completed | Failed]:
        """Yield rungs as they are reached, then `Completed`; `Failed` if a loss is not finite.

        To stop early, a caller stops iterating. Every attempt is the same training.
        """
        candidate = self.begin(proposal.architecture, proposal.seed)
        start = time.monotonic()
        order = _order(len(self.classes_of("train")), self.recipe, self.config.seed, proposal.repeat)
        for step, indices in enumerate(order, 1):
            loss = self.step(candidate, indices)
            if step in self.rungs:
                metrics = self.evaluate(candidate, "validation", self.rung_clips)
                if not _finite(float(loss), metrics):
                    break
                yield Rung(proposal.index, step, metrics, time.monotonic() - start)
        else:
            metrics, right = self.final_results(candidate, proposal.kind)
        if _finite(float(loss), metrics):
            yield Completed(proposal.index, step, metrics, time.monotonic() - start, right)
        else:
            yield Failed(proposal.index, f"diverged within {step} steps{self.advice}", 1)

    def final_results(self, candidate: Any, kind: str) -> tuple[dict[str, float], dict[str, Any] | None]:
        """Return metrics on the validation split; for trainings that select nothing, also on the test split.

        The latter include the correctly classified test clips, packed by `nas.record.correct_clips`.
        """
        metrics = self.evaluate(candidate, "validation")
        if kind == "search":
            return metrics, None
        labels = self.classes_of("test")
        logits = self.logits(candidate, "test", np.arange(len(labels)))
        right = correct_clips.packed(logits.argmax(1) == labels, self.clips_per_video("test"))
        return metrics | {f"test_{name}": value for name, value in self._metrics(logits, labels).items()}, right

    def evaluate(self, candidate: Any, split: str, indices: np.ndarray | None = None) -> dict[str, float]:
        """Return metrics on the examples `indices` [N] of a split, or on all, and the breakdown by parts of a label."""
        labels = self.classes_of(split)
        indices = np.arange(len(labels)) if indices is None else indices
        return self._metrics(self.logits(candidate, split, indices), labels[indices])

    def logits(self, candidate: Any, split: str, indices: np.ndarray) -> np.ndarray:
        """Return logits [N, classes] of the examples `indices` [N] of a split."""
        batches = np.array_split(indices, -(-len(indices) // EVALUATION_BATCH))
        logits = [self.batch_logits(candidate, split, each) for each in batches]
        return np.concatenate([np.asarray(each) for each in logits])

    def _metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        metrics = metrics_of(logits, np.asarray(labels), self.parted())
        if self.metric is not None and np.isfinite(logits).all():  # otherwise the training has diverged
            name = self.config.statistic
            metrics[name] = measured(f"statistic {name}", self.metric, logits, np.asarray(labels))
        return metrics


def _finite(loss: float, metrics: Mapping[str, float]) -> bool:
    return math.isfinite(loss) and all(map(math.isfinite, metrics.values()))


def metrics_of(logits: np.ndarray, labels: np.ndarray, parted: Sequence[str] = ()) -> dict[str, float]:
    """Return accuracy, cross-entropy and likelihood of logits [N, classes].

    The likelihood, exp(-loss), is the geometric mean of the probability of the right class. `parted` are the names of
    the classes if they have the form "motion: appearance"; the accuracy of each part is added.
    """
    predicted = logits.argmax(1)
    with np.errstate(invalid="ignore", over="ignore"):  # logits of a diverged network, whose loss is not finite
        shifted = logits - logits.max(1, keepdims=True)
        log_likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(1))
    loss = float(-log_likelihood.mean())
    metrics = {"accuracy": float((predicted == labels).mean()), "loss": loss, "likelihood": math.exp(-loss)}
    if parted:
        parts = np.array([name.split(": ") for name in parted])
        right = (parts[predicted] == parts[labels]).mean(0)
        metrics |= {"motion": float(right[0]), "appearance": float(right[1])}
    return metrics


def _order(clips: int, recipe: Any, seed: int, repeat: int) -> Iterator[np.ndarray]:
    """Yield the clip indices of each step; every clip once per epoch."""
    rng = np.random.default_rng([seed, ORDER, repeat])
    left = np.empty(0, np.int64)
    for _ in range(recipe.steps):
        while len(left) < recipe.batch_size:
            left = np.concatenate([left, rng.permutation(clips)])
        yield left[: recipe.batch_size]
        left = left[recipe.batch_size :]
