"""A comparison of search algorithms as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from results.arena import BASELINE, TARGETS, thirds


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Cells under each other: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    first = widths[0]
    return "\n".join(row[0].ljust(first) + line[first:] for row, line in zip(rows, lines, strict=True))


def interval(row: Mapping[Hashable, Any], name: str, digits: int = 3) -> str:
    """A value with its 95 % interval, as 0.912 [0.905, 0.920]."""
    value, low, high = (row[key] for key in (name, f"{name}.low", f"{name}.high"))
    reach = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{reach}"


def summary_text(table: pd.DataFrame, evaluations: int) -> str:
    """The table of `results.arena.summary`."""
    rows = table.to_dict("records")
    first = [["hypervolume", *(f"after {at}" for at in thirds(evaluations)), "area under curve"]]
    first += [
        [row["algorithm"], *(interval(row, f"hypervolume@{at}") for at in thirds(evaluations)), interval(row, "area")]
        for row in rows
    ]
    second = [["evaluations", *_headings(rows), "repeats", "wasted", "seconds to suggest: median", "most"]]
    second += [[row["algorithm"], *_evaluations(row, evaluations), *_effort(row)] for row in rows]
    return f"{columns(first)}\n\n{columns(second)}"


def _headings(rows: Sequence[Mapping[Hashable, Any]]) -> list[str]:
    headings = []
    for target in TARGETS:
        headings += [f"to {target:.0%}: median", "mean"]
        headings += [f"x {BASELINE}"] if f"ratio_{target * 100:.0f}" in rows[0] else []
    return headings


def _evaluations(row: Mapping[Hashable, Any], evaluations: int) -> list[str]:
    cells = []
    for target in TARGETS:
        name = f"{100 * target:.0f}"
        median, mean = row[f"to_{name}"], row[f"to_{name}.mean"]
        some_did_not = row[f"to_{name}.reached"] < row["seeds"]
        cells += [
            f">{evaluations}" if math.isinf(median) else f"{median:g}",
            f"{'>' if some_did_not else ''}{mean:.0f} ({row[f'to_{name}.reached']} of {row['seeds']})",
        ]
        if f"ratio_{name}" in row:
            cells.append(row[f"ratio_{name}.bound"] + interval(row, f"ratio_{name}", 2))
    return cells


def _effort(row: Mapping[Hashable, Any]) -> list[str]:
    repeats, wasted = f"{row['repeats']:.1f}", f"{row['wasted']:.1f}"
    return [repeats, wasted, f"{row['suggestion_seconds']:.3f}", f"{row['suggestion_seconds.max']:.2f}"]


def stopping_text(table: pd.DataFrame) -> str:
    """The table of `results.arena.stopping`."""
    rows: list[list[str]] = [
        [
            "early stopping, equal steps",
            "hypervolume with",
            "without",
            "difference",
            "candidates",
            "steps of one",
            "full budget by quarter of cost",
            "factor",
        ]
    ]
    for row in table.to_dict("records"):
        quarters = " ".join(f"{row[f'full.{i}']:.2f}" for i in (1, 2, 3, 4))
        shares = [interval(row, f"hypervolume.{side}") for side in ("with", "without")]
        steps = f"{row['steps']:.0%} ({1 - row['steps']:.0%} saved)"
        cells = [interval(row, "difference"), f"{row['candidates']:.0f}", steps, quarters, interval(row, "factor", 2)]
        rows.append([str(row["algorithm"]), *shares, *cells])
    return columns(rows)
