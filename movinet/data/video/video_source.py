"""Labelled video files, read frame by frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from movinet.data.store import Skipped
from movinet.data.video.decoder import Decoder
from movinet.data.video.decoding import Frames
from movinet.data.video.folder import VideoFile
from movinet.data.video.timeline import Numbers, Timeline, checked

REMEMBERED = 1 << 22  # frames of the timelines that a source keeps: 8 bytes each


class VideoSource:
    """Video files; the timeline of a file is read when first needed, then cached."""

    def __init__(
        self,
        classes: tuple[str, ...],
        files: Sequence[VideoFile],
        skipped: Sequence[Skipped] = (),
        fps: Fraction | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self.classes = classes
        self.files = files
        self.labels = np.array([file.label for file in files], np.int32)
        self.skipped = skipped
        self.fps = fps
        self._decoder = decoder or Decoder()
        self._timelines = _Timelines()

    def __reduce__(self) -> tuple[Callable[..., VideoSource], tuple[Any, ...]]:
        return VideoSource, (self.classes, self.files, self.skipped, self.fps, self._decoder)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, i: int) -> str:
        """See `Source`."""
        file = self.files[i]
        return file.name + ("@{:g}-{:g}".format(*file.segment) if file.segment else "")

    def frames(self, i: int) -> int:
        """See `Source`."""
        return len(self._laid_out(i)[1])

    def read(self, i: int, numbers: npt.ArrayLike, short_side: int | None = None) -> Frames:
        """See `Source`."""
        timeline, own = self._laid_out(i)
        return self._decoder.read(self.files[i].path, timeline, own[checked(numbers, len(own))], short_side)

    def _laid_out(self, i: int) -> tuple[Timeline, Numbers]:
        """Return the timeline of the file, and the numbers of the example's frames in it."""
        found = self._timelines.get(i)
        if found is None:
            file = self.files[i]
            timeline = self._decoder.scan(file.path)
            found = timeline, timeline.numbers(self.fps, file.segment)
            self._timelines.add(i, found)
        return found


class _Timelines:
    """Cache of the most recently used timelines, up to `REMEMBERED` frames together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[Timeline, Numbers]] = OrderedDict()
        self._frames = 0

    def get(self, i: int) -> tuple[Timeline, Numbers] | None:
        with self._lock:
            if i in self._kept:
                self._kept.move_to_end(i)
            return self._kept.get(i)

    def add(self, i: int, found: tuple[Timeline, Numbers]) -> None:
        with self._lock:
            if i not in self._kept:
                self._kept[i] = found
                self._frames += _size(found)
            while self._frames > REMEMBERED and len(self._kept) > 1:
                self._frames -= _size(self._kept.popitem(last=False)[1])


def _size(found: tuple[Timeline, Numbers]) -> int:
    return len(found[0].times) + len(found[0].keys) + len(found[1])
