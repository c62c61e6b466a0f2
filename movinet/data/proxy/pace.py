"""Playback pace as a label: clips of any videos, played at several speeds, forth and back, or shuffled.

No annotation is needed. All paces show frames of the same pieces of video, each in either direction with equal
probability. Paces differ only in the order of the frames and in the distance between them.
"""

from __future__ import annotations

import hashlib

import numpy as np

from movinet.data.proxy.video_clips import VideoClips, decoded
from movinet.data.store import Dataset, Split
from movinet.data.video.timeline import Numbers, UnusableVideo, centred
from movinet.data.video.video_source import VideoSource

PACES = ("1x", "2x", "4x", "ping-pong", "shuffled")
FASTEST = 4
MARGIN = 1.25  # short side of a frame, as a multiple of that of the clip cropped from it


def pace_folder(config: VideoClips, seed: int = 0, workers: int | None = None) -> Dataset:
    """Return the dataset of all videos below the root folder; decode them into the cache if they are not there.

    A video yields `clips_per_video` evenly spaced pieces, and each piece yields one randomly cropped clip per pace.
    Videos are divided by `config.rule`, or by folders train, validation (or val) and test.

    Args:
      config: videos and clips; its `file_type` is "pace".
      seed: seed of pieces and crops.
      workers: number of threads, each with a decoding process; None takes one per core.

    Raises:
      InputError: the folder cannot be read, or a split has no usable video.
    """

    def read(source: VideoSource, i: int) -> Split:
        of_name = int.from_bytes(hashlib.sha256(source.files[i].name.encode()).digest()[:8])
        return read_paces(config, source, i, np.random.default_rng([seed, of_name]))

    return decoded(config, "pace", "pace/2", {"seed": seed}, PACES, read, workers)


def read_paces(config: VideoClips, source: VideoSource, i: int, rng: np.random.Generator) -> Split:
    """Return a clip of every pace for each piece of a video, all drawn from `rng`.

    Raises:
      UnusableVideo: the video cannot be decoded, or is shorter than a clip of the fastest pace.
    """
    count = source.frames(i)
    span = FASTEST * (config.ticks - 1) + 1
    if count < (span - 1) * config.frame_stride + 1:
        rule = f"the fastest pace takes {(span - 1) * config.frame_stride + 1}"
        raise UnusableVideo(f"has {count} frames; {rule}")
    clips = []
    for start in centred(count, span, config.frame_stride, config.clips_per_video):
        numbers = start + config.frame_stride * np.arange(span)
        frames = source.read(i, numbers, round(MARGIN * config.resolution))
        for pace in PACES:
            top, left = (rng.integers(side - config.resolution, endpoint=True) for side in frames.shape[1:3])
            crop = frames[:, top : top + config.resolution, left : left + config.resolution]
            clips.append(crop[order(pace, config.ticks, rng)])
    labels = np.tile(np.arange(len(PACES), dtype=np.int32), len(clips) // len(PACES))
    return Split(np.stack(clips), labels, np.array([len(clips)]))


def order(pace: str, ticks: int, rng: np.random.Generator) -> Numbers:
    """Return the frame numbers of a piece that a clip of `ticks` shows, in either direction with equal probability."""
    if pace == "ping-pong":
        turn = int(rng.integers(ticks // 4, ticks - ticks // 4))  # the tick at which the direction changes
        shown = np.abs(np.arange(ticks) - turn)
    elif pace == "shuffled":
        shown = rng.permutation(ticks)
    else:
        shown = np.arange(ticks) * int(pace.removesuffix("x"))
    if rng.integers(2):
        shown = shown.max() - shown
    return shown + int(rng.integers(FASTEST * (ticks - 1) - shown.max(), endpoint=True))
