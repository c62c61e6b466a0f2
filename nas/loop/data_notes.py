"""Lines about the videos of a search: numbers of clips, and skipped files with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

SHOWN = 5  # skipped files that are listed; the dataset's header lists all
FEW = 50  # validation clips of different videos: the 95 % interval of an accuracy of 0.5 is ±0.14


def data_notes(data: Any) -> Iterator[str]:
    """Yield lines about the splits of a `movinet.data.store.Dataset`, skipped files, and too few validation clips."""
    splits = [f"{len(getattr(data, split))} {split}" for split in ("train", "validation", "test")]
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    most, fewest = (f"{counts[i]} ({data.classes[i]})" for i in (counts.argmax(), counts.argmin()))
    each = f"; for training a class has {fewest} to {most}" if counts.min() < counts.max() else ""
    yield f"clips of {len(data.classes)} classes: {', '.join(splits)}{each}"
    if left_out := len(data.skipped):
        named = "; ".join(f"{item.file} {item.reason}" for item in data.skipped[:SHOWN])
        more = f"; the others are in {data.path}" if left_out > SHOWN else ""
        yield f"{left_out} {'file was' if left_out == 1 else 'files were'} skipped: {named}{more}"
    videos = data.validation.clips_per_video  # clips of one video are not independent
    if (count := len(data.validation) if videos is None else len(videos)) < FEW:
        spread = 1.96 * (0.25 / count) ** 0.5
        rule = f"they measure accuracy only to ±{spread:.2f}, and networks are selected by it"
        yield f"few validation {'clips' if videos is None else 'videos'}: {rule}; add videos"
