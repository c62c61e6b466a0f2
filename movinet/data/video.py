"""A folder of real videos, one sub-folder per class, decoded once into the cached form of `store`.

Decoding is PyAV's (FFmpeg). A file that cannot be decoded is named in the dataset's `skipped`, never fatal by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from movinet.data.decoding import UnusableVideo, read_clips
from movinet.data.store import SPLITS, Dataset, Skipped, Split, cache_path, write_dataset
from search_space.architecture import MAX_FRAMES, MAX_RESOLUTION, check_integer
from search_space.errors import InputError

SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv")
)


@dataclass(frozen=True)
class VideoFolder:
    """What to take from `root`: `clips_per_video` clips of `ticks` frames, every `frame_stride`-th of the source.

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


@dataclass(frozen=True)
class VideoFile:
    """A file, its path relative to the root in POSIX form, and its class as a label."""

    path: Path
    name: str
    label: int


@dataclass(frozen=True)
class Listing:
    """The class names, the videos of each split, and what was left out already."""

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[VideoFile]]
    skipped: Sequence[Skipped]


def video_folder(config: VideoFolder, workers: int = 2) -> Dataset:
    """The dataset of `config`, decoded into the cache by `workers` threads unless it is there already.

    Videos shorter than a clip are looped. A changed, added or removed file makes another dataset.
    Raises `InputError` if the folder cannot be read, or lacks usable videos of a split, or of a class in training.
    """
    check_integer("video.workers", workers, 1, 256)
    listing = list_videos(config)
    taken = {key: value for key, value in asdict(config).items() if key != "root"}
    settings = {"source": "video/1", **taken, "files": _listing_sha256(listing)}
    splits = {split: _usable(config, split, listing, workers) for split in SPLITS}
    path = cache_path("video", settings)
    return write_dataset(path, "video", listing.classes, config.ticks, config.resolution, settings, splits)


def list_videos(config: VideoFolder) -> Listing:
    """The video files below the root, by split. Links are followed only to files within the root.

    Raises `InputError` if the folder cannot be read, or if a class or split has no videos.
    """
    root = config.root
    names, folders, skipped = _walk(root)
    split_folders = _split_folders(root, folders)
    above = [split_folders["train"]] if split_folders else []
    classes = tuple(folder[-1] for folder in folders if list(folder[:-1]) == above)
    if not classes:
        raise InputError(str(root), "no folders", "must hold one sub-folder of videos per class")
    if split_folders:
        splits = {split: _labelled(root, names, classes, (folder,)) for split, folder in split_folders.items()}
    else:
        splits = _divide(_labelled(root, names, classes, ()), len(classes), config.validation, config.test)
    for label, name in enumerate(classes):
        if not any(file.label == label for file in splits["train"]):
            raise InputError(str(root), name, "is a class folder without videos to train on")
    for split in SPLITS:
        if not splits[split]:
            raise InputError(str(root), split, "has no videos; a class needs three files to be split by shares")
    return Listing(classes, splits, skipped)


Parts = tuple[str, ...]


def _walk(root: Path) -> tuple[list[Parts], list[Parts], list[Skipped]]:
    """Below `root`, sorted: video files and folders, as the parts of their relative paths, and what was left out."""
    files: list[Parts] = []
    folders: list[Parts] = []
    skipped: list[Skipped] = []
    try:
        for base, below, names in os.walk(root, onerror=_raise):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in below + [name for name in names if _is_video_name(name)]:
                path = Path(base, name)
                parts = path.relative_to(root).parts
                if reason := _unfit(path, root):
                    skipped.append(Skipped("/".join(parts), reason))
                else:
                    (folders if path.is_dir() else files).append(parts)
    except OSError as error:
        raise InputError(str(root), str(error), "must be a readable folder of class folders") from error
    return sorted(files), sorted(folders), sorted(skipped, key=lambda item: item.file)


def _is_video_name(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _unfit(path: Path, root: Path) -> str:
    """Why `path` is not to be opened or entered, if there is a reason."""
    if path.is_symlink() and (path.is_dir() or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))):
        return "is a link to a folder or out of the root"
    return "" if path.is_dir() or path.is_file() else "is no regular file or a broken link"


