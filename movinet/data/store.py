"""The cached form of a dataset: memory-mapped arrays that all workers share without copying.

A dataset is a folder: `dataset.json`, and for each of train, validation and test `clips.npy`
(uint8 `N T H W C`, T ticks at the source's full rate) and `labels.npy` (int32 `N`). For videos with several clips,
`dataset.json` has the number of clips per video. A folder is written under a temporary name and renamed when complete,
so an existing folder is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tokenize
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_space.base import untrusted_files
from search_space.base.checks import check_integer
from search_space.base.errors import InputError, why
from search_space.base.names import hint

SCHEMA = "movinet-nas/dataset/1"
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "validate", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MAX_HEADER = 2**28  # bytes; it names every file that was skipped
REPAIR = "(delete the dataset's folder; the next run creates it again)"


def split_called(name: str, place: str = "split") -> str:
    """Return the split that `name` means in any letter case, as `SPLIT_NAMES` lists them; "all" is returned as it is.

    Raises:
      InputError: `name` is not the name of a split.
    """
    known = name.lower()
    if known != "all" and known not in SPLIT_NAMES:
        raise InputError(place, name, f"must be one of {', '.join(SPLITS)}, all{hint(name, [*SPLITS, 'all'])}")
    return SPLIT_NAMES.get(known, known)


@dataclass(frozen=True, eq=False)
class Split:
    """`clips` uint8 `N T H W C` and `labels` int32 `N`; memory-mapped when they come from `open_dataset`.

    `clips_per_video`: number of consecutive clips of each video; None if each clip is independent.
    """

    clips: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    clips_per_video: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: npt.ArrayLike, frame_stride: int = 1, offset: int = 0) -> npt.NDArray[np.uint8]:
        """Return every `frame_stride`-th tick from `offset` of clips `indices`, time-major: uint8 `T B H W C`.

        T is ceil(ticks / frame_stride) for any offset; ticks past the end repeat the last one.
        Raises `IndexError` for an index outside the split, `InputError` for a stride or offset that leaves the clip.
        """
        clips = np.asarray(self.clips)
        ticks = clips.shape[1]
        check_integer("frame_stride", frame_stride, 1, ticks)
        check_integer("offset", offset, 0, ticks - 1)
        times = np.minimum(np.arange(-(-ticks // frame_stride)) * frame_stride + offset, ticks - 1)
        return clips[np.asarray(indices, np.intp), times[:, None]]


@dataclass(frozen=True)
class Skipped:
    """Source file that could not be used, relative to its folder, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits, their classes by label, and the sha256 of their content. Pickles as its path, without the data."""

    name: str
    classes: tuple[str, ...]
    ticks: int
    resolution: int
    train: Split
    validation: Split
    test: Split
    content_hash: str
    path: Path
    skipped: tuple[Skipped, ...] = ()

    def __reduce__(self) -> tuple[Callable[[Path], Dataset], tuple[Path]]:
        return open_dataset, (self.path,)


Source = Iterable[Split | Skipped]


def cache_root() -> Path:
    """Return the folder of cached datasets: $MOVINET_NAS_CACHE, or ~/.cache/movinet-nas."""
    return Path(os.environ.get("MOVINET_NAS_CACHE") or "~/.cache/movinet-nas").expanduser().absolute()


def cache_path(name: str, settings: Mapping[str, Any]) -> Path:
    """Return the folder of the dataset `name` made with `settings` (JSON data); other settings give another folder."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return cache_root() / f"{name}-{digest[:16]}"


def write_dataset(
    path: Path,
    name: str,
    classes: tuple[str, ...],
    ticks: int,
    resolution: int,
    settings: Mapping[str, Any],
    splits: Mapping[str, Source],
) -> Dataset:
    """Write the dataset at `path` and open it; if it exists already, only open it, without reading `splits`.

    Each source yields pieces of its split in order, uint8 `n T H W C` with int32 `n`, or a `Skipped`. Writers of one
    path wait for each other; a killed one leaves `<path>.partial`, which the next one removes. Raises `InputError` if
    the folder cannot be written or a split has no clips.
    """
    header = {"schema": SCHEMA, "name": name, "classes": classes, "ticks": ticks, "resolution": resolution}
    if not path.exists():
        try:
            with only_writer(path):
                if not path.exists():
                    _write_folder(path, {**header, "settings": settings}, splits)
        except OSError as error:
            raise InputError(str(path), why(error), "prevented writing the dataset") from error
    return open_dataset(path)


