"""Figure of a comparison of runs: mean front with its interval, each run's front, and the references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from nas.record.ledger import Ledger
from results.comparison.runs import Comparison, Curve, compare, curve
from results.figures import style
from results.figures.run import dress_accuracy
from results.figures.style import BLUE, FORMATS, GREEN, GREY, VERMILION
from search_space.base.errors import InputError


def write(
    runs: Sequence[Ledger],
    against: Sequence[Ledger],
    path: Path,
    rng: np.random.Generator,
    published_by: Ledger | None = None,
) -> None:
    """Draw the fronts of runs with their published networks, and the fronts of other runs if any.

    Published networks of another run, `published_by`, are drawn under the name of its folder.

    Raises:
      InputError: runs cannot be compared, or the file has another suffix than .png, .svg or .pdf.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError("--figure", str(path), f"must end in .{', .'.join(FORMATS)}")
    figure, axes = style.new(2)
    if against:
        _front(axes, against, curve(against, rng), GREY, "fronts compared with")
    _front(axes, runs, curve(runs, rng), BLUE, "searched fronts")
    if published_by:
        name = published_by.path.absolute().parent.name.replace("_", " ")
        _published(axes, compare(runs, rng, published_by=published_by), GREEN, "s", f"the same, {name}")
    _published(axes, compare(runs, rng), VERMILION, "D", "published A0–A5 at this scale")
    axes.set_xscale("log")
    dress_accuracy(axes, "test", runs[0].costs[0])
    style.save(figure, path)


def _front(axes: Axes, runs: Sequence[Ledger], front: Curve, colour: str, name: str) -> None:
    count = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
    axes.plot(front.costs, front.value, color=colour, linewidth=2, label=f"{name}{count}", zorder=4)
    axes.fill_between(front.costs, front.low, front.high, color=colour, alpha=0.2, linewidth=0, zorder=2)
    if len(runs) > 1:
        for each in runs:
            one = curve([each], np.random.default_rng(0), draws=1)
            axes.plot(one.costs, one.value, color=colour, linewidth=0.6, alpha=0.6, zorder=3)


def _published(axes: Axes, compared: Comparison, colour: str, marker: str, name: str) -> None:
    costs = [next(iter(point.costs.values())) for point in compared.points]
    found = [point.references for point in compared.points]
    reach = [[each.value - each.low for each in found], [each.high - each.value for each in found]]
    value = [each.value for each in found]
    axes.errorbar(
        costs, value, np.nan_to_num(reach), fmt=marker, color=colour, markersize=5.5, markeredgecolor="white",
        elinewidth=1.1, capsize=2.5, label=name, zorder=5,
    )  # fmt: skip
    for point, cost, each in zip(compared.points, costs, value, strict=True):
        axes.annotate(
            point.name.upper(), (cost, each), (6, -9), textcoords="offset points", color=colour,
            fontsize=style.TEXT, fontweight="bold",
        )  # fmt: skip
