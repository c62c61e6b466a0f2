"""Clips of labelled videos, in folders or lists, decoded once into the cached form of `store`.

Decoding is PyAV's (FFmpeg). A file that cannot be decoded is named in the dataset's `skipped`, never fatal by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from movinet.data.store import SPLITS, Dataset, Skipped, Split, cache_path, write_dataset
from movinet.data.video.decoder import Decoder, in_order
from movinet.data.video.decoding import Frames
from movinet.data.video.source import open_videos
from movinet.data.video.splits import BY_SHARES, SplitRule
from movinet.data.video.timeline import UnusableVideo, centred, clip_numbers
from movinet.data.video.video_source import VideoSource
from search_space.architecture import MAX_FRAMES, MAX_RESOLUTION
from search_space.base.checks import check_integer
from search_space.base.errors import InputError


@dataclass(frozen=True)
class VideoClips:
    """Clips to take, and videos to take them from.

    Attributes:
      path: folder of class folders, or list of videos.
      ticks: frames of a clip.
      resolution: height and width of a clip.
      frame_stride: frames of the video from one frame of a clip to the next.
      clips_per_video: clips of a video, evenly spaced.
      file_type: "video_folder", "video_csv", or "pace" for videos without labels.
      video_root: folder that the files of a list are relative to; '' takes that of the list.
      target_fps: frames per second that `frame_stride` counts; None counts the frames of the file.
      short_clip: a video shorter than a clip is looped ("loop"), or its last frame is repeated ("pad").
      rule: division into splits where neither folders nor the list name them.

    Raises:
      InputError: a value out of range.
    """

    path: Path
    ticks: int
    resolution: int
    frame_stride: int = 1
    clips_per_video: int = 1
    file_type: str = "video_folder"
    video_root: str = ""
    target_fps: float | None = None
    short_clip: str = "loop"
    rule: SplitRule = BY_SHARES

    def __post_init__(self) -> None:
        check_integer("video.ticks", self.ticks, 1, MAX_FRAMES)
        check_integer("video.resolution", self.resolution, 8, MAX_RESOLUTION)
        check_integer("video.frame_stride", self.frame_stride, 1, MAX_FRAMES)
        check_integer("video.clips_per_video", self.clips_per_video, 1, MAX_FRAMES)

    @property
    def settings(self) -> dict[str, object]:
        """Settings that a data set depends on besides the files themselves: plain data."""
        return {key: value for key, value in asdict(self).items() if key not in ("path", "video_root")}

    def sources(self, decoder: Decoder | None = None) -> dict[str, VideoSource]:
        """Return the videos of train, validation and test.

        Raises:
          InputError: the folder or list cannot be read, or a split has no videos.
        """
        given = self.video_root, self.target_fps, self.rule, decoder or Decoder()
        return {split: open_videos(self.file_type, self.path, split, *given) for split in SPLITS}


def video_clips(config: VideoClips, workers: int | None = None) -> Dataset:
    """Return the data set of `config`, decoded into the cache by `workers` threads unless it is there already.

    Args:
      config: videos and clips. A changed, added or removed file makes another data set.
      workers: number of threads, each with a decoding process; None takes one per core.

    Raises:
      InputError: the videos cannot be listed, or a split, or a class in training, has no usable one.
    """

    def read(source: VideoSource, i: int) -> Split:
        clips = read_clips(config, source, i)
        return Split(clips, np.full(len(clips), source.labels[i], np.int32), np.array([len(clips)]))

    return decoded(config, "video", "video/3", {}, None, read, workers)


Read = Callable[[VideoSource, int], Split]  # may raise `UnusableVideo`


def decoded(
    config: VideoClips,
    name: str,
    version: str,
    more: Mapping[str, object],
    classes: tuple[str, ...] | None,
    read: Read,
    workers: int | None,
) -> Dataset:
    """Return the data set of what `read` makes of each video, from the cache or decoded now.

    Args:
      config: which videos.
      name: name of the data set and of its folder in the cache.
      version: changes when the same videos and settings would give other clips.
      more: further settings that the clips depend on.
      classes: names by label; None takes those of the videos.
      read: returns the clips of a video.
      workers: as of `video_clips`.

    Raises:
      InputError: as `video_clips`.
    """
    workers = check_integer("video.workers", workers or os.cpu_count() or 1, 1, 256)
    decoder = Decoder(workers)
    sources = config.sources(decoder)
    settings = {"source": version, **config.settings, **more, "files": files_sha256(sources)}
    splits = usable(str(config.path), sources, read, workers)
    own = classes or sources["train"].classes
    path = cache_path(name, settings)
    try:
        return write_dataset(path, name, own, config.ticks, config.resolution, settings, splits)
    finally:
        decoder.close()


def files_sha256(sources: Mapping[str, VideoSource]) -> str:
    """Return a hash of the files of all splits: their names, labels, segments, sizes and times of change."""
    digest = hashlib.sha256()
    for split, source in sources.items():
        for file in source.files:
            status = file.path.stat()
            what = (split, file.name, file.label, file.segment, status.st_size, status.st_mtime_ns)
            digest.update(repr(what).encode(errors="surrogateescape"))
    return digest.hexdigest()


def usable(
    place: str, sources: Mapping[str, VideoSource], read: Read, workers: int
) -> dict[str, Iterator[Split | Skipped]]:
    """Return for each split an iterator of what `read` makes of its videos, in order, and of what was skipped.

    The iterators raise `InputError` if no clip of a split is left, or none of a class in training.
    """
    named: set[Skipped] = set()  # files left out of a folder are those of all splits
    return {split: _usable(f"{place}: {split}", split, sources[split], read, workers, named) for split in sources}


def _usable(
    place: str, split: str, source: VideoSource, read: Read, workers: int, named: set[Skipped]
) -> Iterator[Split | Skipped]:
    skipped = [item for item in source.skipped if item not in named]
    named.update(skipped)
    yield from skipped
    seen: set[int] = set()
    for i, piece in enumerate(_read_all(source, read, workers)):
        if isinstance(piece, Skipped):
            skipped.append(piece)
        else:
            seen.add(int(source.labels[i]))
        yield piece
    lost = set(range(len(source.classes))) - seen if split == "train" else set()
    if lost or not seen:
        what = [source.classes[label] for label in sorted(lost)] or split
        first = f"; first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
        raise InputError(place, what, f"has no usable video; {len(skipped)} files were skipped{first}")


def read_clips(config: VideoClips, source: VideoSource, i: int) -> Frames:
    """Return up to `clips_per_video` clips of video `i`, evenly spaced: uint8 `N T H W C`, RGB.

    Each frame is resized so that its short side is the resolution, and cropped in the centre. A video shorter than a
    clip gives one.

    Raises:
      UnusableVideo: it cannot be decoded.
    """
    count = source.frames(i)
    starts = centred(count, config.ticks, config.frame_stride, config.clips_per_video)
    numbers = [clip_numbers(count, start, config.ticks, config.frame_stride, config.short_clip) for start in starts]
    frames = source.read(i, np.concatenate(numbers), config.resolution)
    top, left = ((side - config.resolution) // 2 for side in frames.shape[1:3])
    square = frames[:, top : top + config.resolution, left : left + config.resolution]
    return square.reshape(len(starts), config.ticks, config.resolution, config.resolution, 3)


def _read_all(source: VideoSource, read: Read, workers: int) -> Iterator[Split | Skipped]:
    def read_or_skip(i: int) -> Split | Skipped:
        try:
            return read(source, i)
        except UnusableVideo as error:
            return Skipped(source.name(i), str(error))

    yield from in_order(read_or_skip, range(len(source)), workers)
