"""Correctly classified test clips of a training, in the compact form of the event log.

All trainings of a run are tested on the same clips, so a comparison must resample clips as well as seeds, which
requires the result of each clip. Clips of one video are similar and are resampled together.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from search_space.base.checks import check_integer, check_keys
from search_space.base.errors import InputError

KEYS = ("clips", "bits", "clips_per_video")
MOST = 10_000_000


def packed(right: np.ndarray, clips_per_video: np.ndarray | None = None) -> dict[str, Any]:
    """Return JSON data for bool [clips]: their number and their bits, packed from the highest on, in base64.

    `clips_per_video`: number of consecutive clips of each video, if there are several.
    """
    data = {"clips": len(right), "bits": base64.b64encode(np.packbits(right).tobytes()).decode()}
    return data if clips_per_video is None else {**data, "clips_per_video": clips_per_video.tolist()}


def unpacked(data: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return correct clips and all clips of each group, int [groups]; a group is a video, or a single clip."""
    bits = np.frombuffer(base64.b64decode(data["bits"]), np.uint8)
    right = np.unpackbits(bits, count=data["clips"]).astype(np.int64)
    sizes = np.array(data.get("clips_per_video") or np.ones(len(right)), np.int64)
    return np.add.reduceat(right, np.cumsum(sizes) - sizes), sizes


def check(place: str, data: object) -> None:
    """Raise `InputError` for data that `packed` does not make."""
    values = check_keys(place, data, KEYS, KEYS[:2])
    clips = values["clips"]
    check_integer(f"{place}.clips", clips, 1, MOST)
    try:
        size = len(base64.b64decode(values["bits"], validate=True))
    except (TypeError, ValueError, binascii.Error):
        size = -1
    if not isinstance(values["bits"], str) or size != -(-clips // 8):
        raise InputError(f"{place}.bits", values["bits"], f"must be base64 of {-(-clips // 8)} bytes, a bit per clip")
    videos = values.get("clips_per_video", [clips])
    if not isinstance(videos, list) or {*map(type, videos)} != {int} or min(videos) < 1 or sum(videos) != clips:
        raise InputError(f"{place}.clips_per_video", videos, f"must be a list of integers above 0 whose sum is {clips}")
