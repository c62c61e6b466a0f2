"""Clips from a user's class, written once into the cached form of `store`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from movinet.data.store import SPLITS, Dataset, Split, cache_path, write_dataset
from search_space.base.errors import InputError


class ClipSource(Protocol):
    """Clips of three splits. A source is created with `frames`, `resolution` and its options as keyword arguments.

    Attributes:
      classes: names of the classes, in order of their labels.
    """

    classes: Sequence[str]

    def clips(self, split: str) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Yield the clips of "train", "validation" or "test" in pieces, the same ones at every call.

        A piece is clips uint8 `N T H W C`, RGB, T = frames, H = W = resolution, and labels int `N` from 0.
        """
        ...


def clip_dataset(
    kind: type[ClipSource], name: str, options: Mapping[str, Any], frames: int, resolution: int
) -> Dataset:
    """Return the data set of a source; write it into the cache if it is not there.

    The cache key consists of name, options, sizes and the source file of the class.

    Args:
      kind: class of the source.
      name: its name in the configuration.
      options: keyword arguments of the class, plain data.
      frames: of a clip.
      resolution: height and width.

    Raises:
      InputError: clips or labels of another shape or type, a label without a class, or a class without a training clip.
    """
    source = kind(frames, resolution, **options)  # type: ignore[call-arg]
    classes = source.classes
    if not isinstance(classes, list | tuple) or not classes or not all(isinstance(each, str) for each in classes):
        raise InputError(f"{name}.classes", classes, "must be a list of the names of the classes")
    sizes = {"frames": frames, "resolution": resolution}
    settings = {"source": name, "options": dict(options), **sizes, "code": _code_sha256(kind)}
    shape = (frames, resolution, resolution, 3)
    splits = {split: pieces(source, name, split, shape) for split in SPLITS}
    path = cache_path("clips", settings)
    return write_dataset(path, name, tuple(classes), frames, resolution, settings, splits)


def pieces(source: ClipSource, name: str, split: str, shape: tuple[int, ...]) -> Iterator[Split]:
    """Yield the clips of a split in pieces, `N T H W C` of `shape` `T H W C`, after checking each.

    Raises:
      InputError: as `clip_dataset`.
    """
    place, seen = f"{name}: {split}", np.zeros(len(source.classes), dtype=bool)
    for piece in source.clips(split):
        if not isinstance(piece, tuple) or len(piece) != 2:
            raise InputError(place, type(piece).__name__, "was yielded; expected a tuple (clips, labels)")
        clips, labels = map(np.asarray, piece)
        if clips.dtype != np.uint8 or clips.shape[1:] != shape:
            found = f"{clips.dtype} {'x'.join(map(str, clips.shape))}"
            raise InputError(place, found, f"are clips; expected uint8 N x {'x'.join(map(str, shape))}")
        if labels.dtype.kind not in "iu" or labels.shape != clips.shape[:1]:
            found = f"{labels.dtype} {'x'.join(map(str, labels.shape))}"
            raise InputError(place, found, f"are labels; expected {len(clips)} integers, one per clip")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(source.classes):
            wrong = int(labels.max() if labels.min() >= 0 else labels.min())
            raise InputError(place, wrong, f"is not a valid label; expected 0 to {len(source.classes) - 1}")
        seen[labels] = True
        yield Split(clips, labels.astype(np.int32))
    if split == "train" and not seen.all():
        raise InputError(place, source.classes[int(seen.argmin())], "has no clip")


def _code_sha256(kind: type) -> str:
    file = getattr(sys.modules[kind.__module__], "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
