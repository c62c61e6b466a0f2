"""Looks at a user's videos: classes, durations, frame rates, sizes, unusable files, and videos that look alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search_space.base import machine
from search_space.base.errors import InputError

MOST = 2000  # videos that are looked at; of more an even choice
GRID = 8, 9  # cells of a middle frame, of which neighbours in a row are compared
BRIGHTER = 2  # grey levels that count as a difference
PLAIN = 6  # bits of a hash that must be set; a frame with fewer looks like too many others
ALIKE = 2  # bits in which two hashes may differ
LARGEST = 0.3  # share of the videos that may be one group of videos that look alike


@dataclass(frozen=True)
class Video:
    """A video that can be used: name, label, frames, frame rate, size in pixels and hash of its middle frame."""

    name: str
    label: int
    segment: tuple[float, float] | None
    frames: int
    fps: float
    height: int
    width: int
    hash: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.fps


@dataclass(frozen=True)
class Inspection:
    """Result of looking at a folder or a list of videos.

    Attributes:
      path: folder or list.
      video_root: folder of the files of a list; '' for that of the list.
      source: as a search calls it: video_folder, video_csv or pace.
      classes: names by label.
      counts: videos of each class.
      videos: those looked at.
      unusable: name and reason of those that cannot be used.
      divided: whether folders or the list name the splits.
      groups: group of each video looked at; those that look alike share one. Empty where none do.
    """

    path: Path
    video_root: str
    source: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    videos: tuple[Video, ...]
    unusable: tuple[tuple[str, str], ...]
    divided: bool
    groups: tuple[int, ...]

    def quantile(self, name: str, share: float) -> float:
        """Quantile of an attribute over the videos."""
        return float(np.quantile([getattr(video, name) for video in self.videos], share))


def inspect(path: Path, video_root: str = "") -> Inspection:
    """Look at a folder of videos, or at a list of them whose files are relative to `video_root`.

    Raises:
      InputError: it cannot be read, or holds no video that can be used.
    """
    from movinet.data.video.decoder import Decoder, in_order
    from movinet.data.video.source import open_videos
    from movinet.data.video.timeline import UnusableVideo

    source = _source(path)
    videos = open_videos(source, path, "all", video_root)
    workers = machine.cores()
    decoder = Decoder(workers)

    def looked_at(i: int) -> Video | tuple[str, str]:
        file = videos.files[i]
        try:
            timeline = decoder.scan(file.path)
            numbers = timeline.numbers(None, file.segment)
            (frame,) = decoder.read(file.path, timeline, numbers[len(numbers) // 2 :][:1])
            if not timeline.unit:
                raise UnusableVideo("has neither timestamps nor a frame rate")
            fps = len(timeline) / (float(timeline.end - timeline.times[0]) * float(timeline.unit))
            height, width, _ = frame.shape
            return Video(file.name, file.label, file.segment, len(numbers), fps, height, width, _hash(frame))
        except UnusableVideo as error:
            return videos.name(i), str(error)

    chosen = np.unique(np.linspace(0, len(videos) - 1, min(MOST, len(videos))).round().astype(int)).tolist()
    try:
        found = list(in_order(looked_at, chosen, workers))
    finally:
        decoder.close()
    usable = tuple(each for each in found if isinstance(each, Video))
    unusable = tuple(each for each in found if not isinstance(each, Video))
    if not usable:
        name, why = unusable[0]
        raise InputError(str(path), len(found), f"videos cannot be used; the first: {name} {why}")
    counts = tuple(np.bincount(videos.labels, minlength=len(videos.classes)).tolist())
    divided = _divided(source, path, videos)
    groups = () if divided or len(chosen) < len(videos) else _groups([video.hash for video in usable])
    return Inspection(path, video_root, source, videos.classes, counts, usable, unusable, divided, groups)


def _source(path: Path) -> str:
    from movinet.data.video.folder import list_folder, list_unlabelled

    if not path.is_dir():
        return "video_csv"
    try:
        list_folder(path)
    except InputError:
        if any(list_unlabelled(path).splits.values()) and not any(child.is_dir() for child in path.iterdir()):
            return "pace"  # videos without a folder for each class
        raise
    return "video_folder"


def _divided(source: str, path: Path, videos: Any) -> bool:
    from movinet.data.video.csv_list import listed_splits

    if source == "video_csv":
        return listed_splits(path) != ("all",)
    return source == "video_folder" and not videos.files[0].name.startswith(f"{videos.classes[videos.files[0].label]}/")


def _hash(frame: np.ndarray) -> int:
    """64 bits of a frame `H W C`: where it gets brighter from a cell to the next one."""
    rows = [part.mean(0) for part in np.array_split(frame.mean(2), GRID[0])]
    cells = np.array([[part.mean() for part in np.array_split(row, GRID[1])] for row in rows])
    return int.from_bytes(np.packbits(np.diff(cells, axis=1) > BRIGHTER).tobytes())


def _groups(hashes: Sequence[int]) -> tuple[int, ...]:
    """The group of each video, by the number of its first one; () if all differ, or most look alike."""
    values = np.array(hashes, np.uint64)
    group = np.arange(len(values))
    for i in np.flatnonzero(np.bitwise_count(values) >= PLAIN):
        alike = np.flatnonzero(np.bitwise_count(values[:i] ^ values[i]) <= ALIKE)
        joined = np.unique([*group[alike], group[i]])
        group[np.isin(group, joined)] = joined[0]
    largest = max(Counter(group.tolist()).values())
    if largest == 1 or largest > max(2, LARGEST * len(group)):
        return ()
    return tuple(group.tolist())