@contextlib.contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`; the operating system releases it even if the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_folder(path: Path, header: Mapping[str, Any], splits: Mapping[str, Source]) -> None:
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shape = (header["ticks"], header["resolution"], header["resolution"], 3)
        content = _write_splits(partial, splits, shape)
        (partial / "dataset.json").write_text(json.dumps({**header, **content}, indent=1) + "\n", encoding="utf-8")
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_splits(folder: Path, splits: Mapping[str, Source], shape: tuple[int, ...]) -> dict[str, Any]:
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    videos: dict[str, list[int]] = {}
    skipped: list[Skipped] = []
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        labels, of_videos = _write_clips(folder / split / "clips.npy", splits[split], shape, digest, skipped)
        if not len(labels):
            raise InputError(split, 0, f"clips are too few: every split needs one; files skipped: {len(skipped)}")
        np.save(folder / split / "labels.npy", labels)
        digest.update(labels.astype("<i4").tobytes())
        counts[split] = len(labels)
        if {*of_videos} - {1}:
            videos[split] = of_videos
    content = {"counts": counts, "content_hash": digest.hexdigest(), "skipped": [asdict(item) for item in skipped]}
    return {**content, "clips_per_video": videos} if videos else content


def _write_clips(
    file: Path, source: Source, shape: tuple[int, ...], digest: Any, skipped: list[Skipped]
) -> tuple[npt.NDArray[np.int32], list[int]]:
    """Append the pieces of `source` to `file`, adding them to `digest` and `skipped`.

    Returns the labels and the clips of each video; clips of a piece without this number are independent.
    """
    labels = [np.empty(0, np.int32)]
    videos: list[int] = []
    with open(file, "wb") as out:
        # The count is known only at the end. numpy pads the header so that the first axis can grow in place.
        write_npy_header(out, (0, *shape))
        for piece in source:
            if isinstance(piece, Skipped):
                skipped.append(piece)
                continue
            data = np.ascontiguousarray(piece.clips, np.uint8)
            if data.shape[1:] != shape or len(data) != len(piece.labels):
                raise ValueError(f"clips {data.shape} and {len(piece.labels)} labels do not fit {shape}")
            out.write(data.data)
            digest.update(data.data)
            labels.append(np.asarray(piece.labels, np.int32))
            videos += [1] * len(piece) if piece.clips_per_video is None else piece.clips_per_video.tolist()
        out.seek(0)
        write_npy_header(out, (sum(map(len, labels)), *shape))
    return np.concatenate(labels), videos


def write_npy_header(out: Any, shape: tuple[int, ...]) -> None:
    """Write the header of an array uint8 `shape`."""
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})


def open_dataset(path: Path | str, verify: bool = False) -> Dataset:
    """Return the dataset in folder `path`, memory-mapped; check sizes, and with `verify` the content hash too.

    Raises `InputError` that names the file that is missing, changed, or of another schema or size.
    """
    path = Path(path).absolute()
    file = path / "dataset.json"
    header = _read_header(file)
    try:
        name, classes, resolution = str(header["name"]), tuple(map(str, header["classes"])), int(header["resolution"])
        ticks, content_hash = int(header["ticks"]), str(header["content_hash"])
        skipped = tuple(Skipped(**item) for item in header["skipped"])
        counts = {split: int(header["counts"][split]) for split in SPLITS}
        videos = {split: np.array(each, np.int64) for split, each in header.get("clips_per_video", {}).items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(str(file), str(error), f"is invalid in this dataset {REPAIR}") from error
    splits = {}
    for split in SPLITS:
        clips = _map_array(path / split / "clips.npy", np.uint8, (counts[split], ticks, resolution, resolution, 3))
        labels = _map_array(path / split / "labels.npy", np.int32, (counts[split],))
        if not len(labels) or not 0 <= labels.min() <= labels.max() < len(classes):
            raise InputError(str(path / split / "labels.npy"), int(max(labels, default=-1)), f"is not a label {REPAIR}")
        of_videos = videos.get(split)
        if of_videos is not None and (of_videos.ndim != 1 or of_videos.sum() != counts[split] or of_videos.min() < 1):
            raise InputError(str(file), of_videos.tolist(), f"must be the clips of each video of {split} {REPAIR}")
        splits[split] = Split(clips, labels, of_videos)
    if verify and content_sha256(splits.values()) != content_hash:
        raise InputError(str(path), content_hash, f"is the recorded sha256, but the content differs {REPAIR}")
    return Dataset(name, classes, ticks, resolution, content_hash=content_hash, path=path, skipped=skipped, **splits)


def _read_header(file: Path) -> dict[str, Any]:
    try:
        header = untrusted_files.parsed_json(untrusted_files.content(file, MAX_HEADER))
    except (OSError, ValueError) as error:
        raise InputError(str(file), why(error), f"prevented reading the dataset {REPAIR}") from error
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        raise InputError(str(file), schema, f"must be the schema {SCHEMA!r} {REPAIR}")
    return header


def _map_array(file: Path, dtype: type, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, tokenize.TokenError, zipfile.BadZipFile) as error:
        raise InputError(str(file), why(error), f"prevented reading the dataset {REPAIR}") from error
    if not isinstance(array, np.memmap) or array.dtype != dtype or array.shape != shape:
        raise InputError(
            str(file), getattr(array, "shape", type(array).__name__), f"must be {shape} of {np.dtype(dtype)} {REPAIR}"
        )
    size = file.stat().st_size
    if size != array.offset + array.nbytes:
        raise InputError(str(file), size, f"bytes must be {array.offset + array.nbytes} {REPAIR}")
    return array


def content_sha256(splits: Iterable[Split]) -> str:
    """Return the sha256 over clips and labels of each split in order, independent of their location."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(np.ascontiguousarray(split.clips).data)
        digest.update(split.labels.astype("<i4").tobytes())
    return digest.hexdigest()
