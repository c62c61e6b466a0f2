"""Plots of one stream."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from results.figures import stream
from search_space.base.errors import InputError

PROBABILITIES = np.array([[0.5, 0.5], [0.7, 0.3], [0.9, 0.1]])


def test_a_line_for_each_class_and_a_frame_above_each_number() -> None:
    figure = Figure(layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1] = 200
    stream.film(above, frames)
    stream.running(below, PROBABILITIES, ["left", "right"], 1)
    figure.draw_without_rendering()
    first, second = below.lines[:2]
    assert first.get_xdata().tolist() == [1, 2, 3] and first.get_ydata().tolist() == [0.5, 0.7, 0.9]
    assert second.get_linewidth() > first.get_linewidth()
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["left", "right"]
    (image,) = above.images
    left, right, _, _ = image.get_extent()
    assert (left, right) == below.get_xlim()
    assert image.get_array()[0, 8:16].min() == 200 and image.get_array()[0, :8].max() == 0


def test_other_shapes_are_refused() -> None:
    axes = Figure().subplots()
    with pytest.raises(InputError, match="frames by 3 classes"):
        stream.running(axes, PROBABILITIES, ["a", "b", "c"], 0)
    with pytest.raises(InputError, match="from 0 to 1"):
        stream.running(axes, PROBABILITIES, ["a", "b"], 2)
