"""Expected objectives of architectures: the surrogate with its inputs and outputs, from choices to the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.algorithms.frontier.gaussian_process import Encoding, Evidence, Posterior
from search_space.space.choices import SearchSpace
from search_space.space.sampling import Limit, sample_feasible

Hint = tuple[Sequence[int], float]  # a member, and what was measured of it

# Results that kernel parameters are fitted to, and that the surrogate knows: beyond, an even choice.
FITTED = 256
KNOWN = 1200

# Draws that give log costs their scale.
_DRAWS = 1024

# Accuracies this near to 0 or 1 are taken for that: beyond what a validation set of some hundred clips tells.
_FLOOR = 0.01
_LEAST_LOGIT = float(np.log(_FLOOR / (1 - _FLOOR)))

# How far below the first quartile a further distance counts half, as a share of that between the quartiles.
_BEND = 0.25


@dataclass(frozen=True)
class Scale:
    """Between the objective, maximised, and values of about mean 0 and variance 1: by its logit if it is a share.

    Distances below the `knee` count logarithmically. Some architectures do not learn at all; a surrogate that must
    explain how much worse those are confuses the good ones, which differ by little. `bend` is how far below the knee
    a further distance counts half; both are in units of `width`.
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
        """Mean and standard deviation of the objective for those of values, elementwise; to first order.

        Below the knee with the slope that holds above it: where an improvement would be.
        """
        at = self._unscaled(mean)
        return at, self.width * sd * (at * (1 - at) if self.share else 1.0)

    def _unscaled(self, values: np.ndarray) -> np.ndarray:
        straight = self.center + self.width * _straight(values, self.knee, self.bend)
        return 1 / (1 + np.exp(-np.maximum(straight, _LEAST_LOGIT))) if self.share else straight


def _bent(values: np.ndarray, knee: float, bend: float) -> np.ndarray:
    """Values, with distances d below the knee shortened to bend * log(1 + d / bend)."""
    if not bend:
        return values
    below = np.maximum(knee - values, 0)
    return values + below - bend * np.log1p(below / bend)


def _straight(values: np.ndarray, knee: float, bend: float) -> np.ndarray:
    """Undo `_bent`, as far as a float can tell."""
    if not bend:
        return values
    below = np.maximum(knee - values, 0)
    return values + below - bend * np.expm1(np.minimum(below / bend, 50))


def _logit(share: np.ndarray) -> np.ndarray:
    inside = np.clip(share, _FLOOR, 1 - _FLOOR)
    return np.log(inside / (1 - inside))


def even_choice(n: int, most: int) -> np.ndarray:
    """Return the numbers below n, or an even choice of `most` of them where there are more: int [k], ascending."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _logs(costs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.log(np.stack([np.maximum(costs[name], 1) for name in names], axis=1, dtype=np.float64))


class Features:
    """The inputs of the surrogate for members: their choices, their log costs, and what hints make expect of them.

    Every exact cost says something of an architecture, also those it is not traded against: where they vary. What
    hints say is one coordinate more, as a first process's mean is in autoregressive cokriging (Kennedy and O'Hagan
    2000): a trend and a distance of the second one, so that it counts for as much as it foretells the objective.
    """

    def __init__(
        self, space: SearchSpace[Any], limits: Sequence[Limit], first: str, hints: Sequence[Hint] = ()
    ) -> None:
        self.space = space
        # A fact of space and limits: of fixed draws.
        draws = sample_feasible(space, np.random.default_rng(0), _DRAWS, limits)
        costs = space.count(draws)
        names = sorted(costs, key=lambda name: name != first)
        width = _logs(costs, names).std(axis=0)
        self.costs = [name for i, name in enumerate(names) if name == first or width[i] > 1e-6]
        self._expected: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self.encoding = self._scaled(draws)
        if hints:
            self._expected = self._foretold(hints)
            self.encoding = self._scaled(draws)

    def __call__(self, genotypes: np.ndarray) -> np.ndarray:
        """Canonical genotypes int [n, G] -> features [n, F]."""
        return self.encoding(genotypes, self._coordinates(genotypes))

    def _coordinates(self, genotypes: np.ndarray) -> np.ndarray:
        logs = _logs(self.space.count(genotypes), self.costs)
        return logs if self._expected is None else np.column_stack([logs, self._expected(genotypes, logs)])

    def _scaled(self, draws: np.ndarray) -> Encoding:
        each = self._coordinates(draws)
        return Encoding(self.space, each.mean(axis=0), np.maximum(each.std(axis=0), 1e-6))

    def _foretold(self, hints: Sequence[Hint]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """The mean, for genotypes and their log costs, of a process that knows the hints."""
        encoding = self.encoding
        features = self(np.array([genotype for genotype, _ in hints]))
        _, posterior = _fitted(encoding, features, np.array([value for _, value in hints]))
        return lambda genotypes, logs: posterior.mean(encoding(genotypes, logs))


def _fitted(encoding: Encoding, features: np.ndarray, objective: np.ndarray) -> tuple[Scale, Posterior]:
    """Fit a process to objectives [n] of architectures with features [n, F]."""
    scale = Scale.of(objective, len(objective))
    values, none = scale.values(objective), np.zeros(len(objective))
    fitted, known = even_choice(len(values), FITTED), even_choice(len(values), KNOWN)
    kernel = Evidence(encoding, features[fitted], values[fitted], none[fitted]).fit()
    return scale, Posterior(kernel, encoding, features[known], values[known], none[known])


def expected(
    features: Features, genotypes: np.ndarray, objective: np.ndarray, others: np.ndarray | None = None
) -> np.ndarray:
    """Return the objective that the surrogate expects of architectures, noise of training aside.

    One lucky training of many looks best; what others like it came to says by how much to believe it.

    Args:
      features: those of the space.
      genotypes: int [n, G], of the trainings; of an architecture that was trained several times as often.
      objective: maximised, measured, [n].
      others: int [k, G], the architectures asked about; those of the trainings unless given.

    Returns:
      float [k], to 4 decimals.
    """
    seen = features(genotypes)
    scale, posterior = _fitted(features.encoding, seen, objective)
    mean = posterior.mean(seen if others is None else features(others))
    return scale.objective(mean, np.zeros(len(mean)))[0].round(4)
