"""Candidates for the parents of a family, compared by their expected accuracy at the cost of a target.

A hierarchical normal model (Gelman et al. 2013, "Bayesian Data Analysis", sections 5.4 and 5.5): the accuracies of all
fully trained networks scatter around a trend over log cost, and every training adds noise. The scatter between networks
has a flat prior and is integrated out; the noise of a training is that between the re-evaluations of one network. So
the estimate of a network trained once is pulled far towards the trend, that of one trained several times hardly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nas.record.ledger import Ledger
from nas.record.objective import ACCURACY, MACS
from results.tables.frame import NORMAL, non_dominated, trainings

NEIGHBOUR = 1.15  # a network up to this factor more expensive is a neighbour
NEAR = 12  # upper limit of compared networks without re-evaluation
OWN_SHARE = 0.5  # share of the scatter around the trend that is due to networks, if none was trained twice
DISCOUNT = 0.5  # share of the trend's change that is expected to be lost by scaling
DISCOUNT_SD = 1 / math.sqrt(12)  # standard deviation of a share that is uniform from 0 to 1
_SCATTERS = np.linspace(0.05, 4, 40)  # standard deviations between networks, in units of that of the accuracies


@dataclass(frozen=True)
class Interval:
    """A posterior mean with its standard deviation."""

    mean: float
    sd: float

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return self.mean - NORMAL * self.sd

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return self.mean + NORMAL * self.sd

    def plain(self) -> list[float]:
        """Both ends, as plain data."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Candidate:
    """A network that may become a parent.

    Attributes:
      fingerprint, index: of the network, and of its first search trial if it has one.
      macs: multiply-adds at the proxy's scale.
      costs: the cost objectives at the proxy's scale, by name; targets are mapped to the first one.
      accuracy, trainings: mean measured accuracy and the number of its trainings.
      posterior: its accuracy in the model of this module.
      architecture: as plain data.
    """

    fingerprint: str
    index: int | None
    macs: int
    costs: Mapping[str, float]
    accuracy: float
    trainings: int
    posterior: Interval
    architecture: Mapping[str, Any]

    @property
    def cost(self) -> float:
        """The first of its costs."""
        return next(iter(self.costs.values()))

    @property
    def name(self) -> str:
        """Name shown to the user."""
        return f"network {self.fingerprint}" if self.index is None else f"trial {self.index}"

    def plain(self) -> dict[str, Any]:
        """Return the candidate for a record, without its architecture."""
        return {
            "index": self.index,
            "fingerprint": self.fingerprint,
            "macs": self.macs,
            **self.costs,
            "accuracy": self.accuracy,
            "trainings": self.trainings,
            "posterior_mean": self.posterior.mean,
            "interval": self.posterior.plain(),
        }


@dataclass(frozen=True)
class Trend:
    """Expected accuracy over log cost, and the standard deviation of one training."""

    coefficients: tuple[float, ...]  # of a polynomial in log cost - center, the constant last
    center: float
    noise: float

    def __call__(self, cost: float) -> float:
        """Return the trend's accuracy at a cost."""
        return float(np.polyval(self.coefficients, math.log(cost) - self.center))

    def scaled(self, candidate: Candidate, place: float) -> Interval:
        """Return the expected accuracy of a candidate that is scaled to the cost `place`.

        The trend's change is added and half of its amount subtracted, because scaling does not search: the lost share
        is uniform from 0 to 1. The amount is at least `noise` per factor e of cost, also where the trend is flat.
        """
        distance = math.log(place / candidate.cost)
        change = self(place) - self(candidate.cost)
        change = math.copysign(max(0.0, math.copysign(change, change * distance)), distance)
        amount = max(abs(change), self.noise * abs(distance))
        own = candidate.posterior
        return Interval(own.mean + change - DISCOUNT * amount, math.hypot(own.sd, DISCOUNT_SD * amount))


@dataclass(frozen=True)
class Guess:
    """A candidate at the cost of a target: its expected accuracy, and in `rejected` the reason if it is excluded."""

    candidate: Candidate
    expected: Interval
    rejected: str


