"""Importance of choices beyond cost: analysis of variance by dimension, and the direction of each choice.

Expensive networks are more accurate, and nearly every choice changes the cost, so a plain correlation would mostly
repeat log cost. Log cost and its square are therefore first removed from the statistic and from the choices, by least
squares (Frisch & Waugh 1933). The residuals are compared at equal cost.

Shares of variance. A dimension is for example the depth of one block, or the spatial kernel of all layers; it has a few
numbers per network. A ridge regression (Hoerl & Kennard 1970) on the numbers of some dimensions, their mean and its
square predicts networks that were held out. R^2 of these predictions is the share of the variance beyond cost that
these dimensions explain. The share of one dimension is its increase of R^2, the mean over random orders of adding
dimensions (Lindeman, Merenda & Gold 1980; Shapley values of R^2). So shares add up to R^2 of all. At equal cost
dimensions are correlated: a larger width goes with a lower resolution. This rule splits a common share equally;
dropping one dimension at a time would attribute it to none.

Limits. Interactions of dimensions are not modelled and count as unexplained, so a share is a lower bound. It depends on
the networks compared: a search prefers some choices, so shares are smaller than among random networks, and they do not
show the causal effect of a choice. Intervals are of 95 %, by bootstrap over the prediction errors of networks.
Regressions are not fitted again, so with fewer than some 100 networks intervals are too narrow. The share of an
irrelevant dimension is slightly below 0.

Directions. The partial correlation of a measure of a network with the statistic at equal cost.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.benchmark.table import Table
from nas.benchmark.table_cells import line
from nas.record.objective import MACS
from results.analysis.rank_correlation import estimate
from results.tables.measures import Measure, dimensions, measures
from results.tables.trainings import mean_of
from search_space import architecture
from search_space.base.errors import InputError

ENOUGH = 20  # trials trained to the full budget
MOST = 2000  # trials or networks; more would take minutes
DRAWS = 1000
FOLDS = 5
ORDERS = 12  # in which dimensions are added, and the same number in reverse
PENALTIES = np.geomspace(1e-3, 1e3, 13)  # for each trial, on choices in units of their standard deviation


@dataclass(frozen=True)
class Effect:
    """Partial correlation -1..1 of a measure with accuracy at equal log cost, and its interval."""

    measure: Measure
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """True if the interval exists and does not contain 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Share:
    """Share of the variance of a statistic beyond cost that a dimension explains, and its interval."""

    dimension: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """Importance of choices in `trials` trials; without `effects` and `shares` if there is not enough evidence.

    Attributes:
      statistic: name of the measured statistic.
      effects: of measures, the strongest first.
      shares: of dimensions, the largest first; `together` that of all.
      by_cost: share of the variance of held-out trials that log cost predicts.
    """

    statistic: str
    trials: int
    effects: tuple[Effect, ...] = ()
    shares: tuple[Share, ...] = ()
    together: Share = Share("all", math.nan, math.nan, math.nan)
    by_cost: float = math.nan


