"""Time of each frame of a video, and the frames that a rate or a time segment selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class UnusableVideo(Exception):
    """A file without decodable frames; the message gives the reason, without the file's name."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of a file in the order in which they are shown.

    Attributes:
      times: int64 `N`, strictly rising, of each frame in units of `unit`; 0, 1, 2 … if `counted`.
      keys: int64, rising, those times at which decoding can begin.
      unit: seconds; 0 if the file does not record how long a frame is shown.
      end: end of the last frame.
      counted: the file has no usable timestamps, so frame n is the n-th decoded frame.
    """

    times: Numbers
    keys: Numbers
    unit: Fraction
    end: int
    counted: bool

    def __len__(self) -> int:
        return len(self.times)

    def numbers(self, fps: Fraction | None = None, segment: tuple[float, float] | None = None) -> Numbers:
        """Return the frames of `segment` (seconds from the first frame), at `fps` frames per second or all of them.

        At a rate, tick k is the frame that is shown k / fps after the beginning. A time may be half a unit late:
        containers round 1/30 s to whole milliseconds. At least one number is returned.
        Raises `UnusableVideo` if the segment begins after the end, or if a time is needed and the file has none.
        """
        if fps is None and segment is None:
            return np.arange(len(self))
        if not self.unit:
            raise UnusableVideo("has neither timestamps nor a frame rate")
        first, last = int(self.times[0]), float(self.end)
        begin = float(first)
        if segment is not None:
            begin, last = (first + second / float(self.unit) for second in segment)
            last = min(last, self.end)
            if begin >= self.end:
                raise UnusableVideo(f"ends before {segment[0]:g} s")
        if fps is not None:
            step = float(1 / (fps * self.unit))
            return self._shown(begin + step * np.arange(max(1, round((last - begin) / step))))
        start, stop = np.searchsorted(self.times, (begin - 0.5, last - 0.5)).tolist()
        return np.arange(start, stop) if start < stop else self._shown(np.array([begin]))

    def _shown(self, times: npt.NDArray[np.floating[Any]]) -> Numbers:
        return np.maximum(np.searchsorted(self.times, times + 0.5, side="right") - 1, 0)


def clip_numbers(count: int, start: int, ticks: int, stride: int, short_clip: str = "loop") -> Numbers:
    """Return `ticks` of `count` frames, `stride` apart from `start`. Past the end, "loop" or "pad" with the last."""
    numbers = start + stride * np.arange(ticks)
    return numbers % count if short_clip == "loop" else np.minimum(numbers, count - 1)


def centred(count: int, ticks: int, stride: int, clips: int) -> Sequence[int]:
    """Return the first frames of up to `clips` evenly spaced clips of `ticks` frames; a single clip is centred."""
    slack = max(0, count - 1 - (ticks - 1) * stride)
    return sorted({slack * (2 * clip + 1) // (2 * clips) for clip in range(clips)})


def checked(numbers: npt.ArrayLike, count: int) -> Numbers:
    """Return the numbers as int64 `T`. Raises `IndexError` for a number that is no frame of an example of `count`."""
    own = np.asarray(numbers, np.int64)
    if own.ndim != 1 or not own.size or own.min() < 0 or own.max() >= count:
        raise IndexError(f"frames {own.tolist()} of {count}")
    return own
