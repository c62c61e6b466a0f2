"""Contract of a source of clips: shape, labels, all classes in training, the same clips at every call."""

from __future__ import annotations

from typing import Any

import numpy as np

from movinet.data.proxy.clip_source import ClipSource, pieces
from movinet.data.store import SPLITS, Split, content_sha256
from search_space.base.errors import InputError


def check_source(kind: type[ClipSource], frames: int = 4, resolution: int = 16, **options: Any) -> None:
    """Check a source of clips for a search.

    Args:
      kind: class of the source.
      frames: of a clip, as the space requires.
      resolution: height and width.
      options: arguments of the class.

    Raises:
      AssertionError: the first fault, with an explanation.
    """
    sources = [kind(frames, resolution, **options) for _ in range(2)]  # type: ignore[call-arg]
    shape = (frames, resolution, resolution, 3)
    for split in SPLITS:
        try:
            first, again = (_whole(source, split, shape) for source in sources)
        except InputError as error:
            raise AssertionError(str(error)) from None
        if not len(first):
            raise AssertionError(f"{split} has no clips")
        if content_sha256([first]) != content_sha256([again]):
            raise AssertionError(f"{split} differs from one call to the next; use a fixed seed")


def _whole(source: ClipSource, split: str, shape: tuple[int, ...]) -> Split:
    parts = list(pieces(source, type(source).__name__, split, shape))
    empty = Split(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int32))
    clips, labels = (np.concatenate([getattr(part, name) for part in [empty, *parts]]) for name in ("clips", "labels"))
    return Split(clips, labels)
