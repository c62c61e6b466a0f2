"""Frames of a video file by number, decoded with PyAV (FFmpeg) in this process; see `decoder` for one of its own.

Frames are found by timestamp, from the key frame before them, where every packet has a timestamp of its own; else by
counting from the start. Both give the frames that a full decode would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from movinet.data.video.timeline import Numbers, Timeline, UnusableVideo

Frames = npt.NDArray[np.uint8]

MAX_PIXELS = 1 << 26  # of a frame: 8K UHD has 33 million
MAX_BYTES = 1 << 30  # of what is read at a time: 300 frames of 720p are 8e8
MAX_PACKETS = 1 << 22  # 19 hours at 60 frames/s

DAMAGE = (av.FFmpegError, OSError, IndexError)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Frames to decode: their `times` (strictly rising; numbers if `counted`) and the key frame before each."""

    times: list[int]
    keys: list[int]
    counted: bool


def scan(file: Path) -> Timeline:
    """When each frame of `file` is shown, from a pass over its packets. Raises `UnusableVideo`."""
    try:
        with _open(file) as container:
            return _scan(container, _video(container))
    except DAMAGE as error:
        raise UnusableVideo(_reason(error)) from error


def wanted(timeline: Timeline, numbers: Numbers) -> tuple[Wanted, Numbers]:
    """What to decode to have the frames `numbers` of `timeline`, in any order, and which of it each number is."""
    unique, places = np.unique(numbers, return_inverse=True)
    times = timeline.times[unique]
    before = np.maximum(np.searchsorted(timeline.keys, times, side="right") - 1, 0)
    return Wanted(times.tolist(), timeline.keys[before].tolist(), timeline.counted), places


def read_frames(file: Path, want: Wanted, short_side: int | None = None) -> Frames:
    """The frames of `file` as uint8 `T H W C`, RGB, upright, the short side resized to `short_side` if it is given.

    A frame that cannot be had is the one shown before it. Raises `UnusableVideo`, before memory is taken if the frames
    would be too large.
    """
    try:
        picture = _Picture(len(want.times), short_side)
        if want.counted or not _decode(file, want, picture, seek=True):
            _decode(file, want, picture, seek=False)
        return picture.frames
    except DAMAGE as error:
        raise UnusableVideo(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):  # PyAV's, whose list of streams is made at the beginning
        return "has a stream that turns up in the middle"
    return f"cannot be decoded: {getattr(error, 'strerror', None) or error}"


def _open(file: Path) -> InputContainer:
    if not file.is_file():
        raise UnusableVideo("is no file")
    # Nothing but this file: a playlist under a video's name must not make FFmpeg open other files or addresses.
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    return av.open(str(file.absolute()), metadata_errors="replace", options=options)


