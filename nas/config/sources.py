"""Sources of clips by their names in a configuration."""

from __future__ import annotations

from typing import Any

from search_space.base.catalogue import Catalogue

GIVEN = ("frames", "resolution")  # arguments of every source; all others are options

# Built-in sources have separate fields in the configuration; `nas.evaluation.proxy_trainer.open_data` calls them.
SOURCES: Catalogue[Any] = Catalogue(
    "movinet_nas.sources",
    {
        "moving_digits": "movinet.data.proxy.moving_digits:moving_digits",
        "video_folder": "movinet.data.proxy.video_clips:video_clips",
        "video_csv": "movinet.data.proxy.video_clips:video_clips",
        "tfrecord": "movinet.training.input.record_clips:record_clips",
        "pace": "movinet.data.proxy.pace:pace_folder",
    },
    "must be a class of clips that defines clips(split), as movinet_nas.extend.ClipSource",
    lambda kind: isinstance(kind, type) and callable(getattr(kind, "clips", None)),
)
