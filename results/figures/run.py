"""Figures of a run: its Pareto front and its hypervolume over time, each drawn on an Axes of the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox

from nas.record.hypervolume import common_ranges
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, MACS
from results.comparison.runs import front_tables
from results.family.growth import Family
from results.family.parents import chance_of
from results.figures import style as figure_style
from results.figures.style import BLACK, BLUE, FAINT, GREEN, GREY, TEXT, VERMILION, dress, legend_above
from results.tables import frame
from results.tables import hypervolume_over_time as volume
from search_space.base.errors import printable
from search_space.cost.labels import label_of

PUBLISHED = "published A0–A5 at this scale"  # references of MoViNets
SIZE = figure_style.TWO_COLUMNS  # inches, of the figure of the front
MARGIN = 0.06  # of the data's range, on each side

# Positions of a label, in points from its mark: right, left, above, below, and farther out.
_PLACES = [
    (x * far, y * far)
    for far in (1, 1.8, 3)
    for x, y in ((6, -8), (-6, 8), (6, 8), (-6, -8), (0, 10), (0, -10), (9, 0))
]


@dataclass(frozen=True)
class _Label:
    x: float
    y: float
    text: str
    colour: str


def draw_front(
    axes: Axes,
    trials: pd.DataFrame,
    front: pd.DataFrame,
    references: pd.DataFrame,
    parents: pd.DataFrame,
    clips: str = "validation",
    chance: float | None = None,
    cost: str = MACS.name,
    named: str = PUBLISHED,
) -> None:
    """Draw accuracy over a cost, on a log axis.

    The front and the published networks are step lines: at each cost they show the accuracy of the network with the
    best validation accuracy at equal or lower cost. A front of several costs has networks beside its line. Where both
    have networks the area between the lines is filled with the colour of the higher one.

    Args:
      axes: where to draw.
      trials: `results.tables.frame.trials`; the search's are drawn, stopped ones hollow, at their validation accuracy.
      front: `results.tables.frame.selected_front`, with 95 % intervals.
      references: `results.tables.frame.networks` of kind reference, labelled. Here and in `front` a column `selected`
        names the networks of the step line; without it they are those on the front of accuracy and `cost`.
      parents: `results.family.growth.Family.parents`, on the front or, at their validation accuracy, near it; may be
        empty.
      clips: clips of the accuracies of front and references.
      chance: accuracy of guessing, drawn as a line.
      cost: the cost of the horizontal axis, a column of the tables.
      named: name of the references in the legend.
    """
    search = trials[(trials["kind"] == "search") & trials.get(ACCURACY.name, pd.Series(dtype=float)).notna()]
    references = references.sort_values(cost)
    published, line = _selected(references, cost), _selected(front, cost)
    axes.set_xscale("log")
    _candidates(axes, search, cost, "" if clips == "validation" else ", validation clips")
    if chance is not None:
        axes.axhline(chance, color=BLACK, linestyle=":", linewidth=1, label=f"chance ({chance:.1%})", zorder=3)
    published = _to_the_end(published, references, cost)
    _between(axes, line, published, cost)
    _line(axes, references, published, cost, VERMILION, "D", named)
    _line(axes, front, line, cost, BLUE, "o", _front_name(front))
    if len(parents):
        parents = _on(front, parents)
        style: dict[str, Any] = {
            "marker": "o",
            "markersize": 11,
            "markerfacecolor": "none",
            "markeredgewidth": 1.6,
            "linestyle": "",
        }
        axes.plot(parents[cost], parents[ACCURACY.name], color=GREEN, label="parents, by model", zorder=6, **style)
    _limits(axes, [search, front, references], cost, chance)
    dress_accuracy(axes, clips, cost)
    labels = [_Label(row[cost], row[ACCURACY.name], row["label"].upper(), VERMILION) for row in _rows(references)]
    labels += [_Label(row[cost], row[ACCURACY.name], ", ".join(row["models"]), GREEN) for row in _rows(parents)]
    _place(axes, labels, pd.concat([search, front, references])[[cost, ACCURACY.name]].to_numpy(float))


def _selected(table: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Return the networks of a step line over a cost."""
    return table[table["selected"]] if "selected" in table else frame.non_dominated(table, [cost])