@dataclass(frozen=True)
class Candidates:
    """All candidates of a run, cheapest first.

    Attributes:
      networks: the candidates.
      trend: their common trend over log cost.
      chance: accuracy of an untrained network.
    """

    networks: tuple[Candidate, ...]
    trend: Trend
    chance: float

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of the costs searched by."""
        return tuple(self.networks[0].costs)

    @property
    def above_chance(self) -> list[Candidate]:
        """Return those whose whole interval is above chance."""
        return [each for each in self.networks if each.posterior.low > self.chance]

    @property
    def warning(self) -> str:
        """Return one line if no candidate beats chance, else ''."""
        if self.above_chance:
            return ""
        return (
            f"no network of the run beats chance ({self.chance:.3f}) with its whole interval: the family's parents are "
            "arbitrary; train for more steps or on an easier task"
        )

    def span(self) -> tuple[float, float]:
        """Return the ends of the front of posterior means above chance, by the first cost."""
        table = [{**each.costs, ACCURACY.name: each.posterior.mean} for each in self._eligible()]
        names = [*self.costs]
        along = non_dominated(pd.DataFrame(table), names)[names[0]]
        return along.iloc[0].item(), along.iloc[-1].item()

    def place(self, name: str, targets: Mapping[str, float]) -> float:
        """Return the cost within `span` that corresponds to a target: log targets are mapped linearly to log costs."""
        low, high = self.span()
        logs = [math.log(target) for target in targets.values()]
        span = logs[-1] - logs[0]
        share = (math.log(targets[name]) - logs[0]) / span if span else 0.5
        return low * (high / low) ** share

    def _eligible(self) -> Sequence[Candidate]:
        return self.above_chance or self.networks

    def at(self, place: float) -> list[Guess]:
        """Return every candidate at a cost, the best first, excluded ones last."""
        guesses = [Guess(each, self.trend.scaled(each, place), self._rejection(each)) for each in self.networks]

        def order(guess: Guess) -> tuple[bool, float, float]:
            return bool(guess.rejected), -guess.expected.mean, abs(math.log(guess.candidate.cost / place))

        return sorted(guesses, key=order)

    def _rejection(self, candidate: Candidate) -> str:
        """Return why a candidate cannot be a parent of any target, or ''."""
        if candidate not in self._eligible():
            return f"its interval reaches chance, {self.chance:.3f}"
        for other in self.networks:
            at_lower_cost = all(cost <= NEIGHBOUR * candidate.costs[name] for name, cost in other.costs.items())
            if at_lower_cost and other.posterior.low > candidate.posterior.high:
                more = other.cost / candidate.cost - 1
                return f"the whole interval of {other.name} is above its interval, at {more:+.1%} of cost"
        return ""


def compared(table: pd.DataFrame, noise: float, chance: float, costs: Sequence[str] = (MACS.name,)) -> Candidates:
    """Return the candidates among networks that were trained to the full budget.

    Args:
      table: a row per network with fingerprint, index, macs, the costs, accuracy (its mean), n (trainings),
        architecture, and `selected`: whether it is a candidate in any case. Up to `NEAR` of the others whose interval
        reaches the front are candidates.
      noise: standard deviation between trainings of one network; NaN if no network was trained twice.
      chance: see `Candidates`.
      costs: names of the cost objectives.
    """
    table = table.sort_values([*costs, "fingerprint"], ignore_index=True)
    trend, means, sds = _posterior(table, noise, costs[0])
    own = table[[*costs]].to_numpy(float)
    front = np.array([means[np.all(own <= each, axis=1)].max() for each in own])
    short = front - (means + NORMAL * sds)
    selected = table["selected"].to_numpy(bool)
    others = np.flatnonzero(~selected & (short <= 0))
    chosen = np.sort([*np.flatnonzero(selected), *others[np.argsort((front - means)[others], kind="stable")][:NEAR]])
    networks = [
        Candidate(
            fingerprint=str(row["fingerprint"]),
            index=None if pd.isna(row["index"]) else int(row["index"]),
            macs=int(row[MACS.name]),
            costs={name: row[name] for name in costs},
            accuracy=float(row[ACCURACY.name]),
            trainings=int(row["n"]),
            posterior=Interval(float(means[i]), float(sds[i])),
            architecture=row["architecture"],
        )
        for i, row in zip(chosen, table.iloc[chosen].to_dict("records"), strict=True)
    ]
    return Candidates(tuple(networks), trend, chance)


def _posterior(table: pd.DataFrame, noise: float, cost: str) -> tuple[Trend, np.ndarray, np.ndarray]:
    """Return the trend, and mean and standard deviation of every network's accuracy [n]."""
    logs, y = np.log(table[cost].to_numpy(float)), table[ACCURACY.name].to_numpy(float)
    center = float(logs.mean())
    degree = min(2, len(np.unique(logs)) - 1)
    x = np.vander(logs - center, degree + 1)
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    if math.isnan(noise):
        around = float(np.sqrt(np.sum((y - x @ beta) ** 2) / max(1, len(y) - degree - 1)))
        noise = math.sqrt(1 - OWN_SHARE) * around
    noise = max(noise, 1e-3)
    of_mean = noise**2 / table["n"].to_numpy(float)
    unit = max(float(y.std()), noise)
    parts = [_given_scatter(x, y, of_mean, (scatter * unit) ** 2) for scatter in _SCATTERS]
    weights = np.exp(np.array([part[0] for part in parts]) - max(part[0] for part in parts))
    weights /= weights.sum()
    betas, means, variances = (np.stack([part[i] for part in parts]) for i in (1, 2, 3))
    mean = weights @ means
    variance = weights @ (variances + (means - mean) ** 2)
    return Trend(tuple((weights @ betas).tolist()), center, noise), mean, np.sqrt(variance)


