"""Surrogate of the objective, with the conversions of its inputs and outputs, from choices to the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.algorithms.frontier.gaussian_process import Encoding, LogPosterior, Posterior
from search_space.space.choices import SearchSpace
from search_space.space.sampling import Limit, sample_feasible

Hint = tuple[Sequence[int], float]  # an architecture and its score

# Largest numbers of results for the kernel parameters and for the surrogate: above, an even choice.
FITTED = 256
KNOWN = 1200

# Number of draws that determine the scale of log costs.
_DRAWS = 1024

# Accuracies are clipped at this distance from 0 or 1: the resolution of a validation set of some hundred clips.
_FLOOR = 0.01
_LEAST_LOGIT = float(np.log(_FLOOR / (1 - _FLOOR)))

# Distance below the first quartile at which further distance counts half, relative to the interquartile range.
_BEND = 0.25


@dataclass(frozen=True)
class Scale:
    """Conversion between the maximised objective and values of about mean 0 and variance 1; by logits for fractions.

    Distances below the `knee` count logarithmically. Some architectures do not learn at all; if their distance counted
    fully, the surrogate could not distinguish the good ones, which differ by little. At a distance `bend` below the
    knee further distance counts half; both are in units of `width`.
    """

    share: bool
    center: float
    width: float
    knee: float
    bend: float

    @classmethod
    def of(cls, objective: np.ndarray, n: int) -> Scale:
        """Return the scale of the first n of the objectives `[k]`."""
        share = bool(((objective >= 0) & (objective <= 1)).all())
        values = (_logit(objective) if share else objective)[:n]
        low, high = np.quantile(values, [0.25, 0.75]).tolist()
        bent = _bent(values, low, _BEND * (high - low))
        center, width = float(bent.mean()), float(bent.std()) or 1.0
        return cls(share, center, width, (low - center) / width, _BEND * (high - low) / width)

    def values(self, objective: np.ndarray) -> np.ndarray:
        """Return the values of objectives, elementwise."""
        straight = ((_logit(objective) if self.share else objective) - self.center) / self.width
        return _bent(straight, self.knee, self.bend)

    def objective(self, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the objective for those of values, elementwise; to first order.

        Below the knee the slope above the knee is used, where an improvement would be.
        """
        at = self._unscaled(mean)
        return at, self.width * sd * (at * (1 - at) if self.share else 1.0)

    def _unscaled(self, values: np.ndarray) -> np.ndarray:
        straight = self.center + self.width * _straight(values, self.knee, self.bend)
        return 1 / (1 + np.exp(-np.maximum(straight, _LEAST_LOGIT))) if self.share else straight


def _bent(values: np.ndarray, knee: float, bend: float) -> np.ndarray:
    """Return values with distances d below the knee shortened to bend * log(1 + d / bend)."""
    if not bend:
        return values
    below = np.maximum(knee - values, 0)
    return values + below - bend * np.log1p(below / bend)


def _straight(values: np.ndarray, knee: float, bend: float) -> np.ndarray:
    """Undo `_bent`, up to rounding."""
    if not bend:
        return values
    below = np.maximum(knee - values, 0)
    return values + below - bend * np.expm1(np.minimum(below / bend, 50))


def _logit(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, _FLOOR, 1 - _FLOOR)
    return np.log(inside / (1 - inside))


def even_choice(n: int, most: int) -> np.ndarray:
    """Return the numbers below n, or an even choice of `most` of them: int [k], ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _logs(costs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.log(np.stack([np.maximum(costs[name], 1) for name in names], axis=1, dtype=np.float64))


class Features:
    """Inputs of the surrogate: choices, log costs, and the prediction from prior scores (`hints`).

    All exact costs that vary are informative, also those that are no objective. The prediction from prior scores is one
    more coordinate, like the mean of the first process in autoregressive cokriging (Kennedy and O'Hagan 2000). It has a
    trend and a distance, so that its weight depends on how well it predicts the objective.
    """

    def __init__(
        self, space: SearchSpace[Any], limits: Sequence[Limit], first: str, hints: Sequence[Hint] = ()
    ) -> None:
        self.space = space
        # Depends on space and limits only: the draws are fixed.
        draws = sample_feasible(space, np.random.default_rng(0), _DRAWS, limits)
        costs = space.count(draws)
        names = sorted(costs, key=lambda name: name != first)
        width = _logs(costs, names).std(axis=0)
        self.costs = [name for i, name in enumerate(names) if name == first or width[i] > 1e-6]
        self._expected: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self.encoding = self._scaled(draws)
        if hints:
            self._expected = self._predicted(hints)
            self.encoding = self._scaled(draws)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Encode canonical genotypes int [n, G] as features [n, F]."""
        return self.encoding(genotypes, self._coordinates(genotypes))

    def _coordinates(self, genotypes: np.ndarray) -> np.ndarray:
        logs = _logs(self.space.count(genotypes), self.costs)
        return logs if self._expected is None else np.column_stack([logs, self._expected(genotypes, logs)])

    def _scaled(self, draws: np.ndarray) -> Encoding:
        each = self._coordinates(draws)
        return Encoding(self.space, each.mean(axis=0), np.maximum(each.std(axis=0), 1e-6))

    def _predicted(self, hints: Sequence[Hint]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return the mean of a process fitted to the prior scores, as a function of genotypes and log costs."""
        encoding = self.encoding
        features = self(np.array([genotype for genotype, _ in hints]))
        _, posterior = _fitted(encoding, features, np.array([value for _, value in hints]))
        return lambda genotypes, logs: posterior.mean(encoding(genotypes, logs))


def _fitted(encoding: Encoding, features: np.ndarray, objective: np.ndarray) -> tuple[Scale, Posterior]:
    """Fit a process to objectives [n] of architectures with features [n, F]."""
    scale = Scale.of(objective, len(objective))
    values, none = scale.values(objective), np.zeros(len(objective))
    fitted, known = even_choice(len(values), FITTED), even_choice(len(values), KNOWN)
    kernel = LogPosterior(encoding, features[fitted], values[fitted], none[fitted]).fit()
    return scale, Posterior(kernel, encoding, features[known], values[known], none[known])


def expected(
    features: Features, genotypes: np.ndarray, objective: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """Return the objective that the surrogate expects of architectures, without noise of training.

    The best of many trainings is usually a lucky one; results of similar architectures correct this bias.

    Args:
      features: those of the space.
      genotypes: int [n, G], of the trainings; an architecture is repeated for each of its trainings.
      objective: maximised, measured, [n].
      others: int [k, G], the architectures to predict; by default those of the trainings.

    Returns:
      float [k], to 4 decimals.
    """
    seen = features(genotypes)
    scale, posterior = _fitted(features.encoding, seen, objective)
    mean = posterior.mean(seen if others is None else features(others))
    return scale.objective(mean, np.zeros(len(mean)))[0].round(4)