def _raise(error: OSError) -> None:
    raise error


def _split_folders(root: Path, folders: Iterable[Parts]) -> dict[str, str]:
    """The folder of each split if the root is laid out by split, else nothing."""
    top = {folder[0] for folder in folders if len(folder) == 1}
    validation = "validation" if "validation" in top else "val"
    found = {"train": "train", "validation": validation, "test": "test"}
    if top.issuperset(found.values()):
        return found
    if top and top.issubset({"train", "validation", "val", "test"}):
        raise InputError(str(root), sorted(top), "must be train, validation (or val) and test, or class folders")
    return {}


def _labelled(root: Path, names: Iterable[Parts], classes: Sequence[str], above: Parts) -> list[VideoFile]:
    """The files that lie in a class folder below `above`, labelled."""
    label_of = {name: label for label, name in enumerate(classes)}
    depth = len(above)
    files = []
    for parts in names:
        if parts[:depth] == above and len(parts) > depth + 1:
            if parts[depth] not in label_of:
                raise InputError(str(root.joinpath(*parts[: depth + 1])), parts[depth], "is not a class of train")
            files.append(VideoFile(root.joinpath(*parts), "/".join(parts), label_of[parts[depth]]))
    return files


def _divide(files: Iterable[VideoFile], classes: int, validation: float, test: float) -> dict[str, list[VideoFile]]:
    """Split every class by the hash of its files' names; a class of three or more is in every split."""
    splits: dict[str, list[VideoFile]] = {split: [] for split in SPLITS}
    by_class: list[list[VideoFile]] = [[] for _ in range(classes)]
    for file in files:
        by_class[file.label].append(file)
    for own in by_class:
        own.sort(key=lambda file: hashlib.sha256(file.name.encode()).digest())
        tests, validations = _shares(len(own), test, validation)
        splits["test"] += own[:tests]
        splits["validation"] += own[tests : tests + validations]
        splits["train"] += own[tests + validations :]
    return {split: sorted(own, key=lambda file: file.name) for split, own in splits.items()}


def _shares(count: int, first: float, second: float) -> tuple[int, int]:
    """How many of `count` files to hold out for each share: at least one each, and at least one left to train on."""
    if count < 3:
        return 0, 0
    ahead = min(max(1, round(count * first)), count - 2)
    return ahead, min(max(1, round(count * second)), count - 1 - ahead)


def _listing_sha256(listing: Listing) -> str:
    digest = hashlib.sha256()
    for split in SPLITS:
        for file in listing.splits[split]:
            status = file.path.stat()
            digest.update(repr((split, file.name, file.label, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _usable(config: VideoFolder, split: str, listing: Listing, workers: int) -> Iterator[Split | Skipped]:
    """The clips of `split` in the order of its files, and what was skipped."""
    skipped = list(listing.skipped) if split == "train" else []
    yield from skipped
    seen: set[int] = set()
    for piece in _read_all(config, listing.splits[split], workers):
        if isinstance(piece, Skipped):
            skipped.append(piece)
        else:
            seen.update(piece.labels.tolist())
        yield piece
    lost = set(range(len(listing.classes))) - seen if split == "train" else set()
    if lost or not seen:
        place = f"{config.root}: {split}"
        what = [listing.classes[label] for label in sorted(lost)] or split
        first = f"; first: {skipped[0].file} {skipped[0].reason}" if skipped else ""
        raise InputError(place, what, f"has no usable video; {len(skipped)} files were skipped{first}")


def _read_or_skip(config: VideoFolder, file: VideoFile) -> Split | Skipped:
    try:
        clips = read_clips(file.path, config.ticks, config.resolution, config.frame_stride, config.clips_per_video)
    except UnusableVideo as error:
        return Skipped(file.name, str(error))
    return Split(clips, np.full(len(clips), file.label, np.int32))


def _read_all(config: VideoFolder, files: Iterable[VideoFile], workers: int) -> Iterator[Split | Skipped]:
    """Every file in order, `workers` at a time and only a few ahead of what has been taken."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Split | Skipped]] = deque()
        for file in files:
            pending.append(pool.submit(_read_or_skip, config, file))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
