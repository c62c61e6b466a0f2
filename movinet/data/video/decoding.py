"""Frames of a video file by number, decoded with PyAV (FFmpeg) in this process; `decoder` uses separate processes.

If every packet has a distinct timestamp, frames are found by timestamp, from the key frame before them; else by
counting
from the start. Both give the same frames as decoding the whole file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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

MAX_PIXELS = 1 << 26  # per frame; 8K UHD has 33 million
MAX_BYTES = 1 << 30  # per read; 300 frames of 720p are 8e8
MAX_PACKETS = 1 << 22  # 19 hours at 60 frames/s

DAMAGE = (av.FFmpegError, OSError, IndexError)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Frames to decode: their `times` (strictly rising; numbers if `counted`) and the key frame before each."""

    times: list[int]
    keys: list[int]
    counted: bool


def scan(file: Path) -> Timeline:
    """Return the time of each frame of `file`, from a pass over its packets. Raises `UnusableVideo`."""
    try:
        with _open(file) as container:
            return _scan(container, _video(container))
    except DAMAGE as error:
        raise UnusableVideo(_reason(error)) from error


def wanted(timeline: Timeline, numbers: Numbers) -> tuple[Wanted, Numbers]:
    """Return the frames to decode for `numbers` of `timeline`, in any order, and the index of each number in them."""
    unique, places = np.unique(numbers, return_inverse=True)
    times = timeline.times[unique]
    before = np.maximum(np.searchsorted(timeline.keys, times, side="right") - 1, 0)
    return Wanted(times.tolist(), timeline.keys[before].tolist(), timeline.counted), places


def read_frames(file: Path, want: Wanted, short_side: int | None = None) -> Frames:
    """Return frames of `file` as uint8 `T H W C`, RGB, upright; `short_side` resizes the short side.

    A frame that cannot be decoded is replaced by the previous one. Raises `UnusableVideo`; for too large frames before
    memory is allocated.
    """
    try:
        output = _Output(len(want.times), short_side)
        if want.counted or not _decode(file, want, output, seek=True):
            _decode(file, want, output, seek=False)
        return output.frames
    except DAMAGE as error:
        raise UnusableVideo(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):  # raised by PyAV, which lists the streams only at the beginning
        return "has a stream that starts in the middle"
    return f"cannot be decoded: {getattr(error, 'strerror', None) or error}"


def _open(file: Path) -> InputContainer:
    if not file.is_file():
        raise UnusableVideo("is not a file")
    # Only this file: a playlist with a video's name must not make FFmpeg open other files or addresses.
    options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
    return av.open(str(file.absolute()), metadata_errors="replace", options=options)


def _video(container: InputContainer) -> VideoStream:
    """Return the first video stream that is not the cover of an audio file."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UnusableVideo("has a video stream without a decoder")
            stream.thread_type = "NONE"  # files are decoded in parallel instead
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    raise UnusableVideo("has no video stream")


def _scan(container: InputContainer, stream: VideoStream) -> Timeline:
    shown: list[tuple[int | None, int, bool]] = []  # time, duration, key frame
    codec = stream.codec_context.name
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise UnusableVideo("is damaged or truncated")
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

    Hidden frames of VP9 and AV1 share a packet with a shown frame.
    """
    return codec in ("vp8", "libvpx") and not memoryview(packet)[0] >> 4 & 1


def _decode(file: Path, want: Wanted, output: _Output, seek: bool) -> bool:
    """Store the wanted frames. With `seek`, go from key frame to key frame; return False if this misses frames."""
    with _open(file) as container:
        stream = _video(container)
        done = 0
        while done < len(want.times):
            reached = _decode_on(container, stream, want, output, done, seek)
            if reached is None:
                return False
            done = reached
    return True


def _decode_on(
    container: InputContainer, stream: VideoStream, want: Wanted, output: _Output, done: int, seek: bool
) -> int | None:
    """Store wanted frames from number `done` on, up to the end or to where a later key frame is faster."""
    first, last, times = done, None, want.times
    if seek and not _sought(container, stream, want.keys[done]):
        return None
    for position, frame in _positions(container, stream, want.counted):
        while done < len(times) and times[done] <= position:
            if times[done] < position and seek:
                return None
            output.draw(done, frame if times[done] == position or last is None else last)
            done += 1
        if done == len(times) or (seek and first < done and position < want.keys[done]):
            return done
        last = frame
    if seek:
        return None
    if last is None:
        raise UnusableVideo("has no decodable frame")
    for number in range(done, len(times)):
        output.draw(number, last)
    return len(times)


def _sought(container: InputContainer, stream: VideoStream, time: int) -> bool:
    try:
        container.seek(time, stream=stream)
    except av.FFmpegError:  # not supported by some containers
        return False
    return True


def _positions(container: InputContainer, stream: VideoStream, counted: bool) -> Iterator[tuple[int, av.VideoFrame]]:
    for number, frame in enumerate(container.decode(stream)):
        if counted:
            yield number, frame
        elif frame.pts is not None:
            yield frame.pts, frame


class _Output:
    """Array of `count` frames with the size of the first one stored, which allocates the memory for all."""

    def __init__(self, count: int, short_side: int | None) -> None:
        self.frames: Frames = np.empty((count, 0, 0, 3), np.uint8)
        self._short_side = short_side
        self._size = (0, 0)  # width, height before rotation
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
    """Return a function that rotates and mirrors the pixels `H W C` of a frame by the display matrix of the file.

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
    """Return a frame as evaluation feeds it to a network: uint8 `height width C`, RGB.

    It is upright, with the short side resized to `short_side` (`min_image_size` of the validation data), cropped at the
    centre, and padded with black where it is smaller.
    """
    output = _Output(1, short_side)
    output.draw(0, frame)
    image = output.frames[0]
    for axis, side in enumerate((height, width)):
        spare = image.shape[axis] - side
        if spare >= 0:
            image = image.take(range(spare // 2, spare // 2 + side), axis)
        else:
            before = -spare // 2
            image = np.pad(image, [(before, -spare - before) if a == axis else (0, 0) for a in range(3)])
    return image


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return width and height, with the short side resized to `short_side` if set."""
    short = min(width, height)
    if short < 1:
        raise UnusableVideo(f"has frames of {width}x{height}")
    target = short_side or short
    return max(target, round(width * target / short)), max(target, round(height * target / short))


def missing_codecs(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the named codecs, such as "h264", that FFmpeg cannot decode here."""

    def known(name: str) -> bool:
        try:
            av.codec.Codec(name, "r")
        except ValueError:  # PyAV's UnknownCodecError
            return False
        return True

    return tuple(name for name in names if not known(name))
