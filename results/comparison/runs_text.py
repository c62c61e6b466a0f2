"""A comparison of fronts as text for a terminal."""

from __future__ import annotations

import math

from results.comparison.on_table_text import columns
from results.comparison.runs import Comparison, Estimate, Point, basis


def text(compared: Comparison) -> str:
    """Hypervolumes and points of accuracy at equal cost; of several runs also the hypervolumes of each."""
    title = f"accuracy on test clips, searched networks and {compared.against}; "
    parts = [title + basis(compared.resampled, compared.test_clips), _volumes(compared)]
    if compared.points:
        parts.append(_points(compared))
    if len(compared.runs) > 1:
        rows = [["  run", "searched front", compared.against]]
        rows += [[f"  {each.run}", _number(each.searched), _number(each.references)] for each in compared.runs]
        parts.append(f"hypervolume of each run:\n{columns(rows)}")
    return "\n".join(parts)


def _volumes(compared: Comparison) -> str:
    if compared.within is None:
        return "no hypervolumes: there is no range of cost where every front has networks"
    low, high = (f"{each / 1e6:.2f} M" for each in (compared.within.low, compared.within.high))
    rows = [
        ["  searched front", _interval(compared.searched)],
        [f"  {compared.against}", _interval(compared.references)],
        ["  difference", _interval(compared.difference)],
    ]
    return f"hypervolume, {low} to {high} multiply-adds:\n{columns(rows)}"


def _points(compared: Comparison) -> str:
    head = ["  at the cost of", "", "searched front", compared.against, "difference, points"]
    return f"accuracy at equal multiply-adds:\n{columns([head, *map(_point, compared.points)])}"


def _point(point: Point) -> list[str]:
    shown = [_interval(point.searched), _interval(point.references), points_of(point.difference)]
    return [f"  {point.name.upper()}", f"{point.macs / 1e6:.2f} M", *shown]


def _interval(estimate: Estimate) -> str:
    reach = "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return _number(estimate.value) + reach


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def points_of(estimate: Estimate) -> str:
    """A difference of accuracies in points, with its interval: +3.1 [-0.2, +6.4]."""
    if math.isnan(estimate.value):
        return "-"
    reach = "" if math.isnan(estimate.low) else f" [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
    return f"{100 * estimate.value:+.1f}{reach}"
