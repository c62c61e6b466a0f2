"""A comparison of fronts as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.record.hypervolume import CostRange
from results.comparison.on_table_text import columns
from results.comparison.runs import Comparison, Estimate, basis
from search_space.cost.labels import label_of


def text(compared: Comparison) -> str:
    """Return hypervolumes and points of accuracy at equal cost; for several runs also the hypervolume of each."""
    title = f"accuracy on test clips: searched networks and {compared.against}; "
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
        return "no hypervolumes: the cost ranges of the fronts do not overlap"
    rows = [
        ["  searched front", _interval(compared.searched)],
        [f"  {compared.against}", _interval(compared.references)],
        ["  difference", _interval(compared.difference)],
    ]
    return f"hypervolume, {ranges_text(compared.within)}:\n{columns(rows)}"


def _points(compared: Comparison) -> str:
    costs = {name: label_of(name) for name in compared.points[0].costs}
    head = ["  at the cost of", *("" for _ in costs), "searched front", compared.against, "difference, points"]
    rows = [
        [
            f"  {point.name.upper()}",
            *(costs[name].quantity(cost) for name, cost in point.costs.items()),
            *(_interval(point.searched), _interval(point.references), points_of(point.difference)),
        ]
        for point in compared.points
    ]
    return f"accuracy at equal {' and '.join(each.words for each in costs.values())}:\n{columns([head, *rows])}"


def ranges_text(within: Mapping[str, CostRange]) -> str:
    """Return ranges of costs as text: 0.34 M to 2.98 M multiply-adds per clip."""
    labels = {name: label_of(name) for name in within}
    parts = [
        f"{labels[name].quantity(each.low)} to {labels[name].quantity(each.high)} {labels[name].words}"
        for name, each in within.items()
    ]
    return " and ".join(parts)


def _interval(estimate: Estimate) -> str:
    reach = "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return _number(estimate.value) + reach


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def points_of(estimate: Estimate) -> str:
    """Return a difference of accuracies in points, with its interval: +3.1 [-0.2, +6.4]."""
    if math.isnan(estimate.value):
        return "-"
    reach = "" if math.isnan(estimate.low) else f" [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"
    return f"{100 * estimate.value:+.1f}{reach}"