def importance(
    statistic: str,
    measured: Sequence[Mapping[Measure, float]],
    chosen: Sequence[Mapping[str, Sequence[float]]],
    log_cost: np.ndarray,
    values: np.ndarray,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Importance:
    """Estimate the importance of the choices of n trials; above `MOST` trials, of a random sample.

    Args:
      statistic: name of the values.
      measured: measures of each trial, for directions; only those of all trials are used.
      chosen: dimensions of each trial, for shares; the same names and lengths for all trials.
      log_cost, values: [n].
      rng: of folds, orders and draws.
      draws: of the bootstrap.
    """
    if len(values) > MOST:
        some = rng.permutation(len(values))[:MOST]
        measured, chosen = [measured[i] for i in some], [chosen[i] for i in some]
        log_cost, values = log_cost[some], values[some]
    if len(values) < ENOUGH or np.ptp(values) == 0:
        return Importance(statistic, len(values))
    cost, copies = _cost_terms(log_cost), _copies(len(values), draws, rng)
    shares, together, by_cost = _shares(cost, chosen, values, copies, rng)
    return Importance(statistic, len(values), _effects(cost, measured, values, copies), shares, together, by_cost)


def of_table(table: Table, statistic: str, seed: int = 0, draws: int = DRAWS) -> Importance:
    """Estimate the importance of the choices of a table for the mean of a statistic over seeds.

    Dimensions come from the architectures of the table; without them each choice is a dimension. Above `MOST` rows a
    random sample is used.

    Raises:
      InputError: an invalid architecture, or architectures with different numbers of blocks.
    """
    rng = np.random.default_rng(seed)
    values = mean_of(table.statistics[statistic])
    rows = rng.permutation(np.flatnonzero(np.isfinite(values)))[:MOST]
    log_cost, values = np.log(table.costs[MACS.name][rows]), values[rows]
    if not table.architectures:
        plain = [_chosen(table, genes) for genes in table.genotypes[rows]]
        return importance(statistic, [{} for _ in rows], plain, log_cost, values, rng, draws)
    networks = [architecture.from_dict(table.architectures[row], f"{table.name}: {line(row)}") for row in rows]
    if len({len(network.blocks) for network in networks}) > 1:
        raise InputError(
            table.name, "architectures", "have different numbers of blocks and cannot be compared by choice"
        )
    return importance(statistic, [*map(measures, networks)], [*map(dimensions, networks)], log_cost, values, rng, draws)


def _chosen(table: Table, genes: np.ndarray) -> dict[str, list[float]]:
    """Return the options of a row: 1 for the selected option of each choice, 0 for the others."""
    choices = zip(table.space.choices, genes, strict=True)
    return {choice.name: [float(gene == i) for i in range(len(choice.options))] for choice, gene in choices}


def _effects(
    cost: np.ndarray, measured: Sequence[Mapping[Measure, float]], values: np.ndarray, copies: np.ndarray
) -> tuple[Effect, ...]:
    names = [name for name in measured[0] if all(name in each for each in measured)]
    columns = np.array([[each[name] for name in names] for each in measured], float)
    varied = np.flatnonzero(np.ptp(columns, axis=0) > 0)
    sample = partial_correlations(cost, _standardised(columns[:, varied]), values, copies)
    effects = [Effect(names[i], *estimate(each)) for i, each in zip(varied, sample.T, strict=True)]
    known = [effect for effect in effects if not math.isnan(effect.value)]
    return tuple(sorted(known, key=lambda each: -abs(each.value)))


def _standardised(columns: np.ndarray) -> np.ndarray:
    centred = columns - columns.mean(axis=0)
    return centred / np.maximum(centred.std(axis=0), 1e-12)


def _cost_terms(log_cost: np.ndarray) -> np.ndarray:
    """Return 1, log cost and its square: [n, 3], or [n, 1] if all costs are equal."""
    if np.ptp(log_cost) == 0:
        return np.ones((len(log_cost), 1))
    unit = _standardised(log_cost[:, None])[:, 0]
    return np.stack([np.ones_like(unit), unit, unit**2], axis=1)


def _copies(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each of n trials is in a draw: float [1 + draws, n]; all once in the first."""
    return np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=draws)])


def partial_correlations(cost: np.ndarray, columns: np.ndarray, accuracy: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Return partial correlations of columns [n, m] with accuracy [n] given `cost` [n, p], in each draw: [draws, m].

    NaN where the cost explains a column, or the accuracy, completely.
    """
    values = np.column_stack([columns, accuracy - accuracy.mean()])
    gram = np.stack([copies @ (column[:, None] * cost) for column in cost.T], axis=1)  # [draws, p, p]
    along = np.stack([copies @ (column[:, None] * values) for column in cost.T], axis=1)  # [draws, p, m + 1]
    fitted = np.linalg.pinv(gram) @ along
    products = copies @ (values * values[:, [-1]]) - (along * fitted[:, :, [-1]]).sum(axis=1)
    squares = copies @ values**2 - (along * fitted).sum(axis=1)
    # Rounding errors of a column that is a function of the cost are not a residual.
    squares = np.where(squares > 1e-9 * (copies @ values**2), squares, np.nan)
    return np.clip(products[:, :-1] / np.sqrt(squares[:, :-1] * squares[:, [-1]]), -1, 1)


def _shares(
    cost: np.ndarray,
    chosen: Sequence[Mapping[str, Sequence[float]]],
    values: np.ndarray,
    copies: np.ndarray,
    rng: np.random.Generator,
) -> tuple[tuple[Share, ...], Share, float]:
    """Return shares beyond cost of the varying dimensions and of all together, and the share of the cost."""
    columns = {name: _terms(np.array([each[name] for each in chosen], float)) for name in chosen[0]}
    columns = {name: each for name, each in columns.items() if each.shape[1]}
    names = [*columns]
    model = _HeldOut(cost, [*columns.values()], values, rng.permutation(len(values)) % FOLDS)
    squares = copies @ model.errors(frozenset())

    @functools.cache
    def explained(some: frozenset[int]) -> np.ndarray:
        return np.asarray(1 - copies @ model.errors(some) / np.maximum(squares, 1e-12))

    added: list[list[np.ndarray]] = [[] for _ in names]
    for order in (rng.permutation(len(names)) for _ in range(ORDERS)):
        for path in (order.tolist(), order[::-1].tolist()):
            for place, dimension in enumerate(path):
                before = frozenset(path[:place])
                added[dimension].append(explained(before | {dimension}) - explained(before))
    shares = [Share(name, *estimate(np.mean(each, axis=0))) for name, each in zip(names, added, strict=True)]
    together = Share("all", *estimate(explained(frozenset(range(len(names))))))
    by_cost = 1 - model.errors(frozenset()).sum() / ((values - values.mean()) ** 2).sum()
    return tuple(sorted(shares, key=lambda each: -each.value)), together, float(by_cost)


def _terms(numbers: np.ndarray) -> np.ndarray:
    """Return regressors of a dimension: its numbers [n, m], their mean and its square; standardised, if they vary."""
    mean = _standardised(numbers).mean(axis=1, keepdims=True)
    columns = np.hstack([numbers, mean, _standardised(mean) ** 2] if numbers.shape[1] > 1 else [numbers, mean**2])
    return _standardised(columns[:, np.ptp(columns, axis=0) > 1e-9])


class _HeldOut:
    """Squared errors of predictions of held-out trials, by the dimensions in the regression."""

    def __init__(self, cost: np.ndarray, groups: Sequence[np.ndarray], values: np.ndarray, folds: np.ndarray) -> None:
        ends = np.cumsum([0, *(group.shape[1] for group in groups)])
        self.places = [np.arange(low, high) for low, high in zip(ends, ends[1:], strict=False)]
        together = np.column_stack([*groups, values])
        self.folds = [np.flatnonzero(folds == fold) for fold in range(FOLDS) if (folds == fold).any()]
        self.rest = [_beyond(cost, together, out) for out in self.folds]

    def errors(self, chosen: frozenset[int]) -> np.ndarray:
        """Return the errors for the dimensions in `chosen`: float [n]."""
        found = np.empty(sum(map(len, self.folds)))
        some = np.concatenate([np.empty(0, int), *(self.places[i] for i in sorted(chosen))])
        for out, (fitted, held) in zip(self.folds, self.rest, strict=True):
            by_choices = held[:, some] @ _ridge(fitted[:, some], fitted[:, -1]) if len(some) else 0.0
            found[out] = (held[:, -1] - by_choices) ** 2
        return found


def _beyond(cost: np.ndarray, columns: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the residuals of columns after a fit to the trials not in `out`: of these, and of those in `out`."""
    kept = np.delete(np.arange(len(cost)), out)
    by_cost = np.linalg.pinv(cost[kept]) @ columns[kept]
    rest = columns - cost @ by_cost
    return rest[kept], rest[out]


def _ridge(columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ridge coefficients, with the penalty of highest marginal likelihood (MacKay 1992)."""
    squares, directions = np.linalg.eigh(columns.T @ columns)
    squares, along, n = np.maximum(squares, 1e-9), directions.T @ (columns.T @ values), len(values)
    kept = squares / (squares + PENALTIES[:, None] * n)  # [penalties, m], a share of each direction
    left = values @ values - kept @ (along**2 / squares)
    best = int(np.argmin(n * np.log(np.maximum(left, 1e-300)) - np.log1p(-kept).sum(axis=1)))
    return directions @ (kept[best] / squares * along)
