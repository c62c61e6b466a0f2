"""Clips of TFRecords for searches, decoded once into the cached form of `movinet.data.store`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from movinet.data.proxy.video_clips import VideoClips
from movinet.data.store import SPLITS, Dataset, Split, cache_path, write_dataset
from movinet.data.video.csv_list import read_classes
from movinet.training.config.experiment import DataConfig
from movinet.training.input.batches import batches
from movinet.training.input.record_faults import read_error
from search_space.base.errors import InputError

BATCH = 16  # records


def record_clips(config: VideoClips) -> Dataset:
    """Return the data set of a folder of records, decoded into the cache unless it is there already.

    Args:
      config: which clips; its `path` is a folder as `movinet.convert` writes it, with `<split>-*.tfrecord` of train,
        validation and test and `classes.txt`.

    Raises:
      InputError: a file is missing or a record cannot be read, a class has no clip in training, or `target_fps` is
        set, although records hold no times.
    """
    if config.target_fps is not None:
        raise InputError(
            "data.target_fps", config.target_fps, "is for videos; records have the rate of their conversion"
        )
    classes = read_classes(config.path / "classes.txt")
    files = {split: sorted(config.path.glob(f"{split}-*.tfrecord")) for split in SPLITS}
    digest = hashlib.sha256()
    for split, own in files.items():
        if not own:
            raise InputError(
                str(config.path), f"{split}-*.tfrecord", "matches no file; a search needs all three splits"
            )
        for file in own:
            status = file.stat()
            digest.update(repr((file.name, status.st_size, status.st_mtime_ns)).encode())
    settings = {"source": "tfrecord/1", **config.settings, "files": digest.hexdigest()}
    splits = {split: _clips(config, split, own, classes) for split, own in files.items()}
    path = cache_path("tfrecord", settings)
    return write_dataset(path, "tfrecord", classes, config.ticks, config.resolution, settings, splits)


def _clips(config: VideoClips, split: str, files: Sequence[Path], classes: Sequence[str]) -> Iterator[Split]:
    side, views = config.resolution, config.clips_per_video
    data = DataConfig(
        input_path=tuple(map(str, files)),
        is_training=False,
        global_batch_size=BATCH,
        drop_remainder=False,
        feature_shape=(config.ticks, side, side, 3),
        temporal_stride=config.frame_stride,
        num_test_clips=views,
        min_image_size=side,
        num_classes=len(classes),
        short_clip="pad" if config.short_clip == "pad" else "loop",
    )
    seen: set[int] = set()
    try:
        for clips, labels in batches(data, training=False, seed=0):
            own = labels.numpy()
            seen.update(own.tolist())
            pixels = np.rint(255 * clips.numpy()).astype(np.uint8)
            yield Split(pixels, np.repeat(own, views), np.full(len(own), views))
    except tf.errors.OpError as error:
        raise read_error(error, str(config.path), [data]) from None
    if split == "train" and (lost := [name for label, name in enumerate(classes) if label not in seen]):
        raise InputError(f"{config.path}: train", lost, "has no record")
