"""Proxy rank correlation: agreement of the ranking by cheap measurements with that by full training.

The reference accuracy of a network is the mean of its trainings with the *other* seeds, for each seed in turn: an early
measurement is never compared with the training it is a part of, and all predictors have the same references. The
accuracy of one other seed at the full budget is the ceiling. A table with long trainings has a second reference, their
mean accuracy. Networks of unlike cost are easy to rank, so the important values are the ranking within FLOPs bins, and
there the gain of a predictor over log-FLOPs.

Intervals are of 95 %, by bootstrap over networks. There is not enough evidence for a predictor if fewer than `ENOUGH`
networks could be compared, or if the intervals of its τ within bins and beside log-FLOPs contain 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nas.benchmark.table import Table, is_loss
from nas.loop.early_stopping import CostBins
from nas.record.objective import ACCURACY, MACS
from results.analysis.rank_correlation import TIE_BREAKS, Pairs, estimate, mean, partial, redrawn, regret, within_bins
from results.tables.trainings import mean_of, mean_without
from search_space.base.checks import check_integer
from search_space.space.choices import Choice

ENOUGH = 20  # networks compared
BIN_ENOUGH = 6  # networks of a bin, else it is left out: one more than the largest choice
MOST = 2000  # networks compared; a random sample of a larger table, whose pairs would not fit in memory
CHOSEN = (1, 5)  # numbers of networks that a predictor chooses
NUMBERS = (
    "tau",
    "tau_within",
    "beyond_cost",
    "tau_long",
    *(f"regret_{k}{where}" for where in ("", "_within") for k in CHOSEN),
)
DRAWS = 1000


@dataclass(frozen=True)
class Predictor:
    """A measurement of n networks.

    values: float [n, seeds] if each belongs to a training with that seed, else [n, 1]; higher is better. NaN: missing.
    kind: early, full, ceiling, cost or score. share: fraction of the full budget's steps that it takes; NaN if unknown.
    """

    name: str
    kind: str
    values: np.ndarray
    share: float

    @property
    def seeded(self) -> bool:
        """True if each value belongs to one training."""
        return self.kind in ("early", "full", "ceiling")


def predictors(table: Table) -> Iterator[Predictor]:
    """Yield predictors of a table: each statistic by budget, then costs and scores, which need no training.

    Losses are left out, because their likelihoods rank the same.
    """
    for name in dict.fromkeys(name.partition("@")[0] for name in table.statistics if not is_loss(name)):
        for steps, values in table.early(name).items():
            yield Predictor(f"{name}@{steps}", "early", values, steps / table.steps if table.steps else math.nan)
        if name in table.statistics:
            kind = "ceiling" if name == ACCURACY.name else "full"
            yield Predictor(f"{name}, full budget", kind, table.statistics[name], 1.0)
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
class ProxyRanking:
    """Proxy rank correlations, `rows` as in `rank`.

    `networks` of the `of` networks in the table were compared; `bins` has the number in each FLOPs bin; `long` of them
    have long trainings.
    """

    name: str
    networks: int
    of: int
    seeds: int
    steps: int
    bins: tuple[int, ...]
    long: int
    long_steps: int
    rows: pd.DataFrame = field(repr=False)


def rank(table: Table, bins: int = 4, draws: int = DRAWS, seed: int = 0) -> ProxyRanking:
    """Compare the rankings of each predictor of a table with those of full and of long trainings.

    One row per predictor:

    - predictor, kind; share of the steps of the full budget, and seconds of training; number of networks;
    - tau: Kendall's τ-b over all networks; tau_within: within bins, the mean weighted by pairs;
    - beyond_cost: the partial τ within bins given log-FLOPs;
    - tau_long: τ within bins with the mean accuracy of the long trainings;
    - regret_1, regret_5 and the same _within bins (their plain mean): the difference in accuracy between the best
      network
      and the best of the 1 or 5 chosen ones;
    - the verdict.

    Columns _low and _high have the intervals. A draw has fewer different networks than the table, so the interval of a
    regret is too low.

    Raises:
      InputError: a number of bins below 1.
    """
    check_integer("--bins", bins, 1, 1000)
    rng = np.random.default_rng(seed)
    of, seeds = table.accuracy.shape
    sample = np.sort(rng.choice(of, MOST, replace=False)) if of > MOST else np.arange(of)
    networks = _Networks.of(table, sample, bins, draws, rng)
    rows = [_row(each, networks, table) for each in predictors(table)]
    sizes = tuple(int((networks.bins == i).sum()) for i in range(bins))
    long = int(np.isfinite(networks.long).sum())
    return ProxyRanking(
        table.name, len(sample), of, seeds, table.steps, sizes, long, table.long_steps, pd.DataFrame(rows)
    )


@dataclass(frozen=True)
class _Networks:
    """The networks compared.

    rows of the table [n]; accuracy [n, seeds] and mean accuracy of long trainings [n]; log-FLOPs and bins [n];
    copies int [1 + draws, n], the first of them all 1.
    """

    rows: np.ndarray
    accuracy: np.ndarray
    long: np.ndarray
    cost: np.ndarray
    bins: np.ndarray
    copies: np.ndarray
    rng: np.random.Generator

    @classmethod
    def of(cls, table: Table, rows: np.ndarray, bins: int, draws: int, rng: np.random.Generator) -> _Networks:
        macs = table.costs[MACS.name][rows]
        edges = CostBins(float(macs.min()), float(macs.max()), bins)
        bin_of = np.array([edges.of(float(cost)) for cost in macs])
        copies = np.concatenate([np.ones((1, len(rows)), int), redrawn(len(rows), draws, rng)])
        long = mean_of(table.long_accuracy[rows])
        return cls(rows, table.accuracy[rows], long, np.log(macs), bin_of, copies, rng)

    def comparisons(self, predictor: Predictor) -> Iterator[_Comparison]:
        """Yield a comparison for each seed with the mean of the others; a predictor without seeds uses all."""
        seeds = self.accuracy.shape[1]
        for seed in range(seeds):
            itself = seeds == 1 and not predictor.seeded
            truth = mean_of(self.accuracy) if itself else mean_without(self.accuracy, seed)
            predicted = predictor.values[self.rows, seed if predictor.seeded else 0]
            both = np.flatnonzero(np.isfinite(truth) & np.isfinite(predicted))
            if len(both) > 1:
                arrays = predicted[both], truth[both], self.cost[both], self.bins[both], self.copies[:, both]
                yield _Comparison(*arrays, self.rng)

    def tau_long(self, predictor: Predictor) -> np.ndarray:
        """Return the mean over seeds of τ within bins with the long trainings: [1 + draws]."""
        columns = predictor.values[self.rows].T
        found = [within_bins(each, self.long, self.bins, self.copies, BIN_ENOUGH) for each in columns]
        return mean([tau for tau, _ in found], [pairs for _, pairs in found])


@dataclass(frozen=True)
class _Comparison:
    """A predictor and the reference [n], log-FLOPs and bins [n]; copies int [1 + draws, n], the first all 1."""

    predicted: np.ndarray
    truth: np.ndarray
    cost: np.ndarray
    bins: np.ndarray
    copies: np.ndarray
    rng: np.random.Generator

    def numbers(self) -> dict[str, np.ndarray]:
        """Return numbers by name, each [1 + draws]: first of the networks themselves, then of the draws."""
        within = self._within(self.predicted, self.truth)
        with_cost = self._within(self.predicted, self.cost), self._within(self.truth, self.cost)
        found = {
            "tau": Pairs(self.predicted, self.truth).tau(self.copies),
            "tau_within": within,
            "beyond_cost": partial(within, *with_cost),
        }
        found |= {f"regret_{k}": self._regret(k, slice(None)) for k in CHOSEN}
        groups = [np.flatnonzero(self.bins == each) for each in np.unique(self.bins)]
        groups = [group for group in groups if len(group) >= BIN_ENOUGH]
        return found | {f"regret_{k}_within": mean([self._regret(k, group) for group in groups]) for k in CHOSEN}

    def _within(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return within_bins(x, y, self.bins, self.copies, BIN_ENOUGH)[0]

    def _regret(self, k: int, some: slice | np.ndarray) -> np.ndarray:
        predicted, truth, copies = self.predicted[some], self.truth[some], self.copies[:, some]
        itself = regret(predicted, truth, k, np.repeat(copies[:1], TIE_BREAKS, axis=0), self.rng).mean()
        return np.concatenate([[itself], regret(predicted, truth, k, copies[1:], self.rng)])


def _row(predictor: Predictor, networks: _Networks, table: Table) -> dict[str, Any]:
    comparisons = list(networks.comparisons(predictor))
    compared = max((len(each.truth) for each in comparisons), default=0)
    weights = [len(each.truth) * (len(each.truth) - 1) / 2 for each in comparisons]
    numbers = [each.numbers() for each in comparisons]
    seconds = table.seconds[np.isfinite(table.seconds)]
    row: dict[str, Any] = {
        "predictor": predictor.name,
        "kind": predictor.kind,
        "share": predictor.share,
        "seconds": predictor.share * seconds.mean() if len(seconds) else math.nan,
        "networks": compared,
    }
    found = {name: mean([each[name] for each in numbers], weights) for name in NUMBERS if name != "tau_long"}
    found["tau_long"] = networks.tau_long(predictor)
    for name in NUMBERS:
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate(np.atleast_1d(found[name])), strict=True))
    return row | {"verdict": _verdict(row)}


def _verdict(row: Mapping[str, Any]) -> str:
    if row["networks"] < ENOUGH:
        return f"not enough evidence: {row['networks']} networks of {ENOUGH}"
    names = {"tau_within": "ranks within bins", "beyond_cost": "adds to log-FLOPs"}
    found = [f"{words}{'' if row[name] > 0 else ' (reversed)'}" for name, words in names.items() if _clear(row, name)]
    if not found:
        return "not enough evidence"
    return "the ceiling" if row["kind"] == "ceiling" else ", ".join(found)


def _clear(row: Mapping[str, Any], name: str) -> bool:
    """Return whether the interval exists and does not contain 0."""
    return bool(row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0)
