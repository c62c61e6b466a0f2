"""Sections of the configuration of a search: clips, early stopping, re-evaluation, resources and others."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from nas.algorithms.base import Algorithm
from nas.algorithms.registry import ALGORITHMS
from nas.config.sources import GIVEN, SOURCES
from nas.loop.early_stopping import BinnedStopping, CostBins
from nas.record.objective import Objective
from nas.tasks.own import OwnTask
from nas.tasks.registry import MOVINET, TASKS
from search_space.base.catalogue import Named, check_options
from search_space.base.checks import check_pattern, check_shares
from search_space.base.configuration import NOT_EMPTY, configuration, within
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.published import PUBLISHED

Count = Annotated[int, within(1, 10_000_000)]
Share = Annotated[float, within(0.0, 1.0)]


def _check_plain(options: Mapping[str, Any]) -> None:
    try:
        json.dumps(options, allow_nan=False)  # the header of the event log must be valid JSON
    except (TypeError, ValueError):
        raise InputError("options", options, "must be plain values and finite numbers") from None


@configuration
class TaskConfig:
    """Network family to search.

    Attributes:
      name: movinet, or `module:name` of a class derived from `movinet_nas.extend.Task`, which defines choices, costs,
        data and training. Then leave out `space`, `data`, `family` and all of `training` except `steps` and
        `batch_size`.
      options: arguments of a class of your own, by name.
    """

    name: Annotated[str, Named(TASKS)] = MOVINET
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name == MOVINET:
            if self.options:
                raise InputError("options", self.options, f"are for a task of your own, not for {MOVINET}")
            return
        check_options(TASKS.find("name", self.name), self.options, ())
        _check_plain(self.options)

    @functools.cached_property
    def own(self) -> OwnTask | None:
        """The family that the user brings, made when it is first needed; None for MoViNets.

        Raises:
          InputError: it cannot be made, or has no valid choices or costs.
        """
        if self.name == MOVINET:
            return None
        return OwnTask(self.name, TASKS.find("task.name", self.name), self.options)


@configuration
class DataConfig:
    """Source of the clips.

    Attributes:
      source: moving_digits is the bundled task; video_folder reads videos labelled by sub-folder; video_csv reads a
        list of videos with labels; tfrecord reads a folder of movinet.convert; pace labels any videos by their playback
        pace. Or `module:name` of a class such as `movinet_nas.extend.ClipSource`.
      level: difficulty and size of the moving digits.
      train, validation, test: number of clips of this split of the moving digits.
      path: folder of the videos or records, or list of a video_csv; '' for the moving digits.
      video_root: folder that the files of a video_csv are relative to; '' takes that of the list.
      target_fps: frames per second that `frame_stride` counts; null counts the frames of each file.
      frame_stride: distance in video frames between frames of a clip; the space's strides multiply it.
      clips_per_video: clips taken from each video, evenly spaced.
      short_clip: how a video shorter than a clip fills it; loop starts again, pad repeats the last frame.
      split_shares: shares of each class's videos for validation and test, where neither folders nor the list name the
        splits.
      group_pattern: regular expression for the names of files; videos in whose names it finds the same text are in one
        split. If it has a part in parentheses, the text of that part counts. A column `group` of a list overrules it.
      options: arguments of a class of your own, by name.
    """

    source: Annotated[str, Named(SOURCES)] = "moving_digits"
    level: Literal["tiny", "default"] = "default"
    train: Count = 6000
    validation: Count = 2000
    test: Count = 2000
    path: str = ""
    video_root: str = ""
    target_fps: Annotated[float, within(0.001, 1000)] | None = None
    frame_stride: Count = 1
    clips_per_video: Count = 1
    short_clip: Literal["loop", "pad"] = "loop"
    split_shares: tuple[float, float] = (0.15, 0.15)
    group_pattern: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = self.source not in SOURCES
        if own:
            check_options(SOURCES.find("source", self.source), self.options, GIVEN)
            _check_plain(self.options)
        elif self.options:
            raise InputError("options", self.options, f"are for a source of your own, not for {self.source}")
        videos = self.source != "moving_digits" and not own
        if videos != bool(self.path) or "\0" in self.path:
            rule = (
                "must name a folder or list of videos, or a folder of records"
                if videos
                else f"must be left out for the source {self.source}"
            )
            raise InputError("path", self.path, rule)
        if self.video_root and self.source != "video_csv":
            raise InputError("video_root", self.video_root, f"is for the source video_csv, not for {self.source}")
        check_shares("split_shares", self.split_shares)
        check_pattern("group_pattern", self.group_pattern)


@configuration
class EarlyStopping:
    """Early stopping in bins of cost; see `nas.loop.early_stopping`.

    Attributes:
      rungs: fractions of the steps after which trials are compared, rising; an empty list turns early stopping off.
      reduction: the best 1/`reduction` of the trials of a bin continue.
      bands: bins of log-cost; only trials in the same bin are compared.
      minimum: trials of a bin that are measured before one is stopped.
      dominators: in place of `reduction`: a trial is stopped if at least this many trials of equal or lower cost
        are better.
      dominating: with `dominators`: and if they are at least this fraction of the trials of equal or lower cost.
    """

    rungs: tuple[Annotated[float, within(1e-6, 1 - 1e-6)], ...] = (0.25, 0.5)
    reduction: Annotated[float, within(1.001, 1000)] = 2.0
    bands: Annotated[int, within(1, 1000)] = 4
    minimum: Annotated[int, within(1, 1_000_000)] = 4
    dominators: Annotated[int, within(1, 1_000_000)] | None = None
    dominating: Annotated[float, within(0.0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        if any(later <= earlier for earlier, later in zip(self.rungs, self.rungs[1:], strict=False)):
            raise InputError("rungs", list(self.rungs), "must rise")
        if self.dominating and self.dominators is None:
            raise InputError("dominating", self.dominating, "requires 'dominators', which is missing")

    def steps(self, total: int) -> tuple[int, ...]:
        """The rungs in training steps, rising, each from 1 to total - 1."""
        return tuple(sorted({max(1, round(share * total)) for share in self.rungs} - {total}))

    def banded(self, rungs: tuple[int, ...], bands: CostBins, objective: Objective) -> BinnedStopping:
        """Return the rule that compares trials within these bins by `objective` at these rungs, in training steps."""
        rule = self.minimum, self.dominators, self.dominating
        return BinnedStopping(rungs, self.reduction, bands, objective, *rule)


def _check_reference(name: str) -> str:
    published, at, clip = name.partition("@")
    check_choice("", published, PUBLISHED)
    if at and not re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", clip):
        raise InputError("", name, "must have its clip as frames x pixels, such as a2@4x24")
    return name


@configuration
class Finals:
    """Re-evaluation with new seeds at the end of a search, which removes selection bias from the reported accuracy.

    Attributes:
      repeats: trainings of each selected architecture and of each reference; 0 skips the re-evaluation.
      most: largest number of selected architectures, spread over the Pareto front.
      references: published networks scaled to the proxy's scale, such as a2; a2@4x24 is a2 on clips of 4 frames of 24 x
        24 pixels, instead of the clip of even scaling.
    """

    repeats: Annotated[int, within(0, 1000)] = 3
    most: Annotated[int, within(1, 100_000)] = 8
    references: tuple[Annotated[str, AfterValidator(_check_reference)], ...] = ("a0", "a1", "a2", "a3", "a4", "a5")


@configuration
class OneShot:
    """The one-shot search (TuNAS, arXiv 2008.06120); see `nas.one_shot.tunas`.

    Attributes:
      targets: multiply-adds of the searched networks; an empty list uses three, evenly over the range of log cost.
      steps: training steps of the supernet.
      learning_rate: peak learning rate of its weights; all else as in `training`.
      warmup: fraction of the steps in which only weights are trained; 0.25 in TuNAS.
      beta: weight of the cost in the reward Q + beta * |T / T0 - 1|; -0.1 in MoViNet's search.
      controller_rate: learning rate of Adam on the logits.
      reward_clips: number of validation clips that measure the quality Q of a draw.
      recalibration_clips: number of training clips for the moving statistics of each architecture.
      tolerance: largest relative distance of a network's cost from its target.
      checkpoint: steps between checkpoints.
    """

    targets: tuple[Annotated[float, within(1, 1e18)], ...] = ()
    steps: Annotated[int, within(1, 100_000_000)] = 4000
    learning_rate: Annotated[float, within(1e-8, 10.0)] = 0.15
    warmup: Share = 0.25
    beta: Annotated[float, within(-1e6, 0.0)] = -0.1
    controller_rate: Annotated[float, within(0.0, 10.0)] = 0.05
    reward_clips: Annotated[int, within(2, 100_000_000)] = 64
    recalibration_clips: Annotated[int, within(2, 100_000_000)] = 256
    tolerance: Annotated[float, within(1e-6, 0.5)] = 0.05
    checkpoint: Annotated[int, within(1, 100_000_000)] = 250


@configuration
class AlgorithmConfig:
    """The search algorithm.

    Attributes:
      name: search algorithm (all: docs/reference/algorithms.md), or `module:name` of a class derived from `Algorithm`.
      options: arguments of the algorithm, by name.
    """

    name: Annotated[str, Named(ALGORITHMS)] = "frontier_search"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Every algorithm gets the arguments of the base class; its options are its additional arguments.
        check_options(ALGORITHMS.find("name", self.name), self.options, [*inspect.signature(Algorithm).parameters])
        _check_plain(self.options)


@configuration
class SimulationConfig:
    """Synthetic or tabulated measurements in place of training; see `nas.evaluation.simulation`.

    Attributes:
      table: a benchmark table with fingerprints (.csv, .csv.gz); '' computes accuracies by a formula.
      seconds: mean duration of a training, spent sleeping.
      die: probability, per attempt, that the worker kills itself.
      hang: probability that the worker never returns.
      diverge: probability that the loss is not finite.
      error: probability that the training raises an error.
      memory_mb: memory that a worker takes with every trial and never releases.
    """

    table: str = ""
    seconds: Annotated[float, within(0.0, 1e6)] = 0.0
    die: Share = 0.0
    hang: Share = 0.0
    diverge: Share = 0.0
    error: Share = 0.0
    memory_mb: Annotated[float, within(0.0, 1e6)] = 0.0

    def __post_init__(self) -> None:
        if "\0" in self.table:
            raise InputError("table", self.table, "must be the path of a benchmark table, or ''")
        faults = ("die", "hang", "diverge", "error")
        if (together := sum(getattr(self, name) for name in faults)) > 1:
            raise InputError(" + ".join(faults), together, "must be at most 1")


@configuration
class ResourcesConfig:
    """Resources of one trial on a node; Ray counts them but does not enforce them.

    Attributes:
      cpus: CPU cores, and threads of TensorFlow (at least one).
      gpus: GPUs; with 0.5 two trials share one, with 0 a trial sees none.
      engine: engine that trains the candidates: fused runs on one CPU core, tensorflow on cores and GPUs; auto takes
        fused for one core without a GPU.
    """

    cpus: Annotated[float, within(0.01, 10_000)] = 1
    gpus: Annotated[float, within(0, 1000)] = 0
    engine: Literal["auto", "fused", "tensorflow"] = "auto"

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise InputError("gpus", self.gpus, "must be whole above 1")
        if self.gpus and self.engine == "fused":
            raise InputError("gpus", self.gpus, "must be 0 with the engine fused, which trains on a CPU core")

    @property
    def threads(self) -> int:
        """Threads of TensorFlow."""
        return max(1, int(self.cpus))


@configuration
class FaultsConfig:
    """Limits of failures that a search tolerates.

    Attributes:
      trial_seconds: a worker without a measurement for this long is ended and its trial fails; 0 waits forever.
      attempts: number of times that a trial is started if its worker dies or raises.
      most_failed: fraction of the trials that may fail; above it, the search stops and reports the last failure.
      least: number of ended trials from which `most_failed` is applied.
    """

    trial_seconds: Annotated[float, within(0, 1e7)] = 0
    attempts: Annotated[int, within(1, 1000)] = 3
    most_failed: Share = 0.5
    least: Annotated[int, within(1, 10_000_000)] = 8

    def __post_init__(self) -> None:
        if 0 < self.trial_seconds < 1:
            raise InputError("trial_seconds", self.trial_seconds, "must be 0, or at least 1")


Text = Annotated[str, NOT_EMPTY]


@configuration
class Mlflow:
    """MLflow, through Ray Tune's integration.

    Attributes:
      tracking_uri: address of the server; null uses MLflow's setting.
      experiment_name: name of the experiment; null takes the name of the run's folder.
    """

    tracking_uri: Text | None = None
    experiment_name: Text | None = None


@configuration
class Wandb:
    """Weights & Biases, through Ray Tune's integration.

    Its key is no field, because the configuration is part of the event log: `wandb login` or WANDB_API_KEY set it.

    Attributes:
      project: project that the run belongs to.
      entity: user or team; null uses the setting of Weights & Biases.
      group: group of the trials; null takes the name of the run's folder.
      mode: null uses the setting of Weights & Biases.
    """

    project: Text
    entity: Text | None = None
    group: Text | None = None
    mode: Literal["online", "offline"] | None = None


@configuration
class TrackingConfig:
    """Experiment trackers, in addition to the folder of the run.

    Attributes:
      tensorboard: writes event files into `tensorboard` of the run's folder.
      mlflow: settings of MLflow; {} uses its defaults, null does not use it.
      wandb: settings of Weights & Biases; null does not use it.
    """

    tensorboard: bool = False
    mlflow: Mlflow | None = None
    wandb: Wandb | None = None
