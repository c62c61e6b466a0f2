"""Comparison of a retrained network of a run with its recorded accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.record.events import Completed, Failed, Proposal
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, MACS
from results.tables.frame import student_t, summary, trainings
from search_space.cost.labels import label_of


@dataclass(frozen=True)
class Reproduction:
    """Accuracies of one network, as fractions of the validation clips.

    Attributes:
      recorded, repeated: of one training and of its repetition with the same seed; NaN if that failed.
      before, again: of the network's other trainings in the run (of its only one, if there is no other), and of new
        ones
        with new seeds.
      spread: standard deviation between the seeds of one network, over all networks of the run trained more than once
        and over the new trainings; NaN if there is none.
      freedom: its degrees of freedom.
      failures: reasons of the new trainings that failed.
      selected: the run's only training of this network is the one that put it on the front.
    """

    recorded: float
    repeated: float
    before: tuple[float, ...]
    again: tuple[float, ...]
    spread: float
    freedom: int
    failures: tuple[str, ...]
    selected: bool

    @property
    def difference(self) -> float:
        """Mean accuracy with new seeds minus that of the run; NaN if there are none."""
        return float(np.mean(self.again) - np.mean(self.before)) if self.again else math.nan

    @property
    def by_chance(self) -> float:
        """The difference that seeds alone exceed in 5 % of cases; NaN if their spread is unknown."""
        if not self.again or self.freedom == 0:
            return math.nan
        return student_t(self.freedom) * self.spread * math.sqrt(1 / len(self.again) + 1 / len(self.before))


def reproduction(
    ledger: Ledger, point: Proposal, trained: Iterable[tuple[Proposal, Completed | Failed]]
) -> Reproduction:
    """Compare new trainings with those of a run; the one with the seed of `point` repeats a recorded training."""
    results = list(trained)
    done = {p.seed: r.metrics[ACCURACY.name] for p, r in results if isinstance(r, Completed)}
    repeated = done.pop(point.seed, math.nan)
    again = tuple(done.values())
    table = trainings(ledger)
    own = table[table["fingerprint"] == point.fingerprint]
    # The search trial is biased upwards, because it selected the network; later trainings are not.
    later = own[own["kind"] != "search"]
    before = (later if len(later) else own)[ACCURACY.name]
    groups = [group.to_numpy(float) for _, group in table.groupby("fingerprint")[ACCURACY.name]]
    spread, freedom = _spread([*groups, np.array(again)])
    return Reproduction(
        recorded=ledger.completed[point.index].metrics[ACCURACY.name],
        repeated=repeated,
        before=tuple(before),
        again=again,
        spread=spread,
        freedom=freedom,
        failures=tuple(result.reason for _, result in results if isinstance(result, Failed)),
        selected=len(own) == 1 and point.kind == "search",
    )


def _spread(groups: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return the standard deviation within groups, and its degrees of freedom."""
    repeated = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in repeated)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in repeated)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def text(found: Reproduction, point: Proposal) -> str:
    """Return a summary in a few lines."""
    name = point.label or f"trial {point.index}"
    repeat = f", repeat {point.repeat}" if point.repeat else ""
    cost = MACS.name if MACS.name in point.cost else next(iter(point.cost))
    label = label_of(cost)
    lines = [
        f"{name}{repeat}: {point.cost[cost]:,} {label.short or label.words}; accuracy on validation clips",
        f"same seed    {found.recorded:.4f} recorded, {_same(found)}",
    ]
    if found.again:
        lines += [
            f"other seeds  {_mean(found.before)} recorded, {_mean(found.again)} now",
            f"spread       {_spread_text(found)}",
        ]
    lines += [f"failed       {reason}" for reason in found.failures]
    return "\n".join([*lines, f"verdict      {verdict(found)}"])


def _same(found: Reproduction) -> str:
    if math.isnan(found.repeated):
        return "no result now"
    difference = found.repeated - found.recorded
    return f"{found.repeated:.4f} now: {'equal' if difference == 0 else f'{difference:+.4f}'}"


def _mean(values: Sequence[float]) -> str:
    found = summary(np.array(values))
    interval = "" if len(values) == 1 else f", {found['low']:.4f} to {found['high']:.4f}"
    return f"{found[ACCURACY.name]:.4f} (n = {len(values)}{interval})"


def _spread_text(found: Reproduction) -> str:
    if found.freedom == 0:
        return "unknown: the run trained no network twice"
    return f"{found.spread:.4f} between seeds of one network ({found.freedom} degrees of freedom)"


def verdict(found: Reproduction) -> str:
    """Return one line: whether the result is reproduced within the spread between seeds."""
    if not found.again:
        equal = found.repeated == found.recorded
        return "the same training gives the same result" if equal else "the same training does not give the same result"
    if math.isnan(found.by_chance):
        return "not enough evidence: the spread between seeds is unknown; give more --repeats"
    within = abs(found.difference) <= found.by_chance
    told = f"{found.difference:+.4f}; seeds alone stay below {found.by_chance:.4f} in 19 of 20 cases"
    if within:
        return f"reproduces within the spread between seeds: {told}"
    why = "; selection bias: its one recorded training selected it" if found.selected and found.difference < 0 else ""
    return f"does not reproduce: {told}{why}"
