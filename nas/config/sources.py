"""Sources of clips by the name a configuration calls them."""

from __future__ import annotations

from typing import Any

from search_space.base.catalogue import Catalogue

GIVEN = ("frames", "resolution")  # arguments of every source; its other ones are its options

# Built-in sources have fields of their own in the configuration; `nas.evaluation.proxy_trainer.open_data` calls them.
SOURCES: Catalogue[Any] = Catalogue(
    "movinet_nas.sources",
    {
        "moving_digits": "movinet.data.proxy.moving_digits:moving_digits",
        "video_folder": "movinet.data.proxy.video_folder:video_folder",
        "pace": "movinet.data.proxy.pace:pace_folder",
    },
    "must be a class of clips that defines clips(split), as movinet_nas.extend.ClipSource",
    lambda kind: isinstance(kind, type) and callable(getattr(kind, "clips", None)),
)
