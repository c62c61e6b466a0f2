"""Subsets of a split's clips that represent every class and, with several clips per video, many videos."""

from __future__ import annotations

import numpy as np


def clip_subset(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the sorted indices of `count` clips (of all clips, if there are no more), balanced over their labels [N].

    Systematic sampling: from a random start, clips at even distances in the order of classes and, within a class, in
    stored order. Each class has the same share of the subset as of the split, to within one clip. The clips of one
    video are stored side by side, so a video yields a second clip only if the subset has more clips than videos.
    """
    clips = len(labels)
    if count >= clips:
        return np.arange(clips)
    places = (np.arange(count) + rng.random()) * (clips / count)
    return np.sort(np.argsort(labels, kind="stable")[places.astype(np.int64)])
