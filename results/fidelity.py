"""How well cheap measurements rank networks: early accuracies, costs and scores against accuracy at full budget.

The truth about a network is the mean accuracy of its trainings with the *other* seeds, for each seed in turn: an early
accuracy is never compared with the training it is a part of, and all predictors meet the same truths. How well
the full budget of one seed ranks them is the ceiling. Networks of unlike cost are easily told apart, so what counts is
the ranking within bands of like log-cost, and there what a predictor adds to log-FLOPs.

Intervals are of 95 %, by bootstrap over networks. There is not enough evidence for a predictor where fewer than
`ENOUGH` networks could be compared, or where the intervals of its τ within bands and beside log-FLOPs contain 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nas.bands import Bands
from nas.objective import MACS
from nas.table import Table
from results.rank_correlation import TIE_BREAKS, Pairs, partial, redrawn, regret
from search_space.architecture import check_integer
from search_space.space import Choice

ENOUGH = 20  # networks compared
BAND_ENOUGH = 6  # networks of a band, or it is left out: one more than the most that are chosen
MOST = 2000  # networks compared; of a larger table a random sample, as all pairs of it would not fit in memory
CHOSEN = (1, 5)  # how many networks a predictor is let choose
FIGURES = ("tau", "tau_within", "beyond_cost", *(f"regret_{k}{where}" for where in ("", "_within") for k in CHOSEN))
DRAWS = 1000


@dataclass(frozen=True)
class Predictor:
    """A measurement of n networks.

    values: float [n, seeds] if it is of a training with that seed, else [n, 1]; more is better. NaN where missing.
    kind: rung, ceiling, cost or score. share: of the training steps of the full budget that it takes; NaN if unknown.
    """

    name: str
    kind: str
    values: np.ndarray
    share: float

    @property
    def seeded(self) -> bool:
        """Whether a value belongs to one training."""
        return self.kind in ("rung", "ceiling")


def predictors(table: Table) -> Iterator[Predictor]:
    """Those of a table: the rungs by budget, the full budget of another seed, then what takes no training."""
    for steps, values in sorted(table.curve.items()):
        yield Predictor(f"accuracy@{steps}", "rung", values, steps / table.steps if table.steps else math.nan)
    yield Predictor("accuracy, full budget", "ceiling", table.accuracy, 1.0)
    for name, cost in table.costs.items():
        yield Predictor("log-FLOPs" if name == MACS.name else f"log {name}", "cost", _column(np.log(cost)), 0.0)
    depths = [i for i, choice in enumerate(table.space.choices) if _counts_layers(choice)]
    if depths:
        layers = [np.array(table.space.choices[i].options)[table.genotypes[:, i]] for i in depths]
        yield Predictor("layers", "cost", _column(np.sum(layers, axis=0)), 0.0)
    for name, score in table.scores.items():
        yield Predictor(name, "score", _column(score), 0.0 if name != "supernet" else math.nan)


def _counts_layers(choice: Choice) -> bool:
    return choice.name.rpartition(".")[2] == "depth" and all(isinstance(option, int) for option in choice.options)


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, float)[:, None]


@dataclass(frozen=True)
class Fidelity:
    """`rows`: see `fidelity`. `networks` were compared of the `of` in the table, in `bands` of so many each."""

    name: str
    networks: int
    of: int
    seeds: int
    steps: int
    bands: tuple[int, ...]
    rows: pd.DataFrame = field(repr=False)


def fidelity(table: Table, bands: int = 4, draws: int = DRAWS, seed: int = 0) -> Fidelity:
    """How well each predictor of a table ranks its networks.

    A row for each predictor: predictor, kind; share of the steps of the full budget, and seconds of training; networks
    compared; tau (Kendall's τ-b) over all of them, tau_within bands (the mean weighted by pairs), beyond_cost (the
    partial τ within bands beside log-FLOPs); regret_1, regret_5 and the same _within bands (their plain mean), a share:
    what the best of so many chosen networks lacks to the best of all; the verdict. Each figure has its interval in
    columns _low and _high. A draw has fewer different networks than the table, so the interval of a regret lies low.

    Raises:
      InputError: a number of bands below 1.
    """
    check_integer("--bands", bands, 1, 1000)
    rng = np.random.default_rng(seed)
    of, seeds = table.accuracy.shape
    sample = np.sort(rng.choice(of, MOST, replace=False)) if of > MOST else np.arange(of)
    networks = _Networks.of(table, sample, bands, draws, rng)
    rows = [_row(each, networks, table) for each in predictors(table)]
    sizes = tuple(int((networks.band == i).sum()) for i in range(bands))
    return Fidelity(table.name, len(sample), of, seeds, table.steps, sizes, pd.DataFrame(rows))


@dataclass(frozen=True)
class _Networks:
    """The networks compared: rows of the table [n], accuracies [n, seeds], log-FLOPs and bands [n], draws [d, n]."""

    rows: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray
    band: np.ndarray
    copies: np.ndarray
    rng: np.random.Generator

    @classmethod
    def of(cls, table: Table, rows: np.ndarray, bands: int, draws: int, rng: np.random.Generator) -> _Networks:
        macs = table.costs[MACS.name][rows]
        edges = Bands(float(macs.min()), float(macs.max()), bands)
        band = np.array([edges.of(float(cost)) for cost in macs])
        copies = np.concatenate([np.ones((1, len(rows)), int), redrawn(len(rows), draws, rng)])
        return cls(rows, table.accuracy[rows], np.log(macs), band, copies, rng)

    def comparisons(self, predictor: Predictor) -> Iterator[_Comparison]:
        """One for each seed whose others say the truth; if there is but one seed, with it, of what has no seed."""
        seeds = self.accuracy.shape[1]
        for seed in range(seeds):
            others = [s for s in range(seeds) if s != seed or (seeds == 1 and not predictor.seeded)]
            truth = _mean(self.accuracy[:, others])
            predicted = predictor.values[self.rows, seed if predictor.seeded else 0]
            both = np.flatnonzero(np.isfinite(truth) & np.isfinite(predicted))
            if len(both) > 1:
                arrays = predicted[both], truth[both], self.cost[both], self.band[both], self.copies[:, both]
                yield _Comparison(*arrays, self.rng)


def _mean(values: np.ndarray) -> np.ndarray:
    """Of each row without its NaN; NaN where nothing is left."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(axis=1) / there.sum(axis=1)


