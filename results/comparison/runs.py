"""Fronts compared on test clips: searched networks with the published ones, or with those of other runs.

Networks are selected on validation clips and reported on test clips. At each cost, a set of networks is represented by
the test accuracy of the network with the best validation accuracy (mean over its re-evaluations) among those of equal
or lower cost. Costs are the cost objectives of the runs. There are two measures:

- Hypervolume (`nas.record.hypervolume`) over the range of each cost where every set has networks.
- Points of accuracy at equal cost, at the cost of each published network. Between two networks of a front its
  accuracy is interpolated linearly in log cost, as is usual for rate-distortion curves (Bjontegaard 2001). A step
  function would be unfair: a published network stands exactly at its own cost, while the nearest cheaper searched
  network is half a gap away on average. Beyond its most expensive network a front keeps that network's accuracy; below
  its cheapest one it has none. With several costs nothing is interpolated: a front has the accuracy of the network that
  represents it at equal or lower costs of every kind.

Intervals are of 95 %, by resampling runs (if there are several), seeds and test clips: `results.tables.resampling`. The
selection is repeated in every draw. Selection bias raises the estimate, and raises it twice in a draw. So intervals are
of the basic kind: the draws' quantiles reflected at the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from nas.record.hypervolume import CostRange, Ranges, cells, common_ranges
from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY
from results.tables import frame
from results.tables.resampling import Drawn, Tested, draw, tested
from search_space.base.errors import InputError

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """Accuracies at the costs of a published network; NaN where a front has no network at equal or lower cost."""

    name: str
    costs: Mapping[str, float]
    searched: Estimate
    references: Estimate
    difference: Estimate


@dataclass(frozen=True)
class RunVolume:
    """Hypervolumes of one run, over the range of the whole comparison; NaN where there is no comparison."""

    run: str
    searched: float
    references: float


@dataclass(frozen=True)
class Comparison:
    """Searched networks compared with references: the published networks, or the searched networks of other runs.

    Attributes:
      searched, references, difference: hypervolumes of test accuracy; NaN where the fronts share no range of cost.
      probability: fraction of the draws in which the difference is above 0; NaN without an interval.
      within: by cost, the range where every front has networks; empty if a cost has none.
      points: accuracies at the costs of each published network, cheapest first.
      resampled: levels of resampling, of "runs", "seeds", "clips", "videos"; none: no interval.
      test_clips: number of them, if they were resampled.
      against: "published networks" or "other runs".
      runs: hypervolumes of each run, those compared with last.
    """

    searched: Estimate
    references: Estimate
    difference: Estimate
    probability: float
    within: Mapping[str, CostRange] | None
    points: tuple[Point, ...]
    resampled: tuple[str, ...]
    test_clips: int
    against: str
    searched_networks: int
    searched_trainings: int
    reference_networks: int
    reference_trainings: int
    runs: tuple[RunVolume, ...]


def compare(
    runs: Sequence[Ledger],
    rng: np.random.Generator,
    against: Sequence[Ledger] = (),
    draws: int = DRAWS,
    published_by: Ledger | None = None,
) -> Comparison:
    """Compare the searched networks of runs with their published networks, or with the searched ones of other runs.

    The published networks are those trained by each run, or by the run `published_by`.

    Several runs are pooled: values are means over runs, and runs are resampled first, then seeds, then clips. Of the
    published networks each run has its own trainings, so runs are drawn together with them.

    Raises:
      InputError: a run has no re-evaluated networks, or runs have different clips or training recipes.
    """
    elsewhere = [published_by] if published_by else against  # runs to compare with
    own = [] if against else elsewhere or runs  # runs with the published networks
    names = _costs_of([*runs, *elsewhere])
    searched = [_tested(ledger, "finalist") for ledger in runs]
    others = [_tested(ledger, "finalist") for ledger in against] or [_tested(ledger, "reference") for ledger in own]
    published = others[0] if not against else tested(runs[0], "reference")
    for ledger, each in zip(own, others, strict=False):
        if each.fingerprints != published.fingerprints:
            rule = f"has other published networks than {runs[0].path.parent}; runs are pooled only with the same ones"
            raise InputError("run", str(ledger.path.parent), rule)
    sets = [*searched, *others]
    within = common_ranges([each.costs for each in sets])
    drawn = draw(sets, draws, rng)
    measured = [
        _measured(each, means, within, published.costs, at_own_cost=not against and i >= len(runs))
        for i, (each, means) in enumerate(zip(sets, drawn.sets, strict=True))
    ]
    ours, theirs = measured[: len(runs)], measured[len(runs) :]
    pooled = _against_runs(ours, theirs, rng) if elsewhere else _paired(ours, theirs, rng)
    several = max(len(runs), len(against)) > 1
    known = "seeds" in drawn.levels or several
    searched_volume, reference_volume, difference = _estimates(pooled, 0, known)
    reflected = 2 * pooled[2][0][0] - pooled[2][1][:, 0]
    return Comparison(
        searched=searched_volume,
        references=reference_volume,
        difference=difference,
        probability=float((reflected > 0).mean()) if math.isfinite(difference.low) else math.nan,
        within=None if within is None else dict(zip(names, within, strict=True)),
        points=tuple(
            Point(label, dict(zip(names, costs, strict=True)), *_estimates(pooled, k, known))
            for k, (label, costs) in enumerate(zip(published.labels, published.costs.tolist(), strict=True), start=1)
        ),
        resampled=(("runs",) if several else ()) + drawn.levels if known else (),
        test_clips=drawn.clips if known else 0,
        against="other runs" if against else "published networks",
        searched_networks=sum(len(each.costs) for each in searched),
        searched_trainings=sum(len(each.test) for each in searched),
        reference_networks=sum(len(each.costs) for each in others),
        reference_trainings=sum(len(each.test) for each in others),
        runs=_each_run(runs, elsewhere, measured),
    )


def _costs_of(ledgers: Sequence[Ledger]) -> tuple[str, ...]:
    """Return the cost objectives that all runs share; `InputError` for a repeated or incomparable run."""
    folders = [ledger.path.resolve().parent for ledger in ledgers]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise InputError("run", str(ledgers[i].path.parent), "is named twice; every run counts once")
    first, *others = ledgers
    for ledger in others:
        for name, of in (
            ("clips", lambda each: each.header.data_hash),
            ("training recipe", lambda each: each.header.config.get("training")),
            ("costs", lambda each: each.costs),
        ):
            if of(ledger) != of(first):
                rule = f"differs from {first.path.parent} in its {name}; only runs with equal ones are comparable"
                raise InputError("run", str(ledger.path.parent), rule)
    return first.costs


def _tested(ledger: Ledger, kind: str) -> Tested:
    found = tested(ledger, kind)
    if not len(found.costs):
        what = {"finalist": "searched", "reference": "published"}[kind]
        rule = f"has no re-evaluated {what} network measured on test clips; a comparison needs one"
        raise InputError("run", str(ledger.path.parent), rule)
    return found


Measured = tuple[np.ndarray, np.ndarray]  # hypervolume and accuracy at each point: float [1 + K] and [D, 1 + K]


def _measured(networks: Tested, means: Drawn, within: Ranges | None, costs: np.ndarray, at_own_cost: bool) -> Measured:
    """Return the hypervolume of a set over ranges, and its accuracy at costs [K, m] or of its networks."""
    values = []
    for validation, test in ((means.validation, means.test), (means.drawn_validation, means.drawn_test)):
        volume = np.full(validation.shape[:-1], math.nan)
        if within is not None:
            among, shares = cells(networks.costs, within)
            volume = selected(validation, test, among) @ shares
        points = test if at_own_cost else _points(networks.costs, validation, test, costs)
        values.append(np.concatenate([volume[..., None], points], axis=-1))
    return values[0], values[1]


def _points(own: np.ndarray, validation: np.ndarray, test: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return the accuracy of a front of networks with their `own` costs [N, m] at other costs [K, m]: [*, K]."""
    if own.shape[1] == 1:
        return selected(validation, test, np.tri(len(own), dtype=bool)) @ interpolation(own[:, 0], costs[:, 0])
    among = np.all(own <= costs[:, None], axis=-1)
    return np.where(among.any(axis=-1), selected(validation, test, among), math.nan)


