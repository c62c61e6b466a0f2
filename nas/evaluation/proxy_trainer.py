"""Training of a proposal on the proxy task, rung by rung.

All candidates of a run train on the same clips in the same order, so that comparisons are fair; only the seeds of the
weights differ. Repeats have another order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from movinet.proxy.engine import Engine, make_engine
from nas.config.metrics import METRICS, measured
from nas.config.search_config import SearchConfig
from nas.config.sections import DataConfig
from nas.config.sources import SOURCES
from nas.evaluation.clip_subset import clip_subset
from nas.record import correct_clips
from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.architecture import Architecture, from_dict
from search_space.base.errors import InputError
from search_space.space.movinet import SpaceConfig

EVALUATION_BATCH = 128
RUNG_CLIPS = 512  # validation clips of an early measurement, which costs a sixth of a rung's training
ORDER = 0x0DE2  # separates the stream of clip orders from other uses of a run's seed
RUNG = 0x0DE3  # and the stream of clips of early measurements


def open_data(config: DataConfig, space: SpaceConfig, seed: int = 0) -> Any:
    """Return the dataset of a run, a `movinet.data.store.Dataset`; create it if it is not cached.

    Raises:
      InputError: it cannot be created, or does not fit the space (classes, frames, resolution).
    """
    from movinet.data.proxy.clip_source import clip_dataset
    from movinet.data.proxy.moving_digits import Counts, level, moving_digits
    from movinet.data.proxy.pace import pace_folder
    from movinet.data.proxy.video_folder import VideoFolder, video_folder

    resolution = max(space.resolutions)
    if config.source == "moving_digits":
        counts = Counts(config.train, config.validation, config.test)
        data = moving_digits(level(config.level), counts)
    elif config.source not in SOURCES:
        kind = SOURCES.find("data.source", config.source)
        data = clip_dataset(kind, config.source, config.options, space.frames, resolution)
    else:
        folder = VideoFolder(
            Path(config.path), space.frames, resolution, config.frame_stride, clips_per_video=config.clips_per_video
        )
        data = pace_folder(folder) if config.source == "pace" else video_folder(folder)
    for name, wanted, found in (
        ("classes", space.classes, len(data.classes)),
        ("frames", space.frames, data.ticks),
    ):
        if wanted != found:
            raise InputError(f"space.{name}", wanted, f"must be {found}, as in the data set {data.name}")
    if resolution > data.resolution:
        raise InputError("space.resolutions", resolution, f"must be at most {data.resolution}, that of the data set")
    return data


def open_made(folder: str, verify: bool = False) -> Any:
    """Return the dataset in a folder of `open_data`, memory-mapped; `verify` reads and checks its content."""
    from movinet.data.store import open_dataset

    return open_dataset(folder, verify)


class Trainer:
    """Trains proposals one after another; holds the data and the compiled functions of its process.

    Args:
      config: configuration of the run.
      data: from `open_data`.
      threads: cores that a training may use; None leaves it to the engine.
      engine: replaces the configured one.

    Raises:
      InputError: the run is simulated.
    """

    def __init__(self, config: SearchConfig, data: Any, threads: int | None = 1, engine: Engine | None = None) -> None:
        if config.simulation is not None:
            raise InputError("simulation", vars(config.simulation), "is for searches; here networks are trained")
        self.config, self.data = config, data
        self.engine = engine or make_engine(config.resources.engine, config.resources.gpus, threads)
        self.metric = None if config.statistic in METRICS else METRICS.find("statistic", config.statistic)
        self.recipe = config.training
        self.rungs = config.early_stopping.steps(self.recipe.steps)
        self.rung_clips = clip_subset(data.validation.labels, RUNG_CLIPS, np.random.default_rng([config.seed, RUNG]))

    def train(self, proposal: Proposal, attempt: int = 0) -> Generator[Rung | Completed | Failed]:
        """Yield rungs as they are reached, then `Completed`; `Failed` if a loss is not finite.

        To stop early, a caller stops iterating. Every attempt is the same training.
        """
        architecture = from_dict(proposal.architecture)
        candidate = self.engine.candidate(architecture, len(self.data.classes), self.recipe, proposal.seed)
        start = time.monotonic()
        order = _order(len(self.data.train), self.recipe, self.config.seed, proposal.repeat)
        for step, indices in enumerate(order, 1):
            frames = self.frames(self.data.train, indices, architecture)
            loss = candidate.step(frames, self.labels(self.data.train, indices))
            if step in self.rungs:
                metrics = self.evaluate(candidate, architecture, self.data.validation, self.rung_clips)
                if not _finite(float(loss), metrics):
                    break
                yield Rung(proposal.index, step, metrics, time.monotonic() - start)
        else:
            metrics, right = self.final_results(candidate, architecture, proposal.kind)
        if _finite(float(loss), metrics):
            yield Completed(proposal.index, step, metrics, time.monotonic() - start, right)
        else:
            yield Failed(proposal.index, f"diverged within {step} steps; try a lower learning_rate", 1)

    def final_results(
        self, candidate: Any, architecture: Architecture, kind: str
    ) -> tuple[dict[str, float], dict[str, Any] | None]:
        """Return metrics on the validation split; for trainings that select nothing, also on the test split.

        The latter include the correctly classified test clips, packed by `nas.record.correct_clips`.
        """
        metrics = self.evaluate(candidate, architecture, self.data.validation)
        if kind == "search":
            return metrics, None
        split = self.data.test
        logits = self.logits(candidate, architecture, split, np.arange(len(split)))
        right = correct_clips.packed(logits.argmax(1) == split.labels, split.clips_per_video)
        return metrics | {f"test_{name}": value for name, value in self._metrics(logits, split.labels).items()}, right

    def frames(self, split: Any, indices: np.ndarray, architecture: Architecture) -> Any:
        """Return clips `indices` [B] as input of the engine's candidates, pixels in 0..1.

        A number of frames that does not fit the frame stride is spread evenly over the clip.
        """
        clip = architecture.clip
        clips = split.batch(indices, clip.frame_stride)
        if len(clips) != clip.frames:
            clips = split.batch(indices)
            clips = np.ascontiguousarray(clips[np.arange(clip.frames) * len(clips) // clip.frames])
        return self.engine.frames(clips, clip.resolution)

    def labels(self, split: Any, indices: np.ndarray) -> Any:
        """Return labels [B] as input of the engine's candidates."""
        return self.engine.labels(split.labels[indices])

    def evaluate(
        self, candidate: Any, architecture: Architecture, split: Any, clips: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return metrics on clips `clips` [N] of a split, or on all, and the breakdown by parts of a label."""
        clips = np.arange(len(split)) if clips is None else clips
        return self._metrics(self.logits(candidate, architecture, split, clips), split.labels[clips])

    def logits(self, candidate: Any, architecture: Architecture, split: Any, clips: np.ndarray) -> np.ndarray:
        """Return logits [clips, classes] of the clips of a split with the indices `clips`."""
        batches = np.array_split(clips, -(-len(clips) // EVALUATION_BATCH))
        logits = [candidate.logits(self.frames(split, each, architecture), len(each)) for each in batches]
        return np.concatenate([np.asarray(each) for each in logits])

    def _metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        parted = self.data.classes if self.data.name == "moving_digits" else ()
        metrics = metrics_of(logits, np.asarray(labels), parted)
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
