"""Reliability of training statistics: is a difference between two networks due to the networks or to the seeds?

For each statistic, beyond the effect of cost: the variance between architectures, the variance between seeds, and the
share of the former, which is the reliability of one training (`results.analysis.variance_components` has the estimator
and its sources). In addition, Kendall's τ-b between two seeds within cost bins, and τ-b with the accuracy of the other
seeds at the full budget. Intervals are of 95 %, by bootstrap over architectures, with equal draws for all statistics.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nas.loop.early_stopping import CostBins
from nas.record.objective import ACCURACY
from results.analysis.rank_correlation import estimate, mean, redrawn, within_bins
from results.analysis.variance_components import Components, components, cost_trend
from results.tables.trainings import Trainings, mean_without, sign
from search_space.base.checks import check_integer

ENOUGH = 10  # architectures with two trainings
MOST = 2000  # architectures; above, a random sample, because all pairs would not fit in memory
DRAWS = 1000
NUMBERS = ("between", "within", "reliability", "tau_seeds", "tau_accuracy")


@dataclass(frozen=True)
class Reliability:
    """Reliability of each statistic of trainings.

    Attributes:
      name: of the run or table.
      kind: of its trainings.
      architectures, repeated: number compared, and number with at least two trainings.
      rows: see `reliability`.
      recommended: statistic to search by; None without enough evidence.
      verdict: the recommendation and its reason, or the reason for having none, as one line.
    """

    name: str
    kind: str
    architectures: int
    repeated: int
    rows: pd.DataFrame = field(repr=False)
    recommended: str | None
    verdict: str


def reliability(trainings: Trainings, bins: int = 4, draws: int = DRAWS, seed: int = 0) -> Reliability:
    """Estimate the reliability of each statistic.

    One row per statistic that was measured with two seeds: statistic; architectures; trainings; mean; between and
    within: variance between architectures beyond cost, and between seeds; reliability; tau_seeds; tau_accuracy. The
    last five have intervals in columns _low and _high. Variances and reliabilities below 0 are set to 0.

    Args:
      trainings: at least one statistic.
      bins: cost bins of equal width in log cost, for both τ.
      draws, seed: of the bootstrap.

    Raises:
      InputError: a number of bins below 1.
    """
    check_integer("--bins", bins, 1, 1000)
    rng = np.random.default_rng(seed)
    of = len(trainings.cost)
    some = np.sort(rng.choice(of, MOST, replace=False)) if of > MOST else np.arange(of)
    statistics = {name: values[some] for name, values in trainings.statistics.items()}
    found = [
        _Judged(name, values) for name, values in statistics.items() if (np.isfinite(values).sum(axis=1) > 1).sum() > 1
    ]
    repeated = max((each.repeated for each in found), default=0)
    if not found:
        verdict = "no reliability: no two architectures were trained with two seeds or more each"
        return Reliability(trainings.name, trainings.kind, len(some), repeated, pd.DataFrame(), None, verdict)
    sample = _Sample.of(trainings.cost[some], statistics.get(ACCURACY.name), bins, draws, rng)
    for each in found:
        each.measure(sample)
    recommended, verdict = _recommendation(found)
    rows = pd.DataFrame([each.row() for each in found])
    return Reliability(trainings.name, trainings.kind, len(some), repeated, rows, recommended, verdict)


@dataclass(frozen=True)
class _Sample:
    """Trend of costs [R, 3], bins int [R], accuracy [R, S] if known, and copies int [1 + draws, R], the first all 1."""

    trend: np.ndarray
    bins: np.ndarray
    accuracy: np.ndarray | None
    copies: np.ndarray

    @classmethod
    def of(
        cls, cost: np.ndarray, accuracy: np.ndarray | None, bins: int, draws: int, rng: np.random.Generator
    ) -> _Sample:
        edges = CostBins(float(cost.min()), float(cost.max()), bins)
        copies = np.concatenate([np.ones((1, len(cost)), int), redrawn(len(cost), draws, rng)])
        return cls(cost_trend(cost), np.array([edges.of(float(each)) for each in cost]), accuracy, copies)


class _Judged:
    """A statistic [R, S] and its `NUMBERS`: arrays [1 + draws], first of the architectures themselves."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self.values = name, values
        self.repeated = int((np.isfinite(values).sum(axis=1) > 1).sum())
        self.found: dict[str, np.ndarray] = {}

    def measure(self, sample: _Sample) -> None:
        """Fill `found`."""
        one, drawn = (components(self.values, sample.trend, each) for each in (None, sample.copies[1:]))
        both = Components(
            *(np.concatenate(each) for each in ((one.between, drawn.between), (one.within, drawn.within)))
        )
        self.found = {
            "between": both.between.clip(0),
            "within": both.within,
            "reliability": both.reliability.clip(0),
            "tau_seeds": tau_between_seeds(self.values, sample.bins, sample.copies),
            "tau_accuracy": np.array(math.nan),
        }
        if sample.accuracy is not None:
            signed = sign(self.name) * self.values
            self.found["tau_accuracy"] = tau_with_others(signed, sample.accuracy, sample.bins, sample.copies)

    def row(self) -> dict[str, Any]:
        """Return the row of the table."""
        there = np.isfinite(self.values)
        row: dict[str, Any] = {
            "statistic": self.name,
            "architectures": int(there.any(axis=1).sum()),
            "trainings": int(there.sum()),
            "mean": float(self.values[there].mean()),
        }
        for name in NUMBERS:
            row |= dict(
                zip((name, f"{name}_low", f"{name}_high"), estimate(np.atleast_1d(self.found[name])), strict=True)
            )
        return row


