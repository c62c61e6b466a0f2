"""A comparison of search algorithms as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.comparison.on_table import BASELINE, TARGETS, thirds


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return cells in columns: the first column aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    first = widths[0]
    return "\n".join(row[0].ljust(first) + line[first:] for row, line in zip(rows, lines, strict=True))


def interval(row: Mapping[Hashable, Any], name: str, digits: int = 3) -> str:
    """Return a value with its 95 % interval, as 0.912 [0.905, 0.920]."""
    value, low, high = (row[key] for key in (name, f"{name}.low", f"{name}.high"))
    reach = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{reach}"


def summary_text(table: pd.DataFrame, evaluations: int) -> str:
    """Return the table of `results.comparison.on_table.summary`, in parts that fit a terminal."""
    rows = table.to_dict("records")
    volumes = [["hypervolume", *(f"after {at}" for at in thirds(evaluations)), "area under curve"]]
    for row in rows:
        cells = [interval(row, f"hypervolume@{at}") for at in thirds(evaluations)]
        volumes.append([str(row["algorithm"]), *cells, interval(row, "area")])
    efforts = [["effort", "repeats", "wasted suggestions", "seconds to suggest: median", "most"]]
    efforts += [[str(row["algorithm"]), *_effort(row)] for row in rows]
    parts = [volumes, *(_evaluations(rows, f"{100 * target:.0f}", evaluations) for target in TARGETS), efforts]
    return "\n\n".join(map(columns, parts))


def _evaluations(rows: Sequence[Mapping[Hashable, Any]], target: str, evaluations: int) -> list[list[str]]:
    compared = f"ratio_{target}" in rows[0]
    found = [[f"evaluations to {target} %", "runs", "median", "mean", *([f"x {BASELINE}"] if compared else [])]]
    for row in rows:
        median, reached = row[f"to_{target}"], row[f"to_{target}.reached"]
        cells = [
            f"{reached} of {row['seeds']}",
            f">{evaluations}" if math.isinf(median) else f"{median:g}",
            f"{'>' if reached < row['seeds'] else ''}{row[f'to_{target}.mean']:.0f}",
        ]
        if compared:
            cells.append(row[f"ratio_{target}.bound"] + interval(row, f"ratio_{target}", 2))
        found.append([str(row["algorithm"]), *cells])
    return found


def _effort(row: Mapping[Hashable, Any]) -> list[str]:
    repeats, wasted = f"{row['repeats']:.1f}", f"{row['wasted']:.1f}"
    return [repeats, wasted, f"{row['suggestion_seconds']:.3f}", f"{row['suggestion_seconds.max']:.2f}"]


def stopping_text(table: pd.DataFrame) -> str:
    """Return the table of `results.comparison.on_table.stopping`, in parts that fit a terminal."""
    volumes = [["early stopping, equal steps", "hypervolume with", "without", "difference"]]
    budgets = [["", "candidates", "steps of one", "full budget by quarter of cost", "factor"]]
    for row in table.to_dict("records"):
        name, shares = str(row["algorithm"]), " ".join(f"{row[f'full.{i}']:.2f}" for i in (1, 2, 3, 4))
        volumes.append(
            [name, *(interval(row, each) for each in ("hypervolume.with", "hypervolume.without", "difference"))]
        )
        steps = f"{row['steps']:.0%} ({1 - row['steps']:.0%} saved)"
        budgets.append([name, f"{row['candidates']:.0f}", steps, shares, interval(row, "factor", 2)])
    return f"{columns(volumes)}\n\n{columns(budgets)}"
