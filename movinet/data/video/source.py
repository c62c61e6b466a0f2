"""Labelled videos of any origin, read frame by frame: `open_source` opens them by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from movinet.data.proxy.moving_digits import Counts, level, moving_digits
from movinet.data.store import SPLITS, Dataset, Skipped, open_dataset, split_called
from movinet.data.video.csv_list import listed_splits, read_csv
from movinet.data.video.decoded_cache import CachedSource
from movinet.data.video.decoder import Decoder
from movinet.data.video.decoding import Frames, scaled_size
from movinet.data.video.folder import list_folder, list_unlabelled
from movinet.data.video.splits import BY_SHARES, SplitRule
from movinet.data.video.timeline import checked
from movinet.data.video.video_source import VideoSource
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.base.names import check_choice, hint

FILE_TYPES = ("video_folder", "video_csv", "moving_digits", "cached")


class Source(Protocol):
    """Examples by number. Reading is thread-safe; pickling leaves out open files."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by label."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """Labels of all N examples: `[N]`."""
        ...

    @property
    def skipped(self) -> Sequence[Skipped]:
        """Files that were left out when the source was opened."""
        ...

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """Return a name of example `i` for display."""
        ...

    def frames(self, i: int) -> int:
        """Return the number of frames of example `i`, at least one. Raises `UnusableVideo`."""
        ...

    def read(self, i: int, numbers: npt.ArrayLike, short_side: int | None = None) -> Frames:
        """Return the frames `numbers` of example `i`, in any order: uint8 `T H W C`, RGB, upright.

        `short_side` resizes the short side. Raises `UnusableVideo`, and `IndexError` for a number outside the example.
        """
        ...


def open_source(
    file_type: str,
    input_path: str | os.PathLike[str],
    *,
    split: str,
    video_root: str | os.PathLike[str] = "",
    target_fps: float | None = None,
    num_examples: int = -1,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] = "",
    split_shares: Sequence[float] | None = None,
    group_pattern: str = "",
) -> Source:
    """Return the examples of `split`: train, validation, test; for a folder or list of videos also all.

    `input_path` is the folder of a "video_folder" or of a "cached" dataset, the list of a "video_csv" (files relative
    to `video_root`, by default the list's folder), or the level of "moving_digits" (`num_examples` clips rendered from
    `seed`). For videos, `target_fps` numbers frames at that rate instead of the file's, `cache_dir` keeps decoded
    videos, and `split_shares` (validation, test) and `group_pattern` are those of `SplitRule`. Without `split_shares`
    a list that has no splits is not divided.

    Raises:
      InputError: there is nothing of that kind to read.
    """
    wanted = split_called(split)
    input_path, video_root, cache_dir = (os.path.expanduser(each) for each in (input_path, video_root, cache_dir))
    if file_type in ("video_folder", "video_csv"):
        shares = split_shares if split_shares or file_type == "video_csv" else (0.15, 0.15)
        rule = SplitRule(shares[0], shares[1], group_pattern) if shares else None
        source = open_videos(file_type, Path(input_path), wanted, os.fspath(video_root), target_fps, rule)
        return CachedSource(source, Path(cache_dir)) if cache_dir else source
    for name, value in (("target_fps", target_fps), ("cache_dir", cache_dir), ("split_shares", split_shares)):
        if value:
            raise InputError(name, value, f"is for videos, not for {file_type}")
    if file_type == "moving_digits":
        return ClipSource(_digits(str(input_path), wanted, num_examples, seed), wanted)
    if file_type == "cached":
        return ClipSource(open_dataset(Path(input_path)), wanted)
    raise InputError("file_type", file_type, f"must be one of {', '.join(FILE_TYPES)}{hint(file_type, FILE_TYPES)}")


def splits_of(file_type: str, input_path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the non-empty splits of a folder or list of videos; "all" for a list without a column of splits."""
    path = Path(input_path)
    if file_type == "video_folder":
        listing = list_folder(path)
        return tuple(split for split in SPLITS if listing.of(split))
    return listed_splits(path)


def _rate(fps: float | None) -> Fraction | None:
    if fps is None:
        return None
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.001 <= fps <= 1000:
        raise InputError("target_fps", fps, "must be from 0.001 to 1000 frames per second")
    return Fraction(fps).limit_denominator(1001)  # also finds 30000/1001


def open_videos(
    file_type: str,
    path: Path,
    split: str,
    root: str = "",
    target_fps: float | None = None,
    rule: SplitRule | None = None,
    decoder: Decoder | None = None,
) -> VideoSource:
    """Return the videos of a split of a "video_folder", of a "video_csv", or of any folder without "labels".

    Args:
      file_type: one of these, "pace" for videos without labels.
      path: folder or list.
      split: train, validation, test or all.
      root: folder of the files of a list; '' for that of the list.
      target_fps: rate at which frames are counted; None counts those of the file.
      rule: division of what names no splits; None leaves a list undivided.
      decoder: reads the files.

    Raises:
      InputError: the folder or list cannot be read, or has no videos of the split.
    """
    fps = _rate(target_fps)
    if file_type == "video_csv":
        return VideoSource(*read_csv(path, split, Path(root) if root else None, rule), fps, decoder)
    listing = (list_unlabelled if file_type == "pace" else list_folder)(path, rule or BY_SHARES)
    files = listing.of(split)
    if not files:
        others = sorted(name for name, own in listing.splits.items() if own)
        rest = "must be train, validation (or val) and test, or class folders, of which each has three files"
        raise InputError(str(path), split, f"has no videos; splits with videos: {', '.join(others)}; folders {rest}")
    return VideoSource(listing.classes, files, listing.skipped, fps, decoder)


def _digits(name: str, split: str, count: int, seed: int) -> Dataset:
    check_choice("split", split, SPLITS)
    config = level(name or "default", seed)
    if count == -1:
        return moving_digits(config)
    check_integer("num_examples", count, 1, 10_000_000)
    return moving_digits(config, Counts(**{**dict.fromkeys(SPLITS, 1), split: count}))


@dataclass(frozen=True, eq=False)
class ClipSource:
    """Clips of one split of a dataset in the cached form."""

    dataset: Dataset
    split: str

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)

    @property
    def classes(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.dataset.classes

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """See `Source`: `[N]`."""
        return getattr(self.dataset, self.split).labels

    @property
    def skipped(self) -> Sequence[Skipped]:
        """See `Source`."""
        return self.dataset.skipped

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, i: int) -> str:
        """Return the split and the number."""
        return f"{self.split} {i}"

    def frames(self, i: int) -> int:
        """Return the length, which all clips share."""
        return self.dataset.ticks

    def read(self, i: int, numbers: npt.ArrayLike, short_side: int | None = None) -> Frames:
        """See `Source`."""
        clip = getattr(self.dataset, self.split).clips[i]
        frames = clip[checked(numbers, len(clip))]
        if short_side in (None, self.dataset.resolution):
            return frames
        return np.stack([resized(frame, short_side) for frame in frames])


def resized(frame: Frames, short_side: int | None) -> Frames:
    """Return uint8 `H W C` with the short side resized in the same way as frames of a video."""
    width, height = scaled_size(frame.shape[1], frame.shape[0], short_side)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    return picture.to_ndarray(format="rgb24", width=width, height=height, interpolation="BILINEAR").astype(np.uint8)
