"""Moving digits as video files in class folders: test data for code that reads videos."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from movinet.data.proxy.motions import MOTIONS
from movinet.data.proxy.moving_digits import TINY, MovingDigitsConfig, motion_of, rendered
from movinet.data.video.decoding import Frames
from search_space.base.checks import check_integer
from search_space.base.errors import InputError

BITS_A_SECOND = 2_000_000  # high enough to keep digits of a few pixels


def write_video(file: Path, clip: Frames, rate: int = 25) -> None:
    """Write a clip, uint8 `T H W 3` of even height and width, as an MP4 of `rate` frames per second; create the folder.

    Raises:
      InputError: the clip has another shape or type, or the file cannot be written.
    """
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3 or clip.shape[1] % 2 or clip.shape[2] % 2:
        raise InputError("clip", f"{clip.dtype} {clip.shape}", "must be uint8 T H W 3 of even height and width")
    check_integer("rate", rate, 1, 1000)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *clip.shape[1:3], "yuv420p", BITS_A_SECOND
            for image in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    except OSError as error:
        raise InputError(str(file), error.strerror, "prevented writing the file") from None


def write_class_folders(root: Path, videos: int, config: MovingDigitsConfig = TINY) -> tuple[str, ...]:
    """Write `videos` moving digits to `root/<motion>/<number>.mp4`; returns the names of the folders, sorted.

    Labels are the motions. They are independent of digit, colour and any single frame.

    Raises:
      InputError: a number out of range, or a file cannot be written.
    """
    check_integer("videos", videos, 1, 1_000_000)
    names = [re.sub(r"\W+", "_", motion) for motion in MOTIONS[: config.motions]]
    number = 0
    for split in rendered(config, "train", videos):
        for clip, label in zip(split.clips, split.labels.tolist(), strict=True):
            write_video(root / names[motion_of(label, config.digits)] / f"{number:04}.mp4", clip)
            number += 1
    return tuple(sorted(names))
