"""Counts the clips of each class and split that a search will have, and estimates how long it takes to make them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.config.search_config import SearchConfig
from nas.config.sources import SOURCES
from nas.evaluation.proxy_trainer import check_fits, clips_of, open_data
from search_space.base import machine

SAMPLED = 48  # videos that are decoded
RENDERED = 2000  # moving digits per second (docs/explanation/moving_digits.md)
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Survey:
    """Clips of a search, exact or estimated from a sample of the videos.

    Attributes:
      classes: names by label.
      clips: number of clips of each class, by split.
      independent: number of videos by split; clips of one video are not independent.
      seconds: time to write the clips into the cache.
      sampled: videos that were decoded.
      short: those with fewer frames than a clip spans.
      span: frames that a clip spans at full rate.
      unusable: name and reason of those that cannot be used.
    """

    classes: tuple[str, ...]
    clips: Mapping[str, tuple[int, ...]]
    independent: Mapping[str, int]
    seconds: float = 0.0
    sampled: int = 0
    short: int = 0
    span: int = 0
    unusable: tuple[tuple[str, str], ...] = ()

    def total(self, split: str) -> int:
        """Number of clips of a split."""
        return sum(self.clips[split])


def survey(config: SearchConfig) -> Survey:
    """Look at the data of a search. Clips of records, and of a class that the user brings, are made.

    Raises:
      InputError: the data cannot be read, or does not fit the space.
    """
    data, space = config.data, config.movinet_space
    if data.source == "moving_digits":
        from movinet.data.proxy.moving_digits import level

        digits = level(data.level)
        check_fits(space, "moving_digits", digits.classes, digits.ticks, digits.resolution)
        sizes = {split: getattr(data, split) for split in SPLITS}
        each = {
            split: tuple(len(range(label, size, digits.classes)) for label in range(digits.classes))
            for split, size in sizes.items()
        }
        return Survey(digits.names, each, sizes, sum(sizes.values()) / RENDERED)
    if data.source not in SOURCES or data.source == "tfrecord":
        made = open_data(data, space)
        splits = {split: getattr(made, split) for split in SPLITS}
        counts = {split: _by_class(own.labels, len(made.classes)) for split, own in splits.items()}
        videos = {s: len(own if own.clips_per_video is None else own.clips_per_video) for s, own in splits.items()}
        return Survey(made.classes, counts, videos)
    return _of_videos(config)


def _by_class(labels: Any, classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _of_videos(config: SearchConfig) -> Survey:
    from movinet.data.proxy.pace import FASTEST, PACES, read_paces
    from movinet.data.proxy.video_clips import read_clips
    from movinet.data.video.decoder import Decoder, in_order
    from movinet.data.video.timeline import UnusableVideo

    wanted, pace = clips_of(config.data, config.movinet_space), config.data.source == "pace"
    workers = machine.cores()
    decoder = Decoder(workers)
    sources = wanted.sources(decoder)
    classes = PACES if pace else sources["train"].classes
    check_fits(config.movinet_space, config.data.source, len(classes), wanted.ticks, wanted.resolution)
    span = ((FASTEST if pace else 1) * (wanted.ticks - 1)) * wanted.frame_stride + 1

    def looked_at(place: tuple[str, int]) -> tuple[int, int] | tuple[str, str]:
        """Frames and clips of a video; or its name and why it cannot be used."""
        source, i = sources[place[0]], place[1]
        try:
            frames = source.frames(i)
            rng = np.random.default_rng(0)
            return frames, len(read_paces(wanted, source, i, rng) if pace else read_clips(wanted, source, i))
        except UnusableVideo as error:
            return source.name(i), str(error)

    places = [(split, i) for split, source in sources.items() for i in range(len(source))]
    chosen = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, SAMPLED).round().astype(int))]
    begun = time.monotonic()
    try:
        found = list(in_order(looked_at, chosen, workers))
    finally:
        decoder.close()
    seconds = (time.monotonic() - begun) / len(chosen) * len(places)
    usable = [(frames, clips) for frames, clips in found if isinstance(frames, int) and isinstance(clips, int)]
    unusable = tuple((str(name), str(why)) for name, why in found if isinstance(name, str))
    clips = sum(clips for _, clips in usable) / len(chosen)
    counts = {}
    for split, source in sources.items():
        videos = _by_class(source.labels, len(source.classes))
        each = videos[0] / len(PACES) if pace else 0.0
        counts[split] = tuple(round(clips * each) for _ in PACES) if pace else tuple(round(clips * n) for n in videos)
    independent = {split: len(source) for split, source in sources.items()}
    short = sum(frames < span for frames, _ in usable)
    return Survey(classes, counts, independent, seconds, len(chosen), short, span, unusable)