def selected(validation: np.ndarray, test: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the test accuracy of the network with the best validation accuracy; the last of equal ones, 0 of none.

    Args:
      validation, test: accuracies, float [*, N].
      among: which networks to select from, bool [C, N].

    Returns:
      Float [*, C].
    """
    found = np.zeros((*test.shape[:-1], len(among)))
    for place in np.flatnonzero(among.any(axis=-1)):
        some = np.flatnonzero(among[place])[::-1]
        best = validation[..., some].argmax(axis=-1)
        found[..., place] = np.take_along_axis(test[..., some], best[..., None], axis=-1)[..., 0]
    return found


def interpolation(own: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Return weights [N, K] that interpolate values at rising costs `own` [N] in log cost at other costs [K]."""
    weights = np.zeros((len(own), len(costs)))
    for k, cost in enumerate(costs):
        i = int(np.searchsorted(own, cost, side="right")) - 1
        if i < 0:
            weights[:, k] = math.nan
        elif i + 1 == len(own):
            weights[i, k] = 1
        else:
            share = math.log(cost / own[i]) / math.log(own[i + 1] / own[i])
            weights[i : i + 2, k] = 1 - share, share
    return weights


def _paired(ours: Sequence[Measured], theirs: Sequence[Measured], rng: np.random.Generator) -> list[Measured]:
    """Return means over runs of searched networks, references and difference; both are resampled together."""
    pairs = [
        tuple(np.stack([a, b, a - b], axis=-1) for a, b in zip(own, other, strict=True))
        for own, other in zip(ours, theirs, strict=True)
    ]
    value, sample = _over_runs([(value, sample) for value, sample in pairs], rng)
    return [(value[..., i], sample[..., i]) for i in range(3)]


def _against_runs(ours: Sequence[Measured], theirs: Sequence[Measured], rng: np.random.Generator) -> list[Measured]:
    """Return the same for two groups of runs, resampled independently."""
    own, other = _over_runs(ours, rng), _over_runs(theirs, rng)
    return [own, other, (own[0] - other[0], own[1] - other[1])]


def _over_runs(runs: Sequence[Measured], rng: np.random.Generator) -> Measured:
    """Return means over runs, resampled in each draw, with deviations widened as for a small number of seeds."""
    values, samples = (np.stack(each) for each in zip(*runs, strict=True))
    n, draws = samples.shape[:2]
    mean = samples.mean(axis=0)
    if n == 1:
        return values[0], mean
    picks = rng.integers(0, n, (draws, n))
    picked = samples[picks, np.arange(draws)[:, None]].mean(axis=1)
    return values.mean(axis=0), mean + math.sqrt(n / (n - 1)) * (picked - mean)


def _estimates(pooled: Sequence[Measured], k: int, known: bool) -> tuple[Estimate, Estimate, Estimate]:
    """Return measure k of searched networks, references and difference; without intervals if not `known`."""
    searched, references, difference = (
        estimate(value[k], sample[:, k]) if known else Estimate(float(value[k]), math.nan, math.nan)
        for value, sample in pooled
    )
    return searched, references, difference


def estimate(value: float, sample: np.ndarray) -> Estimate:
    """Return a value with its basic bootstrap interval, from draws [D]."""
    low, high = np.quantile(sample, (0.025, 0.975))
    return Estimate(float(value), float(2 * value - high), float(2 * value - low))


def _each_run(runs: Sequence[Ledger], against: Sequence[Ledger], measured: Sequence[Measured]) -> tuple[RunVolume, ...]:
    volumes = [float(value[0]) for value, _ in measured]
    names = [ledger.path.absolute().parent.name for ledger in (*runs, *against)]
    if against:
        references = [math.nan] * len(runs) + volumes[len(runs) :]
        searched = volumes[: len(runs)] + [math.nan] * len(against)
    else:
        searched, references = volumes[: len(runs)], volumes[len(runs) :]
    return tuple(RunVolume(*each) for each in zip(names, searched, references, strict=True))


def basis(resampled: tuple[str, ...], test_clips: int) -> str:
    """Return a caption that names the sources of variation in the intervals."""
    if not resampled:
        return "no intervals, as no network was trained twice"
    clips = {"clips": f"{test_clips:,} test clips", "videos": f"the videos of {test_clips:,} test clips"}
    *first, last = [clips.get(level, level) for level in resampled]
    levels = f"{', '.join(first)} and {last}" if first else last
    return f"95 % intervals over {levels}" + ("" if test_clips else " only (test clips not recorded)")


@dataclass(frozen=True)
class Curve:
    """Test accuracy of the fronts of runs over `cost`, the first cost objective: mean over runs, 95 % intervals.

    `costs`, `value`, `low` and `high` are float [K].
    """

    cost: str
    costs: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(runs: Sequence[Ledger], rng: np.random.Generator, costs: int = 100, draws: int = DRAWS) -> Curve:
    """Return the fronts of runs over the first cost objective, interpolated as in a comparison.

    The curve begins at the cost at which every run has a network.

    Raises:
      InputError: a run has no re-evaluated networks, or runs have different clips or training recipes.
    """
    cost, *_ = _costs_of(runs)
    sets = [_tested(ledger, "finalist") for ledger in runs]
    sets = [replace(each, costs=each.costs[:, :1]) for each in sets]
    at = np.geomspace(max(each.costs[0, 0] for each in sets), max(each.costs[-1, 0] for each in sets), costs)[:, None]
    drawn = draw(sets, draws, rng)
    measured = [
        _measured(each, means, None, at, at_own_cost=False) for each, means in zip(sets, drawn.sets, strict=True)
    ]
    value, sample = (each[..., 1:] for each in _over_runs(measured, rng))
    low, high = np.quantile(sample, (0.025, 0.975), axis=0)
    return Curve(cost, at[:, 0], value, 2 * value - high, 2 * value - low)


@dataclass(frozen=True)
class FrontTables:
    """Data of the figure of a run's front.

    Attributes:
      cost: the first cost objective, the horizontal axis.
      front: the rows of `results.tables.frame.selected_front`, which validation selects.
      references: the published networks. In both tables the column `selected` is true for the networks on the front of
        validation accuracy and of `cost` alone, through which the figure draws a line.
      clips: "test" where both were tested, else "validation": the clips of their accuracy and interval.
      intervals: sources of variation in the intervals, for a caption; empty on validation clips.
    """

    cost: str
    front: pd.DataFrame
    references: pd.DataFrame
    clips: str
    intervals: str


def front_tables(ledger: Ledger, rng: np.random.Generator) -> FrontTables:
    """Return front and published networks with accuracies on test clips, if measured, as in a comparison."""
    cost = ledger.costs[0]
    front, references = (
        table.assign(selected=table["fingerprint"].isin(frame.non_dominated(table, [cost])["fingerprint"]))
        for table in (frame.selected_front(ledger), frame.networks(ledger, ("reference",)))
    )
    sets = [tested(ledger, "finalist"), tested(ledger, "reference")]
    names = [{*each.fingerprints} for each in sets]
    if front.empty or not names[0] >= {*front["fingerprint"]} or not names[1] >= {*references["fingerprint"]}:
        return FrontTables(cost, front, references, "validation", "")
    sets = [each for each in sets if len(each.costs)]
    drawn = draw(sets, DRAWS, rng)
    known = "seeds" in drawn.levels
    found: dict[str, Estimate] = {}
    for each, means in zip(sets, drawn.sets, strict=True):
        for i, name in enumerate(each.fingerprints):
            value = float(means.test[i])
            found[name] = estimate(value, means.drawn_test[:, i]) if known else Estimate(value, math.nan, math.nan)
    caption = basis(drawn.levels if known else (), drawn.clips)
    return FrontTables(cost, _with_estimates(front, found), _with_estimates(references, found), "test", caption)


def _with_estimates(table: pd.DataFrame, found: Mapping[str, Estimate]) -> pd.DataFrame:
    estimates = [found[name] for name in table["fingerprint"]]
    names = {ACCURACY.name: "value", "low": "low", "high": "high"}
    return table.assign(**{column: [getattr(each, name) for each in estimates] for column, name in names.items()})
