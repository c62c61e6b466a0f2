"""Check that a search can rank its candidates: their spread at similar cost compared with the noise of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, STATISTICS
from results.analysis.reliability import reliability
from results.tables.trainings import Trainings, of_candidates

LEAST = 0.3  # a reliability that supports no ranking
MOST = 300  # architectures, which take a second: those with repeats, and an even choice of the others


@dataclass(frozen=True)
class Ranking:
    """Spread and noise of the statistic searched by.

    Attributes:
      statistic: by name, on validation clips.
      spread: standard deviation between architectures beyond the effect of cost; noise: between seeds of one.
      reliability, low, high: share of the spread in the variance of one training, and its 95 % interval.
      repeated: architectures trained with several seeds. For none or one, the numbers are NaN.
      supported: whether the interval lies above `LEAST`; None without an interval.
    """

    statistic: str
    spread: float
    noise: float
    reliability: float
    low: float
    high: float
    repeated: int
    supported: bool | None

    def text(self) -> str:
        """Numbers as one line, and a second line if no ranking is supported."""
        if self.supported is None:
            repeats = f"{self.repeated} architectures were trained with several seeds"
            return f"noise of {self.statistic} and reliability of the ranking are unknown: {repeats}"
        numbers = (
            f"{self.statistic} at similar cost: spread between architectures {self.spread:.3f}, noise between seeds "
            f"{self.noise:.3f}, reliability {self.reliability:.2f} [{self.low:.2f}, {self.high:.2f}]"
        )
        if self.supported:
            return numbers
        rule = f"the interval of the reliability reaches below {LEAST}; raise training.steps or data.validation"
        return f"{numbers}\nthe measurements cannot rank the candidates: {rule}"


def searched_by(ledger: Ledger) -> str | None:
    """Return the objective statistic in a run's configuration; None if it has none."""
    named = ledger.header.config.get("statistic")
    return next((name for name in (*STATISTICS, *ledger.metric_names) if name == named), None)


def ranking(ledger: Ledger) -> Ranking:
    """Compare spread and noise of the objective statistic of a run.

    A re-evaluated architecture counts only with its re-evaluations, because its search trial selected it.
    """
    statistic = searched_by(ledger) or ACCURACY.name
    trainings = _reduced(of_candidates(ledger), statistic)
    found = reliability(trainings, seed=ledger.header.seed).rows
    unknown = Ranking(statistic, math.nan, math.nan, math.nan, math.nan, math.nan, trainings.repeated, None)
    if found.empty:
        return unknown
    row = found.iloc[0]
    spread, noise = math.sqrt(row["between"]), math.sqrt(row["within"])
    value, low, high = (float(row[f"reliability{end}"]) for end in ("", "_low", "_high"))
    supported = bool(low > LEAST) if math.isfinite(low) else None
    return replace(unknown, spread=spread, noise=noise, reliability=value, low=low, high=high, supported=supported)


def _reduced(trainings: Trainings, statistic: str) -> Trainings:
    """Return at most `MOST` measured architectures, without other statistics."""
    values = trainings.statistics.get(statistic)
    if values is None:
        return replace(trainings, statistics={})
    counts = np.isfinite(values).sum(axis=1)
    repeated, once = np.flatnonzero(counts > 1), np.flatnonzero(counts == 1)
    places = np.unique(np.linspace(0, len(once) - 1, min(len(once), max(MOST - len(repeated), 0))).astype(np.int64))
    kept = np.sort(np.concatenate([repeated, once[places]]))
    return replace(trainings, cost=trainings.cost[kept], statistics={statistic: values[kept]})