def _given_scatter(
    x: np.ndarray, y: np.ndarray, of_mean: np.ndarray, scatter: float
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Return log density of a variance between networks, the trend's coefficients [p], and posteriors [n].

    `x` is float [n, p], `y` [n] has the measured means and `of_mean` [n] the variances of their noise.
    """
    total = scatter + of_mean
    spread = np.linalg.pinv(x.T @ (x / total[:, None]))
    beta = spread @ (x.T @ (y / total))
    off = y - x @ beta
    sign, log_determinant = np.linalg.slogdet(spread)
    density = 0.5 * (log_determinant if sign > 0 else 0.0) - 0.5 * np.sum(np.log(total) + off**2 / total)
    own = scatter / total  # share of a deviation from the trend that is due to the network
    of_trend = np.einsum("ni,ij,nj->n", x, spread, x)
    variance = scatter * (1 - own) + (1 - own) ** 2 * of_trend
    return float(density), beta, x @ beta + own * off, variance


def of_run(ledger: Ledger) -> Candidates | None:
    """Return the candidates of a run; None if no network was trained to the full budget.

    A re-evaluated network counts only with its re-evaluations, because the trials that selected it are biased.
    """
    results = trainings(ledger, ("search", "finalist"))
    if results.empty:
        return None
    again = results["kind"] == "finalist"
    selected = set(results["fingerprint"][again])
    counted = results[again | ~results["fingerprint"].isin(selected)]
    table = counted.groupby("fingerprint", sort=False).agg(
        **{name: (name, "first") for name in dict.fromkeys((MACS.name, *ledger.costs, "index"))},
        **{ACCURACY.name: (ACCURACY.name, "mean"), "n": (ACCURACY.name, "size")},
    )
    proposals = ledger.proposals
    table["architecture"] = pd.Series([proposals[index].architecture for index in table["index"]], table.index)
    searched = results[~again].groupby("fingerprint")["index"].min()
    table["index"] = searched.reindex(table.index).astype("Int64")
    table["selected"] = table.index.isin(selected)
    return compared(table.reset_index(), _noise(ledger), chance_of(ledger), ledger.costs)


def _noise(ledger: Ledger) -> float:
    """Return the standard deviation between re-evaluations of a network, or between search trials if there are none."""
    for kinds in (("finalist", "reference"), ("search",)):
        accuracy = trainings(ledger, kinds).groupby("fingerprint")[ACCURACY.name]
        freedom = accuracy.size() - 1
        if freedom.sum() > 0:
            return float(np.sqrt((accuracy.var().fillna(0) * freedom).sum() / freedom.sum()))
    return math.nan


def chance_of(ledger: Ledger) -> float:
    """Return the accuracy of always predicting the most frequent class; 0 if the event log has no class counts."""
    space = ledger.header.config.get("space")
    classes = space.get("classes") if isinstance(space, Mapping) else None
    even = 1 / classes if isinstance(classes, int) and classes > 0 else 0.0
    return max(even, ledger.header.chance)
