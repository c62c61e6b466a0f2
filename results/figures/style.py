"""Common style of all figures: sizes of a paper's columns, readable type, colours and a second cue.

A figure is drawn at the size at which it is printed, one or two columns of a paper, so that a point is a point. It is
drawn without pyplot and its global state. Colours are those of Okabe & Ito 2008, "Color Universal Design", which remain
distinguishable with colour blindness; lines also differ in dashes and marks. Files contain text as text and no dates,
so that they can be searched, edited and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError
from search_space.base.names import hint

BLUE, VERMILION, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8C8C8C", "#222222"
COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#6A3D9A", GREY)
DASHES = ("-", "--", "-.", ":")  # their number has no divisor in common with that of colours: 36 different lines
MARKS = "osD^vPX*h"
FAINT = "#BBBBBB"
GRID = "#E6E6E6"

WIDTHS = {1: 3.3, 2: 6.9}  # inches, of one column and of two
ONE_COLUMN, TWO_COLUMNS = (WIDTHS[1], 2.5), (WIDTHS[2], 4.4)
TEXT, SMALL = 8, 7  # points; nothing is smaller
DPI = 300  # of PNG files
FORMATS = ("png", "svg", "pdf")

_FILES: dict[Any, Any] = {  # settings of matplotlib
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "movinet-nas",  # otherwise names in the file are random
    "pdf.fonttype": 42,  # TrueType, which publishers require
}
_METADATA: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def formats_of(text: str) -> tuple[str, ...]:
    """Parse formats separated by commas, as png,svg. Raises `InputError` for any other than `FORMATS`."""
    names = text.split(",")
    if unknown := [name for name in names if name not in FORMATS]:
        raise InputError(
            "--format", unknown[0], f"must be of {', '.join(FORMATS)}, by commas{hint(unknown[0], FORMATS)}"
        )
    return tuple(dict.fromkeys(names))


def new(columns: int = 1, height: float | None = None) -> tuple[Figure, Axes]:
    """Return a figure of one or two columns, `height` inches high if set, and its axes."""
    size = {1: ONE_COLUMN, 2: TWO_COLUMNS}[columns]
    figure = Figure(figsize=(size[0], height or size[1]), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def stacked(rows: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """Return a two-column figure with axes above each other, each high enough for its number of text rows."""
    heights = [0.9 + 0.25 * each for each in rows]
    figure = Figure(figsize=(WIDTHS[2], sum(heights)), dpi=DPI, layout="constrained")
    return figure, [*figure.subplots(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]]


def line_style(i: int) -> dict[str, Any]:
    """Return colour, dashes and mark of the i-th line of a figure."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKS[i % len(MARKS)],
        "markersize": 4,
    }


def dress(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    """Set spines, ticks, grid and text sizes of the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=TEXT, color=GREY)
    axes.grid(True, axis=grid, color=GRID, linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_fontsize(TEXT)


def legend_above(axes: Axes, last_first: bool = False) -> None:
    """Place the legend above the figure: three entries per row, or one per row in a single column."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    order = slice(None, None, -1 if last_first else 1)
    figure = axes.get_figure(root=True)
    wide = figure is None or figure.get_figwidth() > (WIDTHS[1] + WIDTHS[2]) / 2
    short = sum(map(len, names)) <= 40
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0}
    place |= {"ncols": 3 if wide or short else 1, "columnspacing": 1.5, "frameon": False}
    axes.legend(handles[order], names[order], fontsize=TEXT, **place)


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure to each path, in the format of its suffix; equal figures give equal bytes.

    Raises:
      InputError: a file cannot be written.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # otherwise the layout changes slightly with every drawing and resolution
    for path in paths:
        kind = path.suffix.removeprefix(".")
        with matplotlib.rc_context(_FILES), replaced(path) as new_path:
            figure.savefig(new_path, format=kind, metadata=_METADATA[kind])
