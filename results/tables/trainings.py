"""Statistics of all trainings of a run's event log or of a benchmark table, side by side.

`R` is the number of architectures, `S` the largest number of trainings of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.benchmark.table import Table, is_loss, with_likelihood
from nas.record.events import Completed, Proposal, Rung
from nas.record.ledger import Ledger
from nas.record.objective import MACS


@dataclass(frozen=True, eq=False)
class Trainings:
    """Measurements of several trainings of each architecture.

    Attributes:
      name: of the table or run.
      cost: float [R], the first cost objective; multiply-adds for a table.
      statistics: float [R, S] by name, NaN where missing. `loss@64` is the loss after 64 steps. A training has the same
        column in all statistics.
      kind: description of these trainings.
    """

    name: str
    cost: np.ndarray
    statistics: Mapping[str, np.ndarray]
    kind: str = "trainings"

    @property
    def repeated(self) -> int:
        """Number of architectures with at least two trainings."""
        counts = [np.isfinite(values).sum(axis=1) for values in self.statistics.values()]
        return int((np.max(counts, axis=0) > 1).sum()) if counts else 0


def sign(statistic: str) -> int:
    """Return -1 for a loss, where lower is better, else 1."""
    return -1 if is_loss(statistic) else 1


def mean_of(values: np.ndarray) -> np.ndarray:
    """Return the mean of each row of values [R, S] without NaN; NaN for empty rows."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0).sum(axis=1) / there.sum(axis=1))


def mean_without(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the mean of each row of values [R, S] as in `mean_of`, without the column of a seed."""
    return mean_of(np.delete(values, seed, axis=1))


def of_table(table: Table) -> Trainings:
    """Return all trainings of a table."""
    return Trainings(table.name, table.costs[MACS.name].astype(float), table.statistics)


def of_ledger(ledger: Ledger) -> Trainings:
    """Return the re-evaluations of a run, or its search trials if these repeat more architectures.

    The two are not mixed: architectures are re-evaluated because their search trial was good, so that trial is no
    random sample of their trainings.
    """
    proposals = ledger.proposals.values()
    searched = _collected(ledger, [p for p in proposals if p.kind == "search"], "search trials")
    again = _collected(ledger, [p for p in proposals if p.kind != "search"], "re-evaluations")
    return searched if searched.repeated > again.repeated else again


def of_candidates(ledger: Ledger) -> Trainings:
    """Return all architectures of a run: re-evaluated ones with their re-evaluations only, others with their trials.

    The trial that selected an architecture is no random sample of its trainings.
    """
    proposals = ledger.proposals.values()
    again = {p.fingerprint for p in proposals if p.kind != "search"}
    unselected = [p for p in proposals if p.kind != "search" or p.fingerprint not in again]
    return _collected(ledger, unselected, "candidates and re-evaluations")


def _collected(ledger: Ledger, proposals: Sequence[Proposal], kind: str) -> Trainings:
    by_index = {p.index: p for p in proposals}
    cost = {p.fingerprint: p.cost[ledger.costs[0]] for p in proposals}
    rows = {fingerprint: row for row, fingerprint in enumerate(cost)}
    columns = {repeat: column for column, repeat in enumerate(sorted({p.repeat for p in proposals}))}
    found: dict[str, np.ndarray] = {}
    events: list[Rung | Completed] = [*ledger.completed.values(), *ledger.rungs]
    for event in events:
        proposal = by_index.get(event.index)
        if proposal is None:
            continue
        at = f"@{event.steps}" if isinstance(event, Rung) else ""
        for name, value in event.metrics.items():
            values = found.setdefault(f"{name}{at}", np.full((len(rows), len(columns)), np.nan))
            values[rows[proposal.fingerprint], columns[proposal.repeat]] = value
    name = ledger.path.parent.name
    return Trainings(name, np.array([*cost.values()], float), with_likelihood(found), kind)
