"""The controller of a one-shot search: one categorical distribution per choice, trained by REINFORCE.

After TuNAS (Bender et al., arXiv 2008.06120, sections 3 and 4): independent choices whose logits start at 0, a moving
mean as baseline, and Adam without momentum. It uses the absolute reward Q + beta * |T / T0 - 1| of quality Q and cost
T, which moves the cost towards its target T0 from both sides.

The cost is exact and free, so its part of the gradient is a mean over many draws without training; only the part of
the quality uses the one architecture that was measured. The expectation is the same, with less noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search_space.base.checks import check_keys
from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit, feasible, sample_feasible, sample_stratum

BETA2, EPSILON = 0.999, 1e-8  # Adam's; its beta1 is 0
BASELINE = 0.95
COST_DRAWS = 256
_TRIES = 100  # draws within the limits
_DRAWS, _STARTS = 4096, 16  # for the search of the most probable architecture in a window


class Controller:
    """A learned distribution over the architectures of a space.

    Args:
      space: the search space.
      target: T0, the target cost.
      beta: weight of the cost in the reward, negative.
      rate: learning rate of Adam.
      limits: upper limits of exact costs; draws above one are repeated.
      cost_name: the cost with the target.

    `logits` are float64 [choices, most options]; minus infinity for options that a choice lacks.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        target: float,
        beta: float,
        rate: float,
        limits: Sequence[Limit] = (),
        cost_name: str = "macs",
    ) -> None:
        self.space, self.target, self.beta, self.rate = space, target, beta, rate
        self.limits, self.cost_name = tuple(limits), cost_name
        absent = np.arange(space.options.max()) >= space.options[:, None]
        self.logits = np.where(absent, -np.inf, 0.0)
        self.squares = np.zeros_like(self.logits)
        self.baseline: float | None = None
        self.updates = 0

    def log_probabilities(self) -> np.ndarray:
        """Return the log-probability of every option: float64 [choices, most options]."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def log_probability(self, genotypes: np.ndarray) -> np.ndarray:
        """Return log-probabilities of canonical genotypes int [n, G], summed over active choices: float64 [n]."""
        chosen = self.log_probabilities()[np.arange(genotypes.shape[1]), genotypes]
        return np.where(self.space.active(genotypes), chosen, 0.0).sum(axis=1)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return independent draws, canonical int [n, G], without regard to the limits."""
        noisy = self.logits + rng.gumbel(size=(n, *self.logits.shape))
        return self.space.canonical_batch(noisy.argmax(axis=2))

    def draw(self, rng: np.random.Generator) -> Genotype:
        """Draw one architecture within the limits; a uniform one if draws are hardly ever within them."""
        for _ in range(_TRIES if self.limits else 1):
            drawn = self.sample(rng, 1)
            if feasible(self.space.count(drawn), self.limits)[0]:
                return tuple(drawn[0].tolist())
        return tuple(sample_feasible(self.space, rng, 1, self.limits)[0].tolist())

    def most_likely(self) -> Genotype:
        """Return the most probable option of every choice, the first of equal ones."""
        return self.space.canonical(tuple(self.logits.argmax(axis=1).tolist()))

    def costs(self, genotypes: np.ndarray) -> np.ndarray:
        """Return exact costs of canonical genotypes int [n, G]: [n]."""
        return self.space.count(genotypes)[self.cost_name]

    def deviation(self, genotypes: np.ndarray) -> np.ndarray:
        """Return T / T0 - 1 of canonical genotypes int [n, G]: float64 [n]."""
        return self.costs(genotypes) / self.target - 1

    def reward(self, genotype: Genotype, quality: float) -> float:
        """Return Q + beta * |T / T0 - 1|."""
        return quality + self.beta * float(abs(self.deviation(np.array([genotype]))[0]))

    def gradient(self, genotypes: np.ndarray, advantages: np.ndarray) -> np.ndarray:
        """Return the mean of advantage [n] times the gradient of the log-probability over genotypes int [n, G].

        Absent choices are left out.
        """
        weights = np.where(self.space.active(genotypes), np.reshape(advantages, (-1, 1)), 0.0) / len(genotypes)
        found = -weights.sum(axis=0)[:, None] * np.exp(self.log_probabilities())
        columns = np.broadcast_to(np.arange(genotypes.shape[1]), genotypes.shape)
        np.add.at(found, (columns, genotypes), weights)
        return found

    def learn(self, rng: np.random.Generator, genotype: Genotype, quality: float) -> None:
        """Update by the measured quality of a drawn architecture."""
        baseline = quality if self.baseline is None else self.baseline
        gradient = self.gradient(np.array([genotype]), np.array([quality - baseline]))
        draws = self.sample(rng, COST_DRAWS)
        penalties = self.beta * np.abs(self.deviation(draws))
        self._climb(gradient + self.gradient(draws, penalties - penalties.mean()))
        self.baseline = BASELINE * baseline + (1 - BASELINE) * quality

    def _climb(self, gradient: np.ndarray) -> None:
        self.updates += 1
        self.squares = BETA2 * self.squares + (1 - BETA2) * gradient**2
        scale = np.sqrt(self.squares / (1 - BETA2**self.updates)) + EPSILON
        self.logits = self.logits + self.rate * gradient / scale

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain data for JSON."""
        kept = [row[:k].tolist() for row, k in zip(self.logits, self.space.options, strict=True)]
        squares = [row[:k].tolist() for row, k in zip(self.squares, self.space.options, strict=True)]
        return {"logits": kept, "squares": squares, "baseline": self.baseline, "updates": self.updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state`; `InputError` if it is not a state, or of another space."""
        keys = ("logits", "squares", "baseline", "updates")
        check_keys("controller state", state, keys, keys)
        for name in ("logits", "squares"):
            lengths = [len(row) for row in state[name]]
            if lengths != self.space.options.tolist():
                raise InputError(f"controller state.{name}", lengths, f"does not fit the space {self.space.name}")
            for row, values in zip(getattr(self, name), state[name], strict=True):
                row[: len(values)] = values
        self.baseline, self.updates = state["baseline"], state["updates"]