def tau_between_seeds(values: np.ndarray, bins: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Mean τ-b within bins between each two columns of values [R, S], weighted by pairs of architectures: [draws]."""
    pairs = itertools.combinations(range(values.shape[1]), 2)
    found = [within_bins(values[:, one], values[:, other], bins, copies) for one, other in pairs]
    return mean([tau for tau, _ in found], [weight for _, weight in found])


def tau_with_others(values: np.ndarray, accuracy: np.ndarray, bins: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Mean τ-b within bins of each column of values [R, S] with the mean accuracy of the other columns: [draws]."""
    found = [
        within_bins(values[:, seed], mean_without(accuracy, seed), bins, copies) for seed in range(values.shape[1])
    ]
    return mean([tau for tau, _ in found], [weight for _, weight in found])


def _recommendation(found: Sequence[_Judged]) -> tuple[str | None, str]:
    """Return the most reliable statistic, or of equally reliable ones that which best predicts other seeds' accuracy.

    Only accuracies and likelihoods of full trainings on validation clips are considered: other statistics measure a
    part of the label (motion, appearance), and a loss ranks as its likelihood does.
    """
    by_name: Mapping[str, _Judged] = {
        each.name: each
        for each in found
        if each.name.endswith(("accuracy", "likelihood"))
        and not each.name.startswith("test_")
        and math.isfinite(each.found["reliability"][0])
    }
    if not by_name:
        return None, "no recommendation: no statistic of full trainings varies between two seeds of an architecture"
    repeated = max(each.repeated for each in by_name.values())
    if repeated < ENOUGH:
        return None, f"not enough evidence: {repeated} architectures have two seeds, {ENOUGH} are needed"
    best = max(by_name.values(), key=lambda each: float(each.found["reliability"][0]))
    equal = [each for each in by_name.values() if each is best or not _distinguishable(best, each)]
    chosen = max(equal, key=lambda each: float(np.nan_to_num(np.atleast_1d(each.found["tau_accuracy"])[0], nan=-1.0)))
    value, low, high = estimate(chosen.found["reliability"])
    line = f"{chosen.name}: reliability {value:.2f} [{low:.2f}, {high:.2f}]"
    if not low > 0:
        return None, f"not enough evidence: 0 lies within the interval of {line}"
    others = [each.name for each in equal if each is not chosen]
    why = f"; not more reliable than {', '.join(others)}; best τ with other seeds' accuracy" if others else ""
    return chosen.name, f"search by {line}{why}"


def _distinguishable(best: _Judged, other: _Judged) -> bool:
    """Return whether the interval of the paired difference in reliability lies above 0."""
    return estimate(best.found["reliability"] - other.found["reliability"])[1] > 0
