"""Expected hypervolume improvement in closed form for exact costs: only the objective is uncertain.

The attainment front A(f) is the best known value at costs of at most f. A candidate with costs g and prediction
N(mean, sd^2) adds the integral over f from g to the reference of max(value - A(f), 0). Its expectation is a sum over
the cells on which A is constant. Each term is the expected improvement (Jones et al. 1998) over the level of the cell,
times the volume of the part of the cell that the candidate dominates. With one cost the cells are the steps of a
staircase.

Values are maximised here. `n` is a number of candidates, `k` of attained points, `m` of costs.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from nas.record.pareto import pareto_front

# Largest number of cells for several costs: above, attained points are thinned evenly along the front.
_CELLS = 4096

_ROOT_2PI = math.sqrt(2 * math.pi)


def normal_density(x: np.ndarray) -> np.ndarray:
    """Return the density of the standard normal distribution, elementwise."""
    return np.exp(-0.5 * x * x) / _ROOT_2PI


def normal_distribution(x: np.ndarray) -> np.ndarray:
    """Return the probability that a standard normal variable is at most x, elementwise."""
    from scipy.special import ndtr  # slow to import, and not needed by commands that only read a run

    return np.asarray(ndtr(x))


def expected_improvement(mean: np.ndarray, sd: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return E[max(N(mean, sd^2) - level, 0)], broadcast; sd may be 0."""
    gap = mean - level
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.clip(np.where(sd > 0, gap / sd, 0.0), -40.0, 40.0)
    return np.where(sd > 0, np.maximum(sd * (u * normal_distribution(u) + normal_density(u)), 0), np.maximum(gap, 0))


@dataclass(frozen=True)
class AttainmentFront:
    """Best value at every cost, up to a reference point.

    Attributes:
      edges: for each cost the rising coordinates of its steps, from -inf, then the reference.
      levels: best value in each cell of the grid of `edges`, [cells of the first cost, of the second, ...].
    """

    edges: tuple[np.ndarray, ...]
    levels: np.ndarray

    @classmethod
    def of(cls, costs: np.ndarray, values: np.ndarray, reference: np.ndarray, worst: float) -> AttainmentFront:
        """Build it from points of costs [k, m] and values [k]; `worst` is the least value, also without a point."""
        reference = np.asarray(reference, dtype=np.float64)
        inside = (costs < reference).all(axis=1) & (values > worst)
        costs, values = costs[inside], values[inside]
        front = pareto_front(np.column_stack([costs, -values])) if len(costs) else np.arange(0)
        front = _thinned(front, len(reference))
        costs, values = costs[front], values[front]
        edges = tuple(np.unique(column) for column in costs.T)
        levels = np.full([len(axis) + 1 for axis in edges], worst)
        place = tuple(np.searchsorted(axis, column) + 1 for axis, column in zip(edges, costs.T, strict=True))
        np.maximum.at(levels, place, values)
        for axis in range(levels.ndim):
            levels = np.maximum.accumulate(levels, axis=axis)
        bounds = zip(edges, reference, strict=True)
        return cls(tuple(np.concatenate([[-np.inf], axis, [end]]) for axis, end in bounds), levels)

    def improvement(self, costs: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Return expected hypervolume gains [n] for costs [n, m] and predictions N(mean, sd^2), each [n]."""
        distinct, cell = np.unique(self.levels, return_inverse=True)
        excess = expected_improvement(mean[:, None], sd[:, None], distinct)
        if len(self.edges) == 1:
            return np.einsum("ni,ni->n", excess[:, cell.ravel()], self._reach(0, costs))
        reaches = [self._reach(axis, costs) for axis in range(len(self.edges))]
        volume = functools.reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), -1), reaches)
        return np.einsum("ni,ni->n", excess[:, cell.ravel()], volume)

    def _reach(self, axis: int, costs: np.ndarray) -> np.ndarray:
        """Return the length of the part of each cell above the candidates' cost, [n, cells]."""
        edges = self.edges[axis]
        return np.maximum(edges[1:] - np.maximum(edges[:-1], costs[:, axis, None]), 0)


def _thinned(front: np.ndarray, costs: int) -> np.ndarray:
    most = int(_CELLS ** (1 / costs)) - 1
    if costs == 1 or len(front) <= most:
        return front
    return front[np.linspace(0, len(front) - 1, most).astype(np.int64)]
