"""Which choices go with accuracy beyond what they cost.

Dearer networks are more accurate, and nearly every choice changes the cost, so a plain correlation would mostly
repeat log-FLOPs. Here log-FLOPs and its square are first taken out of both, the accuracy and the choice, by least
squares (Frisch & Waugh 1933); the correlation of what is left says which way a choice goes among networks of equal
cost, its square what share of the remaining variance it explains by itself.

How much all choices explain together is what a ridge regression (Hoerl & Kennard 1970) predicts of trials that it
was not fitted to, beside log-FLOPs alone. Intervals are of 95 %, by bootstrap over trials.

A search tries what it believes in, so choices come together, and neither figure says what a choice alone would cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.measures import Measure

ENOUGH = 20  # trials trained to the full budget
DRAWS = 1000
FOLDS = 10
PENALTIES = np.geomspace(1e-3, 1e3, 13)  # for each trial, on choices in units of their standard deviation


@dataclass(frozen=True)
class Effect:
    """Partial correlation -1..1 of a measure with accuracy at equal log-FLOPs, and its interval."""

    measure: Measure
    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval is there and does not contain 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Importance:
    """`effects`, the strongest first, of so many `trials`; none where there is not enough evidence.

    by_cost, by_all: share of the variance of accuracy in held-out trials that log-FLOPs predicts alone, and with all
    choices; gain: the difference, with its interval. NaN without evidence.
    """

    trials: int
    effects: tuple[Effect, ...]
    by_cost: float = math.nan
    by_all: float = math.nan
    gain: tuple[float, float] = (math.nan, math.nan)


def importance(
    measured: Sequence[Mapping[Measure, float]],
    log_macs: np.ndarray,
    accuracy: np.ndarray,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Importance:
    """Of n trials: the measures of each, and log_macs [n] and accuracy [n]."""
    if len(accuracy) < ENOUGH or np.ptp(accuracy) == 0:
        return Importance(len(accuracy), ())
    names = [name for name in measured[0] if all(name in each for each in measured)]
    columns = np.array([[each[name] for name in names] for each in measured], float)
    varied = np.ptp(columns, axis=0) > 0
    names = [name for name, differs in zip(names, varied, strict=True) if differs]
    columns, cost = _standardised(columns[:, varied]), _cost_terms(log_macs)
    sample = partial_correlations(cost, columns, accuracy, _copies(len(accuracy), draws, rng))
    effects = [_effect(name, values) for name, values in zip(names, sample.T, strict=True)]
    known = [effect for effect in effects if not math.isnan(effect.value)]
    held_out = _held_out(cost, columns, accuracy, rng)
    return Importance(len(accuracy), tuple(sorted(known, key=lambda each: -abs(each.value))), *held_out)


def _standardised(columns: np.ndarray) -> np.ndarray:
    centred = columns - columns.mean(axis=0)
    return centred / np.maximum(centred.std(axis=0), 1e-12)


def _cost_terms(log_macs: np.ndarray) -> np.ndarray:
    """1, log-FLOPs and its square: [n, 3], or [n, 1] where all cost the same."""
    if np.ptp(log_macs) == 0:
        return np.ones((len(log_macs), 1))
    unit = _standardised(log_macs[:, None])[:, 0]
    return np.stack([np.ones_like(unit), unit, unit**2], axis=1)


def _copies(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of n trials is in a draw: float [1 + draws, n]; in the first, which is no draw, once."""
    return np.concatenate([np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), size=draws)])


def partial_correlations(cost: np.ndarray, columns: np.ndarray, accuracy: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Correlations beside `cost` [n, p] of columns [n, m] with accuracy [n], in each draw: [draws, m].

    NaN where nothing of a column, or of the accuracy, is left beside the cost.
    """
    values = np.column_stack([columns, accuracy - accuracy.mean()])
    gram = np.stack([copies @ (column[:, None] * cost) for column in cost.T], axis=1)  # [draws, p, p]
    along = np.stack([copies @ (column[:, None] * values) for column in cost.T], axis=1)  # [draws, p, m + 1]
    fitted = np.linalg.pinv(gram) @ along
    products = copies @ (values * values[:, [-1]]) - (along * fitted[:, :, [-1]]).sum(axis=1)
    squares = copies @ values**2 - (along * fitted).sum(axis=1)
    # What rounding leaves of a column that is a function of the cost is not to be taken for a rest.
    squares = np.where(squares > 1e-9 * (copies @ values**2), squares, np.nan)
    return np.clip(products[:, :-1] / np.sqrt(squares[:, :-1] * squares[:, [-1]]), -1, 1)


def _effect(measure: Measure, sample: np.ndarray) -> Effect:
    draws = sample[1:][np.isfinite(sample[1:])]
    if len(draws) < 0.9 * (len(sample) - 1):
        return Effect(measure, float(sample[0]), math.nan, math.nan)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Effect(measure, float(sample[0]), float(low), float(high))


def _held_out(
    cost: np.ndarray, columns: np.ndarray, accuracy: np.ndarray, rng: np.random.Generator
) -> tuple[float, float, tuple[float, float]]:
    """by_cost, by_all and the interval of their difference: of predictions of trials that were left out."""
    folds = rng.permutation(len(accuracy)) % FOLDS
    alone, together = (np.empty(len(accuracy)) for _ in range(2))
    for fold in range(FOLDS):
        out = folds == fold
        alone[out], further = _predictions(cost, columns, accuracy, out)
        together[out] = alone[out] + further
    errors = np.stack([(accuracy - alone) ** 2, (accuracy - together) ** 2, (accuracy - accuracy.mean()) ** 2], axis=1)
    sums = _copies(len(accuracy), DRAWS, rng) @ errors
    explained = 1 - sums[:, :2] / np.maximum(sums[:, 2:], 1e-12)
    low, high = np.quantile(explained[1:, 1] - explained[1:, 0], (0.025, 0.975))
    return float(explained[0, 0]), float(explained[0, 1]), (float(low), float(high))


def _predictions(
    cost: np.ndarray, columns: np.ndarray, accuracy: np.ndarray, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For the trials `out`, bool [n], from all others: accuracy by cost alone, and what the choices add to it."""
    values = np.column_stack([columns, accuracy])
    by_cost = np.linalg.pinv(cost[~out].T @ cost[~out]) @ (cost[~out].T @ values[~out])
    rest = values - cost @ by_cost
    return (cost @ by_cost)[out, -1], rest[out, :-1] @ _ridge(rest[~out, :-1], rest[~out, -1])


def _ridge(columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients held small; how small is chosen by generalised cross-validation (Craven & Wahba 1979)."""
    squares, directions = np.linalg.eigh(columns.T @ columns)
    squares, along, n = np.maximum(squares, 1e-9), directions.T @ (columns.T @ values), len(values)
    kept = squares / (squares + PENALTIES[:, None] * n)  # [penalties, m], a share of each direction
    errors = values @ values + (kept**2 - 2 * kept) @ (along**2 / squares)
    best = int(np.argmin(errors / np.maximum(n - kept.sum(axis=1), 1e-9) ** 2))
    return directions @ (kept[best] / squares * along)
