"""List a folder of videos by class and split, without opening the files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from movinet.data.store import SPLIT_NAMES, SPLITS, Skipped
from movinet.data.video.splits import BY_SHARES, SplitRule, divide
from search_space.base.errors import InputError

SUFFIXES = frozenset(
    (".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4")
    + (".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv")
)


@dataclass(frozen=True)
class VideoFile:
    """File with its path relative to the root in POSIX form, its class as a label, and its segment in seconds."""

    path: Path
    name: str
    label: int
    segment: tuple[float, float] | None = None


@dataclass(frozen=True)
class Listing:
    """The class names, the videos of each split, and the skipped files."""

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[VideoFile]]
    skipped: Sequence[Skipped]

    def of(self, split: str) -> Sequence[VideoFile]:
        """Return the files of a split, or of "all" splits in the order of their names."""
        if split == "all":
            return sorted((file for files in self.splits.values() for file in files), key=lambda file: file.name)
        return self.splits.get(split, ())


def list_folder(root: Path, rule: SplitRule = BY_SHARES) -> Listing:
    """Return the video files below `root`, by split. Links are followed only to files within the root.

    `root` holds either class folders, which are split by `rule`, or folders of splits, each with class folders;
    `movinet.data.store.SPLIT_NAMES` lists the accepted names of splits.

    Raises:
      InputError: the folder cannot be read, only a part of it is laid out by split, or a class has no training videos.
    """
    names, folders, skipped = _walk(root)
    split_folders = _split_folders(root, names)
    for split, folder in split_folders.items():
        if any(len(parts) == 2 for parts in names if parts[0] == folder):
            why = f"counts as the {split} split, but has videos outside of class folders"
            raise InputError(str(root), folder, why)
    above = [split_folders.get("train", min(split_folders.values()))] if split_folders else []
    classes = tuple(folder[-1] for folder in folders if list(folder[:-1]) == above)
    if not classes:
        raise InputError(str(root), "no folders", "must hold one sub-folder of videos per class")
    if split_folders:
        splits = {split: _labelled(root, names, classes, (folder,)) for split, folder in split_folders.items()}
    else:
        splits = _divide(_labelled(root, names, classes, ()), rule)
    listing = Listing(classes, splits, skipped)
    training = {file.label for file in listing.of("train" if "train" in splits else "all")}
    for label, name in enumerate(classes):
        if label not in training:
            raise InputError(str(root), name, "is a class folder without videos for training")
    return listing


def list_unlabelled(root: Path, rule: SplitRule = BY_SHARES) -> Listing:
    """Return the video files below `root`, at any depth, by split, all of one class; otherwise like `list_folder`."""
    names, folders, skipped = _walk(root)

    def below(*above: str) -> list[VideoFile]:
        own = (parts for parts in names if parts[: len(above)] == above)
        return [VideoFile(root.joinpath(*parts), "/".join(parts), 0) for parts in own]

    split_folders = _split_folders(root, names)
    splits = {split: below(folder) for split, folder in split_folders.items()}
    return Listing(("video",), splits or _divide(below(), rule), skipped)


Parts = tuple[str, ...]


def _walk(root: Path) -> tuple[list[Parts], list[Parts], list[Skipped]]:
    """Return video files and folders below `root`, sorted, as parts of their relative paths, and the skipped files."""
    files: list[Parts] = []
    folders: list[Parts] = []
    skipped: list[Skipped] = []
    unknown: Counter[str] = Counter()  # suffixes
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
            if base != str(root):
                unknown.update(
                    Path(name).suffix.lower() for name in names if not _is_video_name(name) and name[0] != "."
                )
    except OSError as error:
        rule = "prevented reading it; expected a folder of class folders"
        raise InputError(str(root), error.strerror, rule) from error
    for suffix, count in unknown.items():
        skipped.append(Skipped(f"*{suffix}", f"is not a suffix of video files ({count} files)"))
    return sorted(files), sorted(folders), sorted(skipped, key=lambda item: item.file)


def _is_video_name(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _unfit(path: Path, root: Path) -> str:
    """Return the reason why `path` must not be opened or entered, or ''."""
    if path.is_symlink() and (path.is_dir() or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))):
        return "is a link to a folder or to outside of the root"
    return "" if path.is_dir() or path.is_file() else "is a broken link or not a regular file"


def _raise(error: OSError) -> None:
    raise error


def _split_folders(root: Path, names: Sequence[Parts]) -> dict[str, str]:
    """Return the folder of each split if the root is laid out by split, else an empty dictionary.

    Class folders may have the name of a split, if their videos lie directly in them. Folders without videos are
    ignored.

    Raises:
      InputError: some folders are splits and others are not, or two are of the same split.
    """
    top = sorted({parts[0] for parts in names if len(parts) > 1})
    found: dict[str, str] = {}
    for folder in top:
        split = SPLIT_NAMES.get(folder.lower())
        if split in found:
            rule = f"both have names of the {split} split; keep one of them, or rename a class"
            raise InputError(str(root), [found[split], folder], rule)
        if split is not None:
            found[split] = folder
    others = [folder for folder in top if folder not in found.values()]
    if not others:
        return found
    if nested := [folder for folder in found.values() if any(parts[0] == folder and len(parts) > 2 for parts in names)]:
        rule = f"is not a split, but {', '.join(nested)} beside it is; move it, or name it train, validation or test"
        raise InputError(str(root), others[0] if len(others) == 1 else others, rule)
    return {}


def _labelled(root: Path, names: Iterable[Parts], classes: Sequence[str], above: Parts) -> list[VideoFile]:
    """Return the files in class folders below `above`, with labels."""
    label_of = {name: label for label, name in enumerate(classes)}
    depth = len(above)
    files = []
    for parts in names:
        if parts[:depth] == above and len(parts) > depth + 1:
            if parts[depth] not in label_of:
                raise InputError(str(root.joinpath(*parts[: depth + 1])), parts[depth], "is not a class of train")
            files.append(VideoFile(root.joinpath(*parts), "/".join(parts), label_of[parts[depth]]))
    return files


def _divide(files: Sequence[VideoFile], rule: SplitRule) -> dict[str, list[VideoFile]]:
    splits: dict[str, list[VideoFile]] = {split: [] for split in SPLITS}
    own = divide([file.label for file in files], [rule.group(file.name) for file in files], rule)
    for file, split in zip(files, own, strict=True):
        splits[split].append(file)
    return {split: sorted(own, key=lambda file: file.name) for split, own in splits.items()}
