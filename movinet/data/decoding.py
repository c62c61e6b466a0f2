"""Frames of a video file by number, decoded with PyAV (FFmpeg).

Frames are found by timestamp, from the key frame before them, where every packet has a timestamp of its own; else by
counting from the start. Both give the frames a full decode would.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.stream import VideoStream

Frame = npt.NDArray[np.uint8]


class UnusableVideo(Exception):
    """A file that holds no frames that can be decoded; the message says why, without the file's name."""


def read_clips(file: Path, ticks: int, resolution: int, frame_stride: int = 1, clips: int = 1) -> npt.NDArray[np.uint8]:
    """Up to `clips` clips, evenly spaced in the file: uint8 `N T H W C`, RGB.

    A clip is `ticks` frames, `frame_stride` source frames apart, each resized so that its short side is `resolution`
    and cropped in the centre. A file shorter than a clip is looped and gives one. Raises `UnusableVideo`.
    """
    try:
        return _read(file, ticks, resolution, frame_stride, clips)
    except (av.FFmpegError, OSError) as error:
        raise UnusableVideo(f"cannot be decoded: {error.strerror or error}") from error


def _read(file: Path, ticks: int, resolution: int, frame_stride: int, clips: int) -> npt.NDArray[np.uint8]:
    times = _timestamps(file)
    numbers = frame_numbers(len(times), ticks, frame_stride, clips)
    frames = _frames_by_time(file, times, set(numbers.ravel().tolist()), resolution)
    if frames is None:
        frames, count = _frames_by_count(file, set(numbers.ravel().tolist()), resolution)
        if count != len(times):  # a packet need not hold exactly one shown frame
            numbers = frame_numbers(count, ticks, frame_stride, clips)
            frames, _ = _frames_by_count(file, set(numbers.ravel().tolist()), resolution)
    return np.stack([[frames[number] for number in clip] for clip in numbers.tolist()])


def frame_numbers(count: int, ticks: int, frame_stride: int, clips: int) -> npt.NDArray[np.int64]:
    """Which of `count` source frames make each clip: `N T`. One clip is the centre one; equal clips are taken once."""
    if count < 1:
        raise UnusableVideo("has no frames")
    slack = max(0, count - 1 - (ticks - 1) * frame_stride)
    starts = sorted({slack * (2 * clip + 1) // (2 * clips) for clip in range(clips)})
    return (np.array(starts)[:, None] + np.arange(ticks) * frame_stride) % count


def _open(file: Path) -> InputContainer:
    # Nothing but this file: a playlist under a video's name must not make FFmpeg open other files or addresses.
    return av.open(str(file.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"})


def _video(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise UnusableVideo("has no video stream")
    stream = container.streams.video[0]
    stream.thread_type = "NONE"  # files are decoded in parallel instead
    return stream


def _timestamps(file: Path) -> list[int | None]:
    """The presentation time of every packet that is shown, in the order of the file."""
    times = []
    with _open(file) as container:
        for packet in container.demux(_video(container)):
            if packet.is_corrupt:
                raise UnusableVideo("is damaged or cut off")
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
    return times


def _frames_by_time(
    file: Path, times: list[int | None], numbers: Collection[int], resolution: int
) -> dict[int, Frame] | None:
    """The frames of those `numbers`, or None if the timestamps do not lead to all of them."""
    known = sorted({time for time in times if time is not None})
    if len(known) != len(times):
        return None
    number_of = {known[number]: number for number in numbers}
    last = max(number_of)
    frames: dict[int, Frame] = {}
    with _open(file) as container:
        stream = _video(container)
        container.seek(min(number_of), stream=stream)
        for frame in container.decode(stream):
            if frame.pts in number_of:
                frames[number_of[frame.pts]] = _square(frame, resolution)
            if frame.pts is None or frame.pts >= last:
                break
    return frames if len(frames) == len(number_of) else None


def _frames_by_count(file: Path, numbers: Collection[int], resolution: int) -> tuple[dict[int, Frame], int]:
    """The frames of those `numbers` that exist, and how many frames there are."""
    frames: dict[int, Frame] = {}
    count = 0
    with _open(file) as container:
        for frame in container.decode(_video(container)):
            if count in numbers:
                frames[count] = _square(frame, resolution)
            count += 1
    return frames, count


def _square(frame: av.VideoFrame, resolution: int) -> Frame:
    """uint8 `H W C`: upright, short side resized to `resolution`, cropped in the centre."""
    short = min(frame.width, frame.height)
    width, height = (max(resolution, round(side * resolution / short)) for side in (frame.width, frame.height))
    image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BILINEAR")
    image = np.rot90(image, round(frame.rotation / 90)).astype(np.uint8, copy=False)
    top, left = ((side - resolution) // 2 for side in image.shape[:2])
    return image[top : top + resolution, left : left + resolution]