def _on(front: pd.DataFrame, parents: pd.DataFrame) -> pd.DataFrame:
    """Return the parents with the accuracy of the drawn front, if they are on it."""
    at = front.set_index("fingerprint")[ACCURACY.name].reindex(parents["fingerprint"])
    own = parents[ACCURACY.name].to_numpy(float)
    return parents.assign(**{ACCURACY.name: np.where(at.isna(), own, at)})


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _front_name(front: pd.DataFrame) -> str:
    retrained = len(front) and (front["kinds"] == "finalist").all()
    return "searched front, re-evaluated" if retrained else "searched front"


def _candidates(axes: Axes, search: pd.DataFrame, cost: str, where: str) -> None:
    for state, face, edge, name in (
        ("stopped", "none", FAINT, "stopped early"),
        ("completed", FAINT, "none", f"candidates{where}"),
    ):
        some = search[search["state"] == state]
        if len(some):
            style: dict[str, Any] = {"s": 16, "facecolors": face, "edgecolors": edge, "linewidths": 0.9}
            axes.scatter(some[cost], some[ACCURACY.name], label=f"{name} ({len(some)})", zorder=2, **style)


def _to_the_end(selected: pd.DataFrame, all_of_them: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Return the selected networks; the line of the last one extends to the most expensive network."""
    return pd.concat([selected, selected.tail(1).assign(**{cost: all_of_them[cost].max()})])


def _between(axes: Axes, front: pd.DataFrame, published: pd.DataFrame, cost: str) -> None:
    """Fill the area between two step lines over the range of cost where both have networks."""
    if front.empty or published.empty:
        return
    shared = common_ranges([table[[cost]].to_numpy(float) for table in (front, published)])
    if shared is None:
        return
    (within,) = shared
    costs = np.unique(np.concatenate([front[cost], published[cost]]))
    costs = costs[(costs >= within.low) & (costs <= within.high)]
    ours, theirs = (
        table[ACCURACY.name].to_numpy(float)[np.searchsorted(table[cost], costs, side="right") - 1]
        for table in (front, published)
    )
    for colour, ahead in ((BLUE, np.maximum(ours, theirs)), (VERMILION, np.minimum(ours, theirs))):
        axes.fill_between(costs, theirs, ahead, step="post", color=colour, alpha=0.2, linewidth=0, zorder=1)


def _line(
    axes: Axes, table: pd.DataFrame, selected: pd.DataFrame, cost: str, colour: str, marker: str, name: str
) -> None:
    """Draw networks with their intervals, and a step line through the selected ones."""
    if table.empty:
        return
    line: dict[str, Any] = {"linewidth": 1.8, "drawstyle": "steps-post"}
    axes.plot(selected[cost], selected[ACCURACY.name], color=colour, zorder=3, **line)
    x, y = table[cost].to_numpy(float), table[ACCURACY.name].to_numpy(float)
    reach = np.maximum(np.nan_to_num(np.stack([y - table["low"], table["high"] - y])), 0)
    style: dict[str, Any] = {
        "elinewidth": 1.1,
        "capsize": 2.5,
        "markersize": 5.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }
    axes.errorbar(x, y, yerr=reach, fmt=marker, color=colour, label=name, zorder=4, **style)


def _limits(axes: Axes, tables: Sequence[pd.DataFrame], cost: str, chance: float | None) -> None:
    """Set limits by the means and chance: a wide interval may leave the figure, but does not flatten it."""
    points = np.concatenate([table.reindex(columns=[cost, ACCURACY.name]).to_numpy(float) for table in tables])
    if len(points) == 0:
        axes.text(0.5, 0.5, "no trial finished yet", transform=axes.transAxes, ha="center", color=GREY, fontsize=TEXT)
        return
    low, high = points.min(axis=0), points.max(axis=0)
    low[1] = min(low[1], low[1] if chance is None else chance)
    decades = max(np.log10(high[0] / low[0]), 0.1) * MARGIN
    axes.set_xlim(low[0] / 10**decades, high[0] * 10**decades)
    room = max(high[1] - low[1], 0.02) * MARGIN
    axes.set_ylim(low[1] - room, high[1] + 3 * room)


def dress_accuracy(axes: Axes, clips: str, cost: str) -> None:
    """Label the axes of accuracy on some clips over a cost, and add the legend."""
    axes.set_xlabel(label_of(cost).words)
    axes.set_ylabel(f"accuracy on {clips} clips")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep="\u2009"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    dress(axes)
    legend_above(axes, last_first=True)


def _place(axes: Axes, labels: Sequence[_Label], points: np.ndarray) -> None:
    """Place each label beside its mark, where it covers least of the marks [n, 2] and of earlier labels."""
    figure = axes.get_figure(root=True)
    if figure is None or not labels:
        return
    figure.draw_without_rendering()  # computes the layout, so that pixels are final
    at = axes.transData.transform(points)
    pixels = figure.dpi / 72
    taken = np.concatenate([at - 4 * pixels, at + 4 * pixels], axis=1)
    for label in labels:
        text = axes.annotate(
            printable(label.text),
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            fontsize=TEXT,
            color=label.colour,
            fontweight="bold",
            ha="center",
            va="center",
            zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
            parse_math=False,  # a name may contain dollar signs
        )
        text.set_in_layout(False)
        width = text.get_window_extent().width / pixels / 2
        places = [(x + np.sign(x) * width, y) for x, y in _PLACES]
        boxes = []
        for place in places:
            text.set_position(place)
            boxes.append(text.get_window_extent())
        costs = [_covered(box, taken, axes.bbox) for box in boxes]
        best = int(np.argmin(costs))
        text.set_position(places[best])
        taken = np.concatenate([taken, [boxes[best].extents]])


def _covered(box: Bbox, taken: np.ndarray, inside: Bbox) -> float:
    """Return the area of a label over other objects, `taken` float [n, 4] as x0, y0, x1, y1, or outside the figure."""

    def overlap(boxes: np.ndarray) -> float:
        sides = np.minimum(boxes[:, 2:], box.max) - np.maximum(boxes[:, :2], box.min)
        return float(np.prod(np.maximum(sides, 0), axis=1).sum())

    return overlap(taken) + box.width * box.height - overlap(np.array([inside.extents]))


def hypervolume_over_time(axes: Axes, table: pd.DataFrame) -> None:
    """Draw hypervolume as a step line over minutes, up to the last finished trial.

    `table` is from `results.tables.hypervolume_over_time`.
    """
    minutes, values = table["seconds"].to_numpy(float) / 60, table["hypervolume"].to_numpy(float)
    x, y = np.concatenate([[0.0], minutes]), np.concatenate([[0.0], values])
    axes.step(x, y, where="post", color=BLUE, linewidth=1.8)
    axes.fill_between(x, y, step="post", color=BLUE, alpha=0.12, linewidth=0)
    axes.set_xlim(0, max(x[-1], 1 / 60))
    axes.set_ylim(0, max(1.1 * y.max(), 0.01))
    axes.set_xlabel("running time (minutes)")
    axes.set_ylabel("hypervolume (mean accuracy)")
    axes.set_title(f"{len(table)} trials finished", fontsize=TEXT, color=GREY, loc="right")
    dress(axes)


def save_front(ledger: Ledger, family: Family | None, *paths: Path) -> None:
    """Save the figure of a run's front, with the parents of its family if any; suffixes of paths set the formats.

    Raises:
      InputError: a file cannot be written.
    """
    figure, axes = figure_style.new(columns=2)
    shown = front_tables(ledger, np.random.default_rng(ledger.header.seed))
    others = "references" if ledger.own_task else "published MoViNets"
    title = "Searched networks" + (f" and {others} at equal cost" if len(shown.references) else "")
    figure.suptitle(f"{title}; {shown.intervals}" if shown.intervals else title, fontsize=TEXT, x=0.01, ha="left")
    chosen = family.parents() if family else pd.DataFrame()
    tables = frame.trials(ledger), shown.front, shown.references
    named = "references" if ledger.own_task else PUBLISHED
    draw_front(axes, *tables, chosen, shown.clips, chance_of(ledger) or None, shown.cost, named)
    figure_style.save(figure, *paths)


def save_hypervolume(ledger: Ledger, *paths: Path) -> None:
    """Save the figure of a run's hypervolume over time; suffixes of paths set the formats.

    Raises:
      InputError: a file cannot be written.
    """
    figure, axes = figure_style.new()
    hypervolume_over_time(axes, volume.hypervolume_over_time(ledger))
    figure_style.save(figure, *paths)
