"""What a run says of the videos it is about to search on: how many clips there are, what was left out, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

SHOWN = 5  # files left out that are named; the dataset's header names all
FEW = 50  # validation clips, by which an accuracy of a half is known to ±0.14, 19 times in 20


def data_notes(data: Any) -> Iterator[str]:
    """A line of the splits of a `movinet.data.store.Dataset`; of what was left out; of too few clips to choose by."""
    splits = [f"{len(getattr(data, split))} {split}" for split in ("train", "validation", "test")]
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    most, fewest = (f"{counts[i]} ({data.classes[i]})" for i in (counts.argmax(), counts.argmin()))
    each = f"; for training a class has {fewest} to {most}" if counts.min() < counts.max() else ""
    yield f"clips of {len(data.classes)} classes: {', '.join(splits)}{each}"
    if left_out := len(data.skipped):
        named = "; ".join(f"{item.file} {item.reason}" for item in data.skipped[:SHOWN])
        more = f"; the others are in {data.path}" if left_out > SHOWN else ""
        yield f"{left_out} {'file was' if left_out == 1 else 'files were'} left out: {named}{more}"
    if (clips := len(data.validation)) < FEW:
        spread = 1.96 * (0.25 / clips) ** 0.5
        rule = f"an accuracy is known to ±{spread:.2f} by them, and networks are chosen by it"
        yield f"few validation clips: {rule}; more videos help, and data.clips_per_video where they are long"