def chosen_within(controller: Controller, rng: np.random.Generator, tolerance: float) -> tuple[Genotype, str]:
    """Return the selected architecture, with a cost within `tolerance` of the target, and how it was found.

    It is the "argmax" of every choice if that is near enough, else the "most probable within" among many draws and
    single changes of the best of them.

    Raises:
      InputError: no architecture within the limits was found near the target.
    """
    argmax = controller.most_likely()
    if len(_within(controller, np.array([argmax]), tolerance)):
        return argmax, "argmax"
    pool = np.concatenate([controller.space.neighbours(argmax), controller.sample(rng, _DRAWS)])
    near = np.unique(_within(controller, pool, tolerance), axis=0)
    if not len(near):
        low, high = controller.target * (1 - tolerance), controller.target * (1 + tolerance)
        found = sample_stratum(controller.space, rng, low, high, controller.limits, (), controller.cost_name)
        if found is None:
            raise InputError("target", controller.target, f"has no architecture of {controller.space.name} near it")
        near = np.array([found])
    best = near[np.argsort(-controller.log_probability(near), kind="stable")[:_STARTS]]
    ends = [_climbed(controller, start, tolerance) for start in best]
    return max(ends, key=lambda end: end[1])[0], "most probable within"


def _within(controller: Controller, genotypes: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the genotypes within the limits and the tolerance."""
    allowed = feasible(controller.space.count(genotypes), controller.limits)
    return genotypes[allowed & (np.abs(controller.deviation(genotypes)) <= tolerance)]


def _climbed(controller: Controller, start: np.ndarray, tolerance: float) -> tuple[Genotype, float]:
    """Climb to the most probable neighbour within the tolerance; return the end and its log-probability."""
    here, value = tuple(start.tolist()), float(controller.log_probability(start[None])[0])
    while True:
        around = _within(controller, controller.space.neighbours(here), tolerance)
        values = controller.log_probability(around)
        if not len(around) or values.max() <= value:
            return here, value
        here, value = tuple(around[values.argmax()].tolist()), float(values.max())
