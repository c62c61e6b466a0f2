"""Hypervolume of accuracy over log-cost: in time, with intervals, and of the search against the published networks.

Zitzler & Thiele 1999, "Multiobjective Evolutionary Algorithms: A Comparative Case Study" (hypervolume);
Efron & Tibshirani 1993, "An Introduction to the Bootstrap" (intervals).

One convention throughout. One axis is log10 of multiply-adds, over a stated range, by default from the cheapest to the
dearest network of the run, references included (in a comparison from where both sides have networks); the other is
accuracy, a share, from 0. The reference point is the
range's dear end at accuracy 0, and the area is divided by the range's length in decades, so a hypervolume lies in
0..1: it is the best accuracy to be had at a cost, averaged over log-cost. Networks cheaper than the range count from
its cheap end, dearer ones not at all.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas.ledger import Ledger
from nas.objective import ACCURACY, MACS
from nas.trials import Completed, Resumed, Stopped
from results.frame import selected_kinds, trainings
from search_space.architecture import check_integer
from search_space.errors import InputError


@dataclass(frozen=True)
class MacsRange:
    """The multiply-adds per clip from `low` to `high` over which a hypervolume is taken."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < np.inf:
            raise InputError("macs range", (self.low, self.high), "must be two finite costs, 0 < low <= high")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; `low` and `high` are NaN where nothing was trained twice."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Hypervolume of what the search found and of the reference networks, over the same range.

    `difference` is searched - references; `probability` the share of draws in which it is above 0 (NaN without an
    interval). `independent`: the searched networks are judged by trainings that did not choose them.
    """

    searched: Estimate
    references: Estimate
    difference: Estimate
    probability: float
    within: MacsRange
    searched_networks: int
    searched_trainings: int
    reference_networks: int
    reference_trainings: int
    independent: bool


def macs_range(ledger: Ledger) -> MacsRange:
    """From the cheapest to the dearest network proposed in the run, of any kind.

    Raises:
      InputError: no network was proposed.
    """
    macs = [proposal.cost[MACS.name] for proposal in ledger.proposals.values()]
    if not macs:
        raise InputError(str(ledger.path), 0, "is the number of trials; a hypervolume needs one")
    return MacsRange(min(macs), max(macs))


def hypervolume(macs: np.ndarray, accuracy: np.ndarray, within: MacsRange) -> np.ndarray:
    """Of points with macs [n] and accuracy [..., n]: hypervolumes [...] in 0..1; 0 over a range of no length."""
    if within.low == within.high:
        return np.zeros(accuracy.shape[:-1])
    order = np.argsort(macs, kind="stable")
    logs = np.log10(np.clip(macs[order], within.low, within.high))
    widths = np.diff(logs, append=np.log10(within.high)) / np.log10(within.high / within.low)
    attained = np.maximum.accumulate(np.maximum(accuracy[..., order], 0), axis=-1)
    return attained @ widths


def hypervolume_over_time(
    ledger: Ledger, objective: str = ACCURACY.name, within: MacsRange | None = None
) -> pd.DataFrame:
    """seconds, finished, hypervolume: a row for each search trial that completed or was stopped, in that order.

    Seconds are since the first entry, less the pauses before the run was resumed. `finished` counts such trials; only
    the completed ones add to the hypervolume, each with the accuracy of its one training.
    """
    rows: list[tuple[float, int, float]] = []
    best: list[tuple[float, float]] = []
    volume = 0.0
    for seconds, event in _running_time(ledger):
        proposal = ledger.proposals[event.index]
        if proposal.kind != "search":
            continue
        if isinstance(event, Completed) and objective in event.metrics:
            within = within or macs_range(ledger)
            before, best = best, _improved(best, proposal.cost[MACS.name], event.metrics[objective])
            if best is not before:
                macs, accuracy = np.array(best).T
                volume = float(hypervolume(macs, accuracy, within))
        rows.append((seconds, len(rows) + 1, volume))
    return pd.DataFrame(rows, columns=["seconds", "finished", "hypervolume"])


def _running_time(ledger: Ledger) -> list[tuple[float, Completed | Stopped]]:
    """Results, each with the seconds the run had been running."""
    rows, running = [], 0.0
    last = ledger.entries[0].time if ledger.entries else 0.0
    for entry in ledger.entries:
        if not isinstance(entry.record, Resumed):
            running += max(0.0, entry.time - last)
        last = entry.time
        if isinstance(entry.record, Completed | Stopped):
            rows.append((running, entry.record))
    return rows


def _improved(best: list[tuple[float, float]], macs: float, accuracy: float) -> list[tuple[float, float]]:
    """The front, cheapest first, with one point more; the same list if it is not on it, as most of a long run's."""
    place = bisect_right(best, (macs, math.inf))
    if place and best[place - 1][1] >= accuracy:
        return best
    kept = [point for point in best[:place] if point[0] < macs]
    return [*kept, (macs, accuracy), *(point for point in best[place:] if point[1] > accuracy)]


