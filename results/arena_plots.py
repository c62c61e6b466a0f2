"""Pictures of a comparison: hypervolume against evaluations and against time, means with 95 % intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from results.arena import matrix
from results.files import replaced

# Okabe & Ito 2008, "Color Universal Design"; lines beyond the eighth differ in their dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222", "#8C8C8C")
DASHES = ("-", "--", ":")
RESAMPLES = 1000
GRID = 300


def band(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean over the first axis of values [S, N], by bootstrap: low and high, [N]."""
    seeds = len(values)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    low, high = np.quantile(weights @ values, (0.025, 0.975), axis=0)
    return low, high


def draw(axes: Axes, x: np.ndarray, volumes: dict[str, np.ndarray], label: str) -> None:
    """Mean hypervolume of each algorithm, [S, N] by name, over x [N]."""
    rng = np.random.default_rng(0)
    for i, (name, values) in enumerate(volumes.items()):
        style: dict[str, Any] = {"color": COLOURS[i % 8], "linestyle": DASHES[i // 8 % 3]}
        axes.plot(x, values.mean(axis=0), linewidth=1.5, label=name, drawstyle="steps-post", **style)
        axes.fill_between(x, *band(values, rng), step="post", color=style["color"], alpha=0.15, linewidth=0)
    finals = np.concatenate([values.mean(axis=0) for values in volumes.values()])
    low = float(np.quantile(finals, 0.05))
    axes.set_ylim(low, float(finals.max()) + 0.1 * (float(finals.max()) - low) + 1e-3)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_xlabel(label)
    axes.set_ylabel("hypervolume, share of the true one")
    axes.grid(True, color="#E6E6E6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def over_time(frame: pd.DataFrame, algorithms: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray], str]:
    """A grid of seconds up to where the first run ends [GRID], hypervolumes [S, GRID] by name, and what is counted."""
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


def save(frame: pd.DataFrame, algorithms: Sequence[str], evaluations: int, folder: Path) -> list[Path]:
    """`evaluations.png` and `time.png`; returns their paths."""
    volumes = {name: matrix(frame, name, evaluations) for name in algorithms}
    pictures = {"evaluations": (np.arange(1, evaluations + 1), volumes, "evaluations")}
    pictures["time"] = over_time(frame, algorithms)
    paths = []
    for name, (x, values, label) in pictures.items():
        figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
        draw(figure.add_subplot(), x, values, label)
        paths.append(folder / f"{name}.png")
        with replaced(paths[-1]) as new:
            figure.savefig(new, format="png")
    return paths