def _video(container: InputContainer) -> VideoStream:
    """The first video stream that is no cover of an audio file."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UnusableVideo("has a video stream that nothing here can decode")
            stream.thread_type = "NONE"  # files are decoded in parallel instead
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    raise UnusableVideo("has no video stream")


def _scan(container: InputContainer, stream: VideoStream) -> Timeline:
    shown: list[tuple[int | None, int, bool]] = []  # time, duration, key frame
    codec = stream.codec_context.name
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise UnusableVideo("is damaged or cut off")
        if packet.size and not packet.is_discard and not _hidden(packet, codec):
            shown.append((packet.pts, packet.duration or 0, packet.is_keyframe))
        if len(shown) > MAX_PACKETS:
            raise UnusableVideo(f"has more than {MAX_PACKETS} frames")
    if not shown:
        raise UnusableVideo("has no frames")
    known = sorted((time, duration, key) for time, duration, key in shown if time is not None)
    times = np.array([time for time, _, _ in known], np.int64)
    rate = stream.average_rate or stream.guessed_rate
    if len(known) < len(shown) or not np.diff(times).all() or stream.time_base is None:
        count = len(shown)
        return Timeline(np.arange(count), np.zeros(1, np.int64), 1 / rate if rate else Fraction(0), count, True)
    keys = np.array([time for time, _, key in known if key] or times[:1], np.int64)
    usual = int(np.median(np.diff(times))) if len(times) > 1 else round(1 / (rate * stream.time_base)) if rate else 1
    return Timeline(times, keys, stream.time_base, int(times[-1]) + max(1, known[-1][1] or usual), False)


def _hidden(packet: av.Packet, codec: str) -> bool:
    """Return whether the packet is a frame of VP8 that is never shown (RFC 6386, section 9.1: show_frame).

    Those of VP9 and AV1 lie in one packet with a frame that is shown.
    """
    return codec in ("vp8", "libvpx") and not memoryview(packet)[0] >> 4 & 1


def _decode(file: Path, want: Wanted, picture: _Picture, seek: bool) -> bool:
    """Draw what is wanted. With `seek`, from key frame to key frame; False if that does not lead to all frames."""
    with _open(file) as container:
        stream = _video(container)
        done = 0
        while done < len(want.times):
            reached = _decode_on(container, stream, want, picture, done, seek)
            if reached is None:
                return False
            done = reached
    return True


def _decode_on(
    container: InputContainer, stream: VideoStream, want: Wanted, picture: _Picture, done: int, seek: bool
) -> int | None:
    """Draw wanted frames from number `done` up to the end, or to where another key frame leads there sooner."""
    first, last, times = done, None, want.times
    if seek and not _sought(container, stream, want.keys[done]):
        return None
    for position, frame in _positions(container, stream, want.counted):
        while done < len(times) and times[done] <= position:
            if times[done] < position and seek:
                return None
            picture.draw(done, frame if times[done] == position or last is None else last)
            done += 1
        if done == len(times) or (seek and first < done and position < want.keys[done]):
            return done
        last = frame
    if seek:
        return None
    if last is None:
        raise UnusableVideo("has no frame that can be decoded")
    for number in range(done, len(times)):
        picture.draw(number, last)
    return len(times)


def _sought(container: InputContainer, stream: VideoStream, time: int) -> bool:
    try:
        container.seek(time, stream=stream)
    except av.FFmpegError:  # some containers cannot
        return False
    return True


def _positions(container: InputContainer, stream: VideoStream, counted: bool) -> Iterator[tuple[int, av.VideoFrame]]:
    for number, frame in enumerate(container.decode(stream)):
        if counted:
            yield number, frame
        elif frame.pts is not None:
            yield frame.pts, frame


class _Picture:
    """`count` frames of the size of the one drawn first, which has the memory for all of them set aside."""

    def __init__(self, count: int, short_side: int | None) -> None:
        self.frames: Frames = np.empty((count, 0, 0, 3), np.uint8)
        self._short_side = short_side
        self._size = (0, 0)  # width, height before it is put upright
        self._upright: Callable[[Frames], Frames] = _as_it_is
        self._reformatter = VideoReformatter()

    def draw(self, number: int, frame: av.VideoFrame) -> None:
        if not self.frames.size:
            self._set_aside(frame)
        width, height = self._size
        scaled = self._reformatter.reformat(frame, width, height, "rgb24", interpolation="BILINEAR")
        self.frames[number] = self._upright(np.asarray(scaled.to_ndarray(), np.uint8))

    def _set_aside(self, frame: av.VideoFrame) -> None:
        size = scaled_size(frame.width, frame.height, self._short_side)
        bytes_ = 3 * len(self.frames) * size[0] * size[1]
        if size[0] * size[1] > MAX_PIXELS or bytes_ > MAX_BYTES:
            raise UnusableVideo(f"would take {bytes_} bytes for {len(self.frames)} frames of {size[0]}x{size[1]}")
        self._size, self._upright = size, upright(frame)
        shape = self._upright(np.empty((size[1], size[0], 3), np.uint8)).shape
        self.frames = np.empty((len(self.frames), *shape), np.uint8)


def upright(frame: av.VideoFrame) -> Callable[[Frames], Frames]:
    """Return a function that turns and mirrors the pixels `H W C` of a frame as the display matrix of the file says.

    Quarter turns, with or without a mirror, are eight cases; another matrix counts as the nearest of them. As in
    FFmpeg's libavutil/display.h, the pixel (x, y) is shown at (a x + c y, b x + d y), up to a shift.
    """
    matrix: Any = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return _as_it_is
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float).tolist()
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    from_left, from_top = (c, b) if turned else (a, d)

    def shown(pixels: Frames) -> Frames:
        if turned:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if from_top < 0 else 1, :: -1 if from_left < 0 else 1]

    return shown


def _as_it_is(pixels: Frames) -> Frames:
    return pixels


def evaluated(frame: av.VideoFrame, short_side: int, height: int, width: int) -> Frames:
    """A frame as an evaluation gives it to a network: uint8 `height width C`, RGB.

    Upright, the short side resized to `short_side` (`min_image_size` of the validation data), cut out of the middle;
    black around it where it is smaller.
    """
    picture = _Picture(1, short_side)
    picture.draw(0, frame)
    image = picture.frames[0]
    for axis, side in enumerate((height, width)):
        spare = image.shape[axis] - side
        if spare >= 0:
            image = image.take(range(spare // 2, spare // 2 + side), axis)
        else:
            before = -spare // 2
            image = np.pad(image, [(before, -spare - before) if a == axis else (0, 0) for a in range(3)])
    return image


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Width and height with the short side resized to `short_side`, if it is given."""
    short = min(width, height)
    if short < 1:
        raise UnusableVideo(f"has frames of {width}x{height}")
    target = short_side or short
    return max(target, round(width * target / short)), max(target, round(height * target / short))
