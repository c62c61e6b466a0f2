"""Trains MoViNets on clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from movinet.proxy.engine import Engine, make_engine
from nas.config.search_config import SearchConfig
from nas.config.sections import DataConfig
from nas.config.sources import SOURCES
from nas.evaluation.training_loop import TrainingLoop
from search_space.architecture import Architecture, from_dict
from search_space.base.errors import InputError
from search_space.base.quiet_tensorflow import quiet_start
from search_space.space.movinet import SpaceConfig


def open_data(config: DataConfig, space: SpaceConfig, seed: int = 0) -> Any:
    """Return the dataset of a run, a `movinet.data.store.Dataset`; create it if it is not cached.

    Raises:
      InputError: it cannot be created, or does not fit the space (classes, frames, resolution).
    """
    from movinet.data.proxy.clip_source import clip_dataset
    from movinet.data.proxy.moving_digits import Counts, level, moving_digits
    from movinet.data.proxy.pace import pace_folder
    from movinet.data.proxy.video_clips import video_clips

    resolution = max(space.resolutions)
    if config.source == "moving_digits":
        counts = Counts(config.train, config.validation, config.test)
        data = moving_digits(level(config.level), counts)
    elif config.source not in SOURCES:
        kind = SOURCES.find("data.source", config.source)
        data = clip_dataset(kind, config.source, config.options, space.frames, resolution)
    elif config.source == "tfrecord":
        with quiet_start():
            from movinet.training.input.record_clips import record_clips
        data = record_clips(clips_of(config, space))
    else:
        data = (pace_folder if config.source == "pace" else video_clips)(clips_of(config, space))
    check_fits(space, data.name, len(data.classes), data.ticks, data.resolution)
    return data


def check_fits(space: SpaceConfig, name: str, classes: int, frames: int, resolution: int) -> None:
    """Check that a space has the classes and the clips of a data set.

    Raises:
      InputError: another number of classes or frames, or a higher resolution.
    """
    for key, wanted, found in (("classes", space.classes, classes), ("frames", space.frames, frames)):
        if wanted != found:
            raise InputError(f"space.{key}", wanted, f"must be {found}, as in the data set {name}")
    if max(space.resolutions) > resolution:
        rule = f"must be at most {resolution}, that of the data set"
        raise InputError("space.resolutions", max(space.resolutions), rule)


def clips_of(config: DataConfig, space: SpaceConfig) -> Any:
    """Return which clips a search takes of its videos: a `movinet.data.proxy.video_clips.VideoClips`."""
    from movinet.data.proxy.video_clips import VideoClips
    from movinet.data.video.splits import SplitRule

    return VideoClips(
        Path(config.path),
        space.frames,
        max(space.resolutions),
        config.frame_stride,
        config.clips_per_video,
        config.source,
        config.video_root,
        config.target_fps,
        config.short_clip,
        SplitRule(*config.split_shares, config.group_pattern),
    )


def open_made(folder: str, verify: bool = False) -> Any:
    """Return the dataset in a folder of `open_data`, memory-mapped; `verify` reads and checks its content."""
    from movinet.data.store import open_dataset

    return open_dataset(folder, verify)


class Trainer(TrainingLoop):
    """Trains MoViNets; holds the data and the compiled functions of its process. A candidate has its architecture.

    Args:
      config: configuration of the run.
      data: from `open_data`.
      threads: cores that a training may use; None leaves it to the engine.
      engine: replaces the configured one.

    Raises:
      InputError: the run is simulated.
    """

    advice = "; try a lower learning_rate"

    def __init__(self, config: SearchConfig, data: Any, threads: int | None = 1, engine: Engine | None = None) -> None:
        self.data = data
        super().__init__(config)
        self.engine = engine or make_engine(config.resources.engine, config.resources.gpus, threads)

    def begin(self, architecture: Mapping[str, Any], seed: int) -> Any:
        """Return a network of the engine, and its architecture."""
        network = from_dict(architecture)
        return self.engine.candidate(network, len(self.data.classes), self.recipe, seed), network

    def step(self, candidate: Any, indices: np.ndarray) -> Any:
        """Train on the training clips `indices` [N]; return the loss before."""
        network, architecture = candidate
        train = self.data.train
        return network.step(self.frames(train, indices, architecture), self.labels(train, indices))

    def batch_logits(self, candidate: Any, split: str, indices: np.ndarray) -> Any:
        """Return logits [N, classes] of the clips `indices` [N] of a split."""
        network, architecture = candidate
        return network.logits(self.frames(getattr(self.data, split), indices, architecture), len(indices))

    def classes_of(self, split: str) -> np.ndarray:
        """Return the class of each clip of a split: int [N]."""
        labels: np.ndarray = getattr(self.data, split).labels
        return labels

    def clips_per_video(self, split: str) -> np.ndarray | None:
        """Return the number of consecutive clips of each video, int [videos]; None where each clip stands alone."""
        clips: np.ndarray | None = getattr(self.data, split).clips_per_video
        return clips

    def parted(self) -> Sequence[str]:
        """Return the names of the moving digits' classes, "motion: appearance"."""
        return self.data.classes if self.data.name == "moving_digits" else ()

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
