"""Playback pace as a label: clips of any videos, played at several speeds, forth and back, or shuffled.

No annotation is needed. All paces show frames of the same pieces of video, each in either direction with equal
probability. Paces differ only in the order of the frames and in the distance between them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict

import numpy as np

from movinet.data.proxy.video_folder import VideoFolder, check_splits, listing_sha256, usable
from movinet.data.store import SPLITS, Dataset, Split, cache_path, write_dataset
from movinet.data.video.decoder import Decoder
from movinet.data.video.folder import VideoFile, list_unlabelled
from movinet.data.video.timeline import Numbers, UnusableVideo, centred
from search_space.base.checks import check_integer

PACES = ("1x", "2x", "4x", "ping-pong", "shuffled")
FASTEST = 4
MARGIN = 1.25  # short side of a frame, as a multiple of that of the clip cropped from it


def pace_folder(config: VideoFolder, seed: int = 0, workers: int = 2) -> Dataset:
    """Return the dataset of all videos below the root folder; decode them into the cache if they are not there.

    A video yields `clips_per_video` evenly spaced pieces, and each piece yields one randomly cropped clip per pace.
    Videos are divided by the shares `validation` and `test`, or by folders train, validation (or val) and test.

    Raises:
      InputError: the folder cannot be read, or a split has no usable video.
    """
    check_integer("video.workers", workers, 1, 256)
    listing = list_unlabelled(config.root, config.validation, config.test)
    check_splits(config.root, listing)
    taken = {key: value for key, value in asdict(config).items() if key != "root"}
    settings = {"source": "pace/1", **taken, "seed": seed, "files": listing_sha256(listing)}

    def read(file: VideoFile, decoder: Decoder) -> Split:
        of_name = int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8])
        return read_paces(config, file, decoder, np.random.default_rng([seed, of_name]))

    splits = {split: usable(config.root, split, listing, read, workers) for split in SPLITS}
    path = cache_path("pace", settings)
    return write_dataset(path, "pace", PACES, config.ticks, config.resolution, settings, splits)


def read_paces(config: VideoFolder, file: VideoFile, decoder: Decoder, rng: np.random.Generator) -> Split:
    """Return a clip of every pace for each piece of a video, all drawn from `rng`.

    Raises:
      UnusableVideo: the video cannot be decoded, or is shorter than a clip of the fastest pace.
    """
    timeline = decoder.scan(file.path)
    span = FASTEST * (config.ticks - 1) + 1
    if len(timeline) < (span - 1) * config.frame_stride + 1:
        rule = f"the fastest pace takes {(span - 1) * config.frame_stride + 1}"
        raise UnusableVideo(f"has {len(timeline)} frames; {rule}")
    clips = []
    for start in centred(len(timeline), span, config.frame_stride, config.clips_per_video):
        numbers = start + config.frame_stride * np.arange(span)
        frames = decoder.read(file.path, timeline, numbers, round(MARGIN * config.resolution))
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
