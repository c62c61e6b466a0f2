"""Some clips of a source, as a network takes them: to find ranges with, and to compare an exported model on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from movinet.data.video.source import Source, open_source
from movinet.data.video.timeline import UnusableVideo
from movinet.model.keras_model import Shape
from search_space.base.errors import InputError

LEVELS = ("tiny", "default")


def sample_clips(where: str, shape: Shape, stride: int, count: int, split: str = "train") -> npt.NDArray[np.float32]:
    """At most `count` clips from all over a source: N T H W 3 in 0..1, each from the middle of its video.

    Args:
      where: a level of the embedded digits, a folder or a list of videos, or a folder of cached clips.
      shape: T H W 3; a video that is too short is played again.
      stride: frames of the video from one frame of the clip to the next.
      split: of digits and of cached clips; of a folder or list it is the whole.

    Raises:
      InputError: there is no such source, or none of its videos can be used.
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
        raise InputError("--representative", where, "has no video that can be used")
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
