"""Comparison of search algorithms on a benchmark table: tables of hypervolume, with intervals over seeds.

The score of a run uses the mean over all trainings of every architecture it evaluated, not the single training that the
algorithm received: hypervolume (`nas.record.hypervolume`) over the costs of the table's rows, divided by that of the
whole table, so that 1 is the true Pareto front. Runs of one seed have the same noise and are paired. `S` is the number
of seeds, `N` of evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.benchmark.table import Table
from nas.benchmark.table_cells import MACS
from nas.benchmark.table_comparison import TableRun
from nas.record.hypervolume import CostRange, hypervolume
from results.tables.bootstrap import bootstrap_interval
from search_space.base.atomic_files import replaced
from search_space.base.errors import InputError

BASELINE = "stratified_random"
TARGETS = (0.95, 0.98)  # of the true hypervolume


def score(table: Table, rows: Sequence[int]) -> np.ndarray:
    """Return the share of the true hypervolume after each of the evaluations of `rows`, in order: float [len(rows)].

    Raises:
      InputError: all rows of the table cost the same, or all have accuracy 0.
    """
    macs = table.costs[MACS].astype(float)[:, None]
    within = (CostRange(float(macs.min()), float(macs.max())),)
    whole = float(hypervolume(macs, table.means, within))
    if whole <= 0:
        raise InputError(table.name, whole, "is the hypervolume of the whole table; it needs networks of several costs")
    chosen = np.array(rows, dtype=np.int64)
    # Row k holds the results after evaluation k.
    known = np.tril(np.broadcast_to(table.means[chosen], (len(chosen), len(chosen))))
    return hypervolume(macs[chosen], known, within) / whole


def curves(table: Table, runs: Sequence[TableRun]) -> pd.DataFrame:
    """Return a row for each evaluation of runs without early stopping.

    Columns: algorithm, seed, evaluation from 1, row of the table, hypervolume so far, suggestion_seconds and
    training_seconds of this evaluation (the latter is missing if the table lacks it), wasted suggestions, repeat: rows
    seen before.
    """
    parts = []
    for run in runs:
        if run.stopping or not run.rows:
            continue
        part = {
            "algorithm": run.algorithm,
            "seed": run.seed,
            "evaluation": np.arange(1, len(run.rows) + 1),
            "row": run.rows,
            "hypervolume": score(table, run.rows),
            "suggestion_seconds": run.suggestion,
            "training_seconds": np.array(run.training, dtype=float),
            "wasted": run.wasted,
            "repeat": pd.Series(run.rows).duplicated().to_numpy(),
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def matrix(frame: pd.DataFrame, algorithm: str, evaluations: int) -> np.ndarray:
    """Return hypervolumes [S, N] of an algorithm; the last value is kept if it has nothing left to propose."""
    runs = frame[frame["algorithm"] == algorithm].groupby("seed")["hypervolume"]
    return np.stack([np.pad(each, (0, evaluations - len(each)), mode="edge") for _, each in runs])


def reached(volumes: np.ndarray, target: float) -> np.ndarray:
    """Return the evaluations until hypervolumes [S, N] first reach `target`: float [S], infinite if never."""
    there = volumes >= target
    return np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, math.inf)


def thirds(evaluations: int) -> tuple[int, ...]:
    """Return the evaluations at which algorithms are compared: 50, 100 and 150 of 150."""
    return tuple(dict.fromkeys(max(evaluations * part // 3, 1) for part in (1, 2, 3)))


def summary(
    frame: pd.DataFrame, algorithms: Sequence[str], evaluations: int, seed: int = 0, baseline: str = BASELINE
) -> pd.DataFrame:
    """Return a row for each algorithm; 95 % intervals (`.low`, `.high`) by bootstrap over seeds.

    Columns:

    - hypervolume@N: mean after N evaluations; lead@N: mean of its paired difference to the baseline;
    - area: under the curve, the mean over all evaluations;
    - to_95: median of the evaluations to 95 % of the true hypervolume, infinite if fewer than half of the runs reached
      it;
    - to_95.mean: their mean; a run that did not reach it counts as N, so the mean is too low if to_95.reached is below
      the
      number of seeds;
    - ratio_95: that mean divided by the baseline's, paired. ratio_95.bound: "<=" if only runs of the baseline did not
      reach
      it, ">=" if only runs of the algorithm, "?" if both;
    - repeats and wasted: per run; suggestion_seconds: median and highest over all evaluations.
    """
    volumes = {name: matrix(frame, name, evaluations) for name in algorithms}
    return pd.DataFrame(
        [_summary(frame, name, volumes[name], volumes.get(baseline), np.random.default_rng(seed)) for name in volumes]
    )


def _summary(
    frame: pd.DataFrame, name: str, volumes: np.ndarray, baseline: np.ndarray | None, rng: np.random.Generator
) -> dict[str, Any]:
    evaluations = volumes.shape[1]
    row: dict[str, Any] = {"algorithm": name, "seeds": len(volumes)}
    for at in thirds(evaluations):
        row |= mean_with_interval(f"hypervolume@{at}", volumes[:, at - 1], rng)
        if baseline is not None:
            row |= mean_with_interval(f"lead@{at}", volumes[:, at - 1] - baseline[:, at - 1], rng)
    row |= mean_with_interval("area", volumes.mean(axis=1), rng)
    for target in TARGETS:
        row |= _evaluations_to(target, volumes, baseline, rng)
    own = frame[frame["algorithm"] == name]
    row |= {f"{what}": own.groupby("seed")[column].sum().mean() for what, column in _PER_RUN.items()}
    seconds = own["suggestion_seconds"]
    return row | {"suggestion_seconds": seconds.median(), "suggestion_seconds.max": seconds.max()}


_PER_RUN = {"repeats": "repeat", "wasted": "wasted"}


def mean_with_interval(name: str, values: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Return the mean of values [S] as `name`, and its 95 % interval as `name`.low and `name`.high."""
    low, high = bootstrap_interval(values, np.mean, rng)
    return {name: float(values.mean()), f"{name}.low": low, f"{name}.high": high}


