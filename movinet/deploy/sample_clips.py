"""Clips of a source in a network's input format, for int8 calibration and to compare an exported model on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from movinet.data.video.source import Source, open_source
from movinet.data.video.timeline import UnusableVideo
from movinet.model.keras_layers import Shape
from search_space.base.errors import InputError

LEVELS = ("tiny", "default")


def sample_clips(where: str, shape: Shape, stride: int, count: int, split: str = "train") -> npt.NDArray[np.float32]:
    """Return at most `count` clips spread over a source: N T H W 3 in 0..1, each from the middle of its video.

    Args:
      where: a level of the bundled digits, a folder or a list of videos, or a folder of cached clips.
      shape: T H W 3; a video that is too short is repeated.
      stride: distance in frames of the video between frames of the clip.
      split: of digits and of cached clips; a folder or list is used as a whole.

    Raises:
      InputError: the source does not exist, or has no usable video.
    """
    source = _source(where, split, count)
    chosen = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    found = []
    for i in chosen:
        try:
            found.append(_clip(source, int(i), shape, stride))
        except UnusableVideo:
            continue
    if not found:
        raise InputError("--representative", where, "has no usable video")
    return np.stack(found)


def _source(where: str, split: str, count: int) -> Source:
    path = Path(where)
    if where in LEVELS:
        return open_source("moving_digits", where, split=split, num_examples=-(-count // 36) * 36)
    if (path / "dataset.json").is_file():
        return open_source("cached", path, split=split)
    if path.is_dir():
        return open_source("video_folder", path, split="all")
    if path.is_file():
        return open_source("video_csv", path, split="all")
    rule = f"must be {', '.join(LEVELS)}, or a folder or a list of videos"
    raise InputError("--representative", where, rule)


def _clip(source: Source, i: int, shape: Shape, stride: int) -> npt.NDArray[np.float32]:
    frames, height, width, _ = (int(size or 1) for size in shape)
    length = source.frames(i)
    first = max(0, (length - (frames - 1) * stride - 1) // 2)
    pictures = source.read(i, (first + np.arange(frames) * stride) % length, max(height, width))
    top, left = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, top : top + height, left : left + width].astype(np.float32) / np.float32(255)
