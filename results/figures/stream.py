"""Figures of one stream: its frames, and the probability of each class after every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from results.figures.style import FAINT, TEXT, dress, legend_above, line_style
from search_space.base.errors import InputError, printable


def film(axes: Axes, frames: np.ndarray) -> None:
    """Draw frames, uint8 `T H W 3`, side by side, each above its number on the axis of `running`."""
    count, height, width, _ = frames.shape
    strip = np.concatenate(list(frames), axis=1)
    axes.imshow(strip, extent=(0.5, count + 0.5, 0, height / width), interpolation="nearest")
    axes.set_axis_off()


def running(axes: Axes, probabilities: np.ndarray, classes: Sequence[str], label: int) -> None:
    """Draw the probability of each class over the frames so far, that of the label thicker.

    Args:
      axes: where to draw.
      probabilities: `T classes`, after each frame.
      classes: their names.
      label: index of the true class.

    Raises:
      InputError: a wrong number of probabilities, or an invalid label.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(classes):
        raise InputError("probabilities", probabilities.shape, f"must be frames by {len(classes)} classes")
    if not 0 <= label < len(classes):
        raise InputError("label", label, f"must be from 0 to {len(classes) - 1}")
    seen = np.arange(1, len(probabilities) + 1)
    for i, name in enumerate(classes):
        width = 2.2 if i == label else 1.0
        axes.plot(seen, probabilities[:, i], linewidth=width, label=printable(name), **line_style(i))
    axes.axhline(1 / len(classes), color=FAINT, linewidth=0.8)
    axes.annotate("chance", (seen[-1], 1 / len(classes)), (2, 2), textcoords="offset points", fontsize=TEXT)
    axes.set_xlim(0.5, len(seen) + 0.5)
    axes.set_ylim(0, 1)
    axes.set_xlabel("frames seen")
    axes.set_ylabel("probability")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    dress(axes)
    legend_above(axes)
