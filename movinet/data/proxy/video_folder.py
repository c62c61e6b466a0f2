"""A folder of real videos, one sub-folder per class, decoded once into the cached form of `store`.

PyAV (FFmpeg) decodes. A file that cannot be decoded is listed in the dataset's `skipped`; it is not an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from movinet.data.store import SPLITS, Dataset, Skipped, Split, cache_path, write_dataset
from movinet.data.video.decoder import Decoder, in_order
from movinet.data.video.decoding import Frames
from movinet.data.video.folder import Listing, VideoFile, list_folder
from movinet.data.video.timeline import UnusableVideo, centred, clip_numbers
from search_space.architecture import MAX_FRAMES, MAX_RESOLUTION
from search_space.base.checks import check_integer
from search_space.base.errors import InputError


@dataclass(frozen=True)
class VideoFolder:
    """Clips to read from `root`: `clips_per_video` clips of `ticks` frames, every `frame_stride`-th of the source.

    `root` holds either class folders, which are split by `validation` and `test` (shares of each class's files), or
    train, validation (or val) and test folders that hold them. Raises `InputError` for a value out of range.
    """

    root: Path
    ticks: int
    resolution: int
    frame_stride: int = 1
    clips_per_video: int = 1
    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        check_integer("video.ticks", self.ticks, 1, MAX_FRAMES)
        check_integer("video.resolution", self.resolution, 8, MAX_RESOLUTION)
        check_integer("video.frame_stride", self.frame_stride, 1, MAX_FRAMES)
        check_integer("video.clips_per_video", self.clips_per_video, 1, MAX_FRAMES)
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 < share < 1 or self.validation + self.test >= 1:
                raise InputError(f"video.{name}", share, "must be above 0, and validation + test below 1")


def video_folder(config: VideoFolder, workers: int = 2) -> Dataset:
    """Return the dataset of `config`; if it is not cached, `workers` threads decode it.

    Videos shorter than a clip are looped. A changed, added or removed file gives a new dataset.
    Raises `InputError` if the folder cannot be read, or if a split, or a class in training, has no usable video.
    """
    check_integer("video.workers", workers, 1, 256)
    listing = list_videos(config)
    taken = {key: value for key, value in asdict(config).items() if key != "root"}
    settings = {"source": "video/2", **taken, "files": listing_sha256(listing)}

    def read(file: VideoFile, decoder: Decoder) -> Split:
        clips = read_clips(config, file.path, decoder)
        return Split(clips, np.full(len(clips), file.label, np.int32), np.array([len(clips)]))

    splits = {split: usable(config.root, split, listing, read, workers) for split in SPLITS}
    path = cache_path("video", settings)
    return write_dataset(path, "video", listing.classes, config.ticks, config.resolution, settings, splits)


def list_videos(config: VideoFolder) -> Listing:
    """Return `list_folder` of the root. Raises `InputError` also if a split has no videos."""
    listing = list_folder(config.root, config.validation, config.test)
    check_splits(config.root, listing)
    return listing


def check_splits(root: Path, listing: Listing) -> None:
    """Check that every split has videos. Raises `InputError`."""
    for split in SPLITS:
        if split not in listing.splits:
            found = sorted(listing.splits)
            raise InputError(str(root), found, "must be train, validation (or val) and test, or class folders")
        if not listing.splits[split]:
            raise InputError(str(root), split, "has no videos; a class needs three files to be split by shares")


def listing_sha256(listing: Listing) -> str:
    """Return a hash of the files of all splits: their names, labels, sizes and modification times."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for file in listing.splits[split]:
            status = file.path.stat()
            digest.update(repr((split, file.name, file.label, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


Read = Callable[[VideoFile, Decoder], Split]  # may raise `UnusableVideo`


def usable(root: Path, split: str, listing: Listing, read: Read, workers: int) -> Iterator[Split | Skipped]:
    """Yield the results of `read` for the files of `split`, in their order, and the skipped files.

    Raises:
      InputError: there is no clip, or none of a class in training.
    """
    skipped = list(listing.skipped) if split == "train" else []
    yield from skipped
    seen: set[int] = set()
    for piece in _read_all(listing.splits[split], read, workers):
        if isinstance(piece, Skipped):
            skipped.append(piece)
        else:
            seen.update(piece.labels.tolist())
        yield piece
    lost = set(range(len(listing.classes))) - seen if split == "train" else set()
    if lost or not seen:
        place = f"{root}: {split}"
        what = [listing.classes[label] for label in sorted(lost)] or split
        first = f"; first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
        raise InputError(place, what, f"has no usable video; {len(skipped)} files were skipped{first}")


def read_clips(config: VideoFolder, file: Path, decoder: Decoder) -> Frames:
    """Return up to `clips_per_video` clips, evenly spaced in the file: uint8 `N T H W C`, RGB.

    Each frame is resized so that its short side is the resolution, and cropped in the centre. A file shorter than a
    clip is looped and yields one clip. Raises `UnusableVideo`.
    """
    timeline = decoder.scan(file)
    starts = centred(len(timeline), config.ticks, config.frame_stride, config.clips_per_video)
    numbers = [clip_numbers(len(timeline), start, config.ticks, config.frame_stride) for start in starts]
    frames = decoder.read(file, timeline, np.concatenate(numbers), config.resolution)
    top, left = ((side - config.resolution) // 2 for side in frames.shape[1:3])
    square = frames[:, top : top + config.resolution, left : left + config.resolution]
    return square.reshape(len(starts), config.ticks, config.resolution, config.resolution, 3)


def _read_all(files: Iterable[VideoFile], read: Read, workers: int) -> Iterator[Split | Skipped]:
    decoder = Decoder(workers)

    def read_or_skip(file: VideoFile) -> Split | Skipped:
        try:
            return read(file, decoder)
        except UnusableVideo as error:
            return Skipped(file.name, str(error))

    try:
        yield from in_order(read_or_skip, files, workers)
    finally:
        decoder.close()