@dataclass(frozen=True)
class _Comparison:
    """A predictor and the truth [n], log-FLOPs and bands [n]; copies int [1 + draws, n], the first of them all 1."""

    predicted: np.ndarray
    truth: np.ndarray
    cost: np.ndarray
    band: np.ndarray
    copies: np.ndarray
    rng: np.random.Generator

    def figures(self) -> dict[str, np.ndarray]:
        """Each [1 + draws]: first of the networks themselves, then of the draws."""
        within = self._within(self.predicted, self.truth)
        with_cost = self._within(self.predicted, self.cost), self._within(self.truth, self.cost)
        found = {
            "tau": Pairs(self.predicted, self.truth).tau(self.copies),
            "tau_within": within,
            "beyond_cost": partial(within, *with_cost),
        }
        found |= {f"regret_{k}": self._regret(k, slice(None)) for k in CHOSEN}
        bands = self._bands()
        return found | {f"regret_{k}_within": _average([self._regret(k, band) for band in bands]) for k in CHOSEN}

    def _bands(self) -> list[np.ndarray]:
        found = [np.flatnonzero(self.band == band) for band in np.unique(self.band)]
        return [band for band in found if len(band) >= BAND_ENOUGH]

    def _within(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        bands = self._bands()
        taus = [Pairs(x[band], y[band]).tau(self.copies[:, band]) for band in bands]
        return _average(taus, [len(band) * (len(band) - 1) / 2 for band in bands])

    def _regret(self, k: int, some: slice | np.ndarray) -> np.ndarray:
        predicted, truth, copies = self.predicted[some], self.truth[some], self.copies[:, some]
        itself = regret(predicted, truth, k, np.repeat(copies[:1], TIE_BREAKS, axis=0), self.rng).mean()
        return np.concatenate([[itself], regret(predicted, truth, k, copies[1:], self.rng)])


def _average(figures: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Weighted mean of arrays [draws], each draw over those that have a figure; NaN where none has."""
    if not figures:
        return np.array(math.nan)
    values = np.stack(np.broadcast_arrays(*figures))
    there = np.isfinite(values)
    shares = there * np.reshape(np.ones(len(figures)) if weights is None else weights, (-1, 1))
    with np.errstate(invalid="ignore"):
        return (np.where(there, values, 0) * shares).sum(axis=0) / shares.sum(axis=0)


def _row(predictor: Predictor, networks: _Networks, table: Table) -> dict[str, Any]:
    comparisons = list(networks.comparisons(predictor))
    compared = max((len(each.truth) for each in comparisons), default=0)
    weights = [len(each.truth) * (len(each.truth) - 1) / 2 for each in comparisons]
    figures = [each.figures() for each in comparisons]
    seconds = table.seconds[np.isfinite(table.seconds)]
    row: dict[str, Any] = {
        "predictor": predictor.name,
        "kind": predictor.kind,
        "share": predictor.share,
        "seconds": predictor.share * seconds.mean() if len(seconds) else math.nan,
        "networks": compared,
    }
    for name in FIGURES:
        draws = np.atleast_1d(_average([each[name] for each in figures], weights))
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), _estimate(draws), strict=True))
    return row | {"verdict": _verdict(row)}


def _estimate(draws: np.ndarray) -> tuple[float, float, float]:
    """The value and its interval; without one where more than a few draws have no figure."""
    value, others = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not math.isfinite(value) or len(others) < 0.9 * (len(draws) - 1):
        return value, math.nan, math.nan
    low, high = np.quantile(others, (0.025, 0.975))
    return value, float(low), float(high)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["networks"] < ENOUGH:
        return f"not enough evidence: {row['networks']} networks of {ENOUGH}"
    names = {"tau_within": "ranks within bands", "beyond_cost": "adds to log-FLOPs"}
    found = [f"{said}{'' if row[name] > 0 else ' (reversed)'}" for name, said in names.items() if _clear(row, name)]
    if not found:
        return "not enough evidence"
    return "the ceiling" if row["kind"] == "ceiling" else ", ".join(found)


def _clear(row: Mapping[str, Any], name: str) -> bool:
    """Whether the interval is there and does not contain 0."""
    return bool(row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0)
