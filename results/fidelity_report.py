"""Fidelity as text, as JSON, as a CSV file and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from results import figure_style
from results.fidelity import BAND_ENOUGH, DRAWS, ENOUGH, Fidelity
from results.figure_style import BLACK, BLUE, GREEN, GREY, GRID, TEXT, VERMILION
from results.files import replaced
from search_space.errors import InputError

COLOURS = {"rung": BLUE, "ceiling": BLACK, "cost": VERMILION, "score": GREEN}
HEADINGS = ("predictor", "steps", "s", "n", "tau", "tau within", "beyond log-FLOPs", "regret@1", "regret@5", "verdict")


def text(found: Fidelity) -> str:
    """A table for the terminal; regrets are those within bands, in points of accuracy."""
    rows = [HEADINGS, *(_cells(row) for row in _records(found))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([_head(found), "", *lines, "", *_legend()])


def _records(found: Fidelity) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in found.rows.to_dict("records")]


def _head(found: Fidelity) -> str:
    sampled = "" if found.networks == found.of else f", a random sample of {found.of}"
    bands = ", ".join(map(str, found.bands))
    return f"{found.name}: {found.networks} networks{sampled}, {found.seeds} seeds; {bands} in bands of log-FLOPs"


def _legend() -> list[str]:
    return [
        "tau: Kendall's tau-b with the mean accuracy of the other seeds at full budget. regret: points of accuracy",
        "that the best of the 1 or 5 networks chosen in a band lacks to its best. 95 % intervals by bootstrap over",
        f"networks. Not enough evidence: fewer than {ENOUGH} networks, or 0 in both intervals, of tau within bands and",
        f"beyond log-FLOPs. Bands of fewer than {BAND_ENOUGH} networks are left out.",
    ]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    taus = (_figure(row, name, ".2f") for name in ("tau", "tau_within", "beyond_cost"))
    regrets = (_figure(row, name, ".1f", 100) for name in ("regret_1_within", "regret_5_within"))
    share = _number(100 * row["share"], ".3g", " %")
    return (
        row["predictor"],
        share,
        _number(row["seconds"], ".3g"),
        str(row["networks"]),
        *taus,
        *regrets,
        row["verdict"],
    )


def _figure(row: Mapping[str, Any], name: str, form: str, scale: float = 1) -> str:
    value, low, high = (scale * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(value):
        return "-"
    return f"{value:{form}} ({_number(low, form)} to {_number(high, form)})"


def _number(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def as_json(found: Fidelity) -> dict[str, Any]:
    """Plain data; None where there is no figure."""
    rows = [{name: None if value != value else value for name, value in row.items()} for row in _records(found)]
    head = {name: getattr(found, name) for name in ("name", "networks", "of", "seeds", "steps")}
    return {**head, "draws": DRAWS, "bands": list(found.bands), "predictors": rows}


def write(found: Fidelity, folder: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """fidelity.csv and fidelity.png, or in other formats, in a folder, which is made if it is missing.

    Raises:
      InputError: they cannot be written.
    """
    table, pictures = folder / "fidelity.csv", [folder / f"fidelity.{kind}" for kind in formats]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be made: {error.strerror}") from None
    with replaced(table) as new:
        found.rows.to_csv(new, index=False)
    figure, axes = figure_style.new(columns=2, height=1.4 + 0.25 * len(found.rows))
    draw(axes, found.rows)
    figure_style.save(figure, *pictures)
    return [table, *pictures]


def draw(axes: Axes, rows: pd.DataFrame) -> None:
    """Kendall's τ of each predictor with its interval: within bands filled, over all networks hollow.

    Args:
      axes: where to draw.
      rows: of a `Fidelity`; the ceiling's interval within bands is a grey strip.
    """
    places = np.arange(len(rows))[::-1]
    for kind, group in rows.groupby("kind"):
        at = places[group.index]
        _dots(axes, group, "tau", at + 0.13, COLOURS[str(kind)], mfc="white")
        _dots(axes, group, "tau_within", at - 0.13, COLOURS[str(kind)])
    for _, ceiling in rows[rows["kind"] == "ceiling"].iterrows():
        axes.axvspan(ceiling["tau_within_low"], ceiling["tau_within_high"], color=GRID, zorder=0)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_yticks(places, rows["predictor"], fontsize=TEXT)
    axes.set_xlabel("Kendall's τ with other seeds at full budget: within bands ●, overall ○")
    figure_style.dress(axes, "x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _dots(axes: Axes, rows: pd.DataFrame, name: str, at: np.ndarray, colour: str, **style: Any) -> None:
    value = rows[name].to_numpy(float)
    reach = np.nan_to_num(np.stack([value - rows[f"{name}_low"], rows[f"{name}_high"] - value])).clip(0)
    axes.errorbar(
        value, at, xerr=reach, fmt="o", color=colour, markersize=5, elinewidth=0.9, capsize=2, zorder=3, **style
    )