def _evaluations_to(
    target: float, volumes: np.ndarray, baseline: np.ndarray | None, rng: np.random.Generator
) -> dict[str, Any]:
    evaluations, name = volumes.shape[1], f"{100 * target:.0f}"
    own = reached(volumes, target)
    row: dict[str, Any] = {f"to_{name}": float(np.median(own)), f"to_{name}.reached": int(np.isfinite(own).sum())}
    row |= mean_with_interval(f"to_{name}.mean", np.minimum(own, evaluations), rng)
    if baseline is None:
        return row
    theirs = reached(baseline, target)
    pairs = np.minimum(np.stack([own, theirs], axis=1), evaluations)
    low, high = bootstrap_interval(pairs, _ratio, rng)
    row |= {f"ratio_{name}": _ratio(pairs), f"ratio_{name}.low": low, f"ratio_{name}.high": high}
    return row | {f"ratio_{name}.bound": _bound(np.isinf(own).any(), np.isinf(theirs).any())}


def _ratio(pairs: np.ndarray) -> float:
    own, theirs = pairs.mean(axis=0)
    return float(own / theirs)


def _bound(own: bool, theirs: bool) -> str:
    """Return the relation of the true ratio to one of means in which unfinished runs count too low."""
    return "?" if own and theirs else ">=" if own else "<=" if theirs else ""


def stopping(table: Table, runs: Sequence[TableRun], algorithms: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return a row for each algorithm: early stopping compared with none, for the same number of training steps.

    Columns:

    - hypervolume.with and .without: means over seeds, of architectures trained to the full budget; difference: paired;
    - candidates: architectures started with stopping, per run; without stopping, it is the number of evaluations;
    - steps: mean share of the full budget per candidate, so saved = 1 - steps;
    - full.1 to full.4: share of the candidates of each quarter of
    cost,
    cheapest first, that were fully trained; factor: highest of them divided by lowest. Intervals as in `summary`.
    """
    return pd.DataFrame([_stopping(table, runs, name, np.random.default_rng(seed)) for name in algorithms])


def _stopping(table: Table, runs: Sequence[TableRun], name: str, rng: np.random.Generator) -> dict[str, Any]:
    by_key = {(run.seed, run.stopping): run for run in runs if run.algorithm == name and run.rows}
    seeds = sorted({number for number, _ in by_key})
    full = max(table.steps, 1)
    ends = np.array([[_end(table, by_key[number, stop], full) for stop in (True, False)] for number in seeds])
    row: dict[str, Any] = {"algorithm": name, "seeds": len(seeds)}
    row |= mean_with_interval("hypervolume.with", ends[:, 0], rng) | mean_with_interval(
        "hypervolume.without", ends[:, 1], rng
    )
    row |= mean_with_interval("difference", ends[:, 0] - ends[:, 1], rng)
    stopped = [by_key[number, True] for number in seeds]
    row |= mean_with_interval("candidates", np.array([float(len(run.rows)) for run in stopped]), rng)
    row |= mean_with_interval("steps", np.array([np.mean(run.steps) / full for run in stopped]), rng)
    counts = _by_quarter(table, stopped, full)
    row |= {f"full.{i + 1}": share for i, share in enumerate(_shares(counts))}
    low, high = bootstrap_interval(counts, _factor, rng)
    return row | {"factor": _factor(counts), "factor.low": low, "factor.high": high}


def _end(table: Table, run: TableRun, full: int) -> float:
    completed = [row for row, steps in zip(run.rows, run.steps, strict=True) if steps == full]
    return float(score(table, completed)[-1]) if completed else 0.0


def _by_quarter(table: Table, runs: Sequence[TableRun], full: int) -> np.ndarray:
    """Return candidates, and fully trained ones, of each run and quarter of cost: int [S, 2, 4].

    The quarters are those of all candidates of all runs.
    """
    costs = [table.costs[MACS][np.array(run.rows)] for run in runs]
    edges = np.quantile(np.concatenate(costs), (0.25, 0.5, 0.75))
    counts = []
    for run, cost in zip(runs, costs, strict=True):
        quarter, to_the_end = np.searchsorted(edges, cost), np.array(run.steps) == full
        counts.append([np.bincount(quarter, minlength=4), np.bincount(quarter[to_the_end], minlength=4)])
    return np.array(counts)


def _shares(counts: np.ndarray) -> np.ndarray:
    candidates, full = counts.sum(axis=0)
    return np.where(candidates > 0, full / np.maximum(candidates, 1), np.nan)


def _factor(counts: np.ndarray) -> float:
    shares = _shares(counts)
    return float(np.nanmax(shares) / np.nanmin(shares)) if np.nanmin(shares) > 0 else math.inf


def write(frame: pd.DataFrame, path: Path) -> Path:
    """Write the table as CSV, completely or not at all."""
    with replaced(path) as new:
        frame.to_csv(new, index=False, float_format="%.6g")
    return path