def hypervolume_with_interval(
    results: pd.DataFrame,
    within: MacsRange,
    rng: np.random.Generator,
    draws: int = 2000,
    objective: str = ACCURACY.name,
) -> Estimate:
    """Hypervolume of the networks' means, with its 95 % interval over their seeds.

    `results` has a row per training, as `results.frame.trainings` gives. The bootstrap draws each network's trainings
    anew: see `compare_frontiers`.
    """
    value, sample = _bootstrap(results, within, draws, rng, objective)
    return _estimate(value, sample)


def compare_frontiers(
    ledger: Ledger,
    rng: np.random.Generator,
    draws: int = 2000,
    objective: str = ACCURACY.name,
    within: MacsRange | None = None,
) -> Comparison:
    """What the search found against the published networks at the proxy's scale, trained equally.

    The search trial that put a network on the front was also a lucky one, and would flatter the search. So wherever
    finalists were trained again, their new trainings alone judge the search; else its own trials do, and `independent`
    is false.

    Each network's trainings are drawn anew `draws` times (deviations from the mean widened by sqrt(n / (n - 1)), as
    few seeds vary too little about their own mean; a network trained once borrows the deviations of all others).
    Since the best of noisy means is too good, and that of drawn means twice so, the interval is the basic one: the
    draws' quantiles reflected at the estimate.

    `within` is by default the range in which both have networks: from the dearer of the two's cheapest networks (a set
    is not to blame for what it was not meant to cover) to the dearest of the run.

    Raises:
      InputError: no searched network, or no reference, was trained to the full budget.
    """
    kinds = selected_kinds(ledger)
    searched, references = _results(ledger, kinds, objective), _results(ledger, ("reference",), objective)
    within = within or MacsRange(
        int(max(searched[MACS.name].min(), references[MACS.name].min())), macs_range(ledger).high
    )
    ours, our_draws = _bootstrap(searched, within, draws, rng, objective)
    theirs, their_draws = _bootstrap(references, within, draws, rng, objective)
    difference = _estimate(ours - theirs, our_draws - their_draws)
    reflected = 2 * (ours - theirs) - (our_draws - their_draws)
    return Comparison(
        searched=_estimate(ours, our_draws),
        references=_estimate(theirs, their_draws),
        difference=difference,
        probability=float("nan") if np.isnan(difference.low) else float((reflected > 0).mean()),
        within=within,
        searched_networks=searched["fingerprint"].nunique(),
        searched_trainings=len(searched),
        reference_networks=references["fingerprint"].nunique(),
        reference_trainings=len(references),
        independent=kinds == ("finalist",),
    )


def _results(ledger: Ledger, kinds: Sequence[str], objective: str) -> pd.DataFrame:
    results = trainings(ledger, kinds, objective)
    if results.empty:
        raise InputError(
            str(ledger.path), 0, f"is the number of {kinds[0]} trainings completed; a comparison needs one"
        )
    return results


def _bootstrap(
    results: pd.DataFrame, within: MacsRange, draws: int, rng: np.random.Generator, objective: str
) -> tuple[float, np.ndarray]:
    """Hypervolume of the means, and of `draws` draws of them; NaN where no network was trained twice."""
    check_integer("draws", draws, 1, 10**7)
    groups = [group for _, group in results.groupby("fingerprint", sort=False)]
    macs = np.array([group[MACS.name].iloc[0] for group in groups], float)
    values = [group[objective].to_numpy(float) for group in groups]
    means = np.array([each.mean() for each in values])
    value = float(hypervolume(macs, means, within))
    deviations = [(each - each.mean()) * np.sqrt(len(each) / (len(each) - 1)) for each in values if len(each) > 1]
    if not deviations:
        return value, np.full(draws, np.nan)
    pooled, own = np.concatenate(deviations), iter(deviations)
    pools = [next(own) if len(each) > 1 else pooled for each in values]
    noise = [rng.choice(pool, (draws, len(each))).mean(axis=1) for pool, each in zip(pools, values, strict=True)]
    return value, hypervolume(macs, means + np.stack(noise, axis=1), within)


def _estimate(value: float, sample: np.ndarray) -> Estimate:
    low, high = np.quantile(sample, (0.025, 0.975))
    return Estimate(value, float(2 * value - high), float(2 * value - low))
