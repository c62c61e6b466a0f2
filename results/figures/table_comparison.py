"""Figures of a comparison: hypervolume against evaluations and against time, means with 95 % intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from results.comparison.on_table import matrix
from results.figures import style as figure_style

RESAMPLES = 1000
GRID = 300


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean over the first axis of values [S, N], by bootstrap: low and high, [N]."""
    seeds = len(values)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    low, high = np.quantile(weights @ values, (0.025, 0.975), axis=0)
    return low, high


def draw(axes: Axes, x: np.ndarray, volumes: dict[str, np.ndarray], label: str) -> None:
    """Draw mean hypervolume of each algorithm, [S, N] by name, over x [N]."""
    rng = np.random.default_rng(0)
    for i, (name, values) in enumerate(volumes.items()):
        style = figure_style.line_style(i)
        style["markevery"] = (0.02 * (i % 5), 0.1)  # of the figure's diagonal, at different positions
        axes.plot(x, values.mean(axis=0), linewidth=1.3, label=name, drawstyle="steps-post", **style)
        axes.fill_between(x, *interval(values, rng), step="post", color=style["color"], alpha=0.15, linewidth=0)
    finals = np.concatenate([values.mean(axis=0) for values in volumes.values()])
    low = float(np.quantile(finals, 0.05))
    axes.set_ylim(low, float(finals.max()) + 0.1 * (float(finals.max()) - low) + 1e-3)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_xlabel(label)
    axes.set_ylabel("hypervolume, share of the true one")
    figure_style.dress(axes)
    axes.legend(fontsize=figure_style.TEXT, frameon=False, loc="lower right", handlelength=3.5)


def over_time(frame: pd.DataFrame, algorithms: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """Return seconds up to the end of the first run [GRID], hypervolumes [S, GRID] by name, and the axis label."""
    trained = frame["training_seconds"].notna().all()
    spent = frame["suggestion_seconds"] + (frame["training_seconds"] if trained else 0)
    frame = frame.assign(time=spent.groupby([frame["algorithm"], frame["seed"]]).cumsum())
    runs = {name: list(frame[frame["algorithm"] == name].groupby("seed")) for name in algorithms}
    end = min(run["time"].iloc[-1] for each in runs.values() for _, run in each)
    grid = np.linspace(0, end, GRID)
    volumes = {name: np.stack([_at(run, grid) for _, run in each]) for name, each in runs.items()}
    return grid, volumes, "seconds of training and suggestion" if trained else "seconds of suggestion"


def _at(run: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    values = np.concatenate([[0.0], run["hypervolume"].to_numpy(float)])
    return values[np.searchsorted(run["time"].to_numpy(float), grid, side="right")]


def save(
    frame: pd.DataFrame, algorithms: Sequence[str], evaluations: int, folder: Path, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write `evaluations.png` and `time.png`, or other formats; return their paths."""
    volumes = {name: matrix(frame, name, evaluations) for name in algorithms}
    pictures = {"evaluations": (np.arange(1, evaluations + 1), volumes, "evaluations")}
    pictures["time"] = over_time(frame, algorithms)
    paths: list[Path] = []
    for name, (x, values, label) in pictures.items():
        figure, axes = figure_style.new(columns=2)
        draw(axes, x, values, label)
        files = [folder / f"{name}.{kind}" for kind in formats]
        figure_style.save(figure, *files)
        paths += files
    return paths
