"""Random draws within limits of exact cost, also evenly over log cost, as in AttentiveNAS (arXiv 2011.09011).

Every search here is bounded: an infeasible limit raises an `InputError` instead of endless rejection.
`n` is a number of candidates, `G` the number of choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.base.names import check_choice
from search_space.space.choices import Genotype, SearchSpace

Space = SearchSpace[Any]
Score = Callable[[np.ndarray], np.ndarray]  # canonical genotypes [n, G] -> value to minimise [n]

# Rejection uses the first of these tilts at which one draw in a hundred is feasible.
_TILTS = (0.0, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0)
_LEAST_ACCEPTANCE = 0.01
_BATCH = 2048

# sample_stratum: rounds of mutating those nearest to the stratum.
_ROUNDS = 8
_NEAREST = 64
_GENERATIONS = 32
_MUTATIONS = 8
MAX_STRATA = 10_000


@dataclass(frozen=True)
class Limit:
    """Upper limit: the cost `name` of every candidate is at most `at_most`, in the unit of that cost."""

    name: str
    at_most: int | float

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError("limit.name", self.name, "must be the name of a cost")
        number = isinstance(self.at_most, Real) and not isinstance(self.at_most, bool)
        if not number or not 0 < self.at_most < math.inf:
            raise InputError(f"limits.{self.name}", self.at_most, "must be a finite number above 0")


def _cost(costs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    check_choice("limit.name", name, costs)
    return costs[name]


def feasible(costs: Mapping[str, np.ndarray], limits: Sequence[Limit]) -> np.ndarray:
    """Return which candidates are within all limits, bool [n]; `InputError` for a limit on an unknown cost."""
    allowed = np.ones(len(next(iter(costs.values()))), dtype=bool)
    for limit in limits:
        allowed &= _cost(costs, limit.name) <= limit.at_most
    return allowed


def sample_feasible(
    space: Space, rng: np.random.Generator, n: int, limits: Sequence[Limit], max_draws: int = 100_000
) -> np.ndarray:
    """Draw feasible architectures, canonical int [n, G], repeats possible.

    Draws are uniform over options by rejection if at least 1 % of them are feasible. Under tighter limits draws are
    tilted towards cheap options, as little as necessary; if even those fail, random walks by feasible mutations start
    from the cheapest architecture. At most about `max_draws` candidates are counted.

    Raises:
      InputError: no architecture is within the limits; the message has the limit, its value and the lowest cost.
    """
    kept = np.empty((0, len(space.choices)), dtype=np.int64)
    for tilt in _TILTS:
        draws = _reject(space, rng, n - len(kept), limits, tilt, max_draws // (len(_TILTS) + 1))
        kept = np.concatenate([kept, draws])
    if len(kept) < n:
        kept = np.concatenate([kept, _walk(space, rng, n - len(kept), limits, max_draws // (len(_TILTS) + 1))])
    return rng.permutation(kept)


def _reject(
    space: Space, rng: np.random.Generator, n: int, limits: Sequence[Limit], tilt: float, budget: int
) -> np.ndarray:
    """Return up to n feasible draws at one tilt, fewer if the budget ends or hardly any draw is feasible."""
    kept, drawn = np.empty((0, len(space.choices)), dtype=np.int64), 0
    while len(kept) < n and drawn < budget and len(kept) >= _LEAST_ACCEPTANCE * drawn:
        batch = min(max(2 * (n - len(kept)), 256), _BATCH, budget - drawn)
        draws = space.sample(rng, batch, tilt)
        kept = np.concatenate([kept, draws[feasible(space.count(draws), limits)]])
        drawn += batch
    return kept[:n]


def _walk(space: Space, rng: np.random.Generator, n: int, limits: Sequence[Limit], budget: int) -> np.ndarray:
    """Return the ends of n random walks from a feasible architecture; each step is a feasible mutation."""
    walkers = np.repeat(np.array([_feasible_member(space, rng, limits)]), n, axis=0)
    if space.size == 1:
        return walkers
    for _ in range(min(max(budget // n, 8), 4 * len(space.choices))):
        steps = space.mutate_batch(walkers, rng)
        allowed = feasible(space.count(steps), limits)
        walkers[allowed] = steps[allowed]
    return walkers


def _descend(space: Space, start: Genotype, score: Score) -> tuple[Genotype, float]:
    """Coordinate descent: apply the best single change until none improves the score."""
    here, value = start, float(score(np.array([start]))[0])
    while True:
        around = space.neighbours(here)
        scores = score(around)
        if not len(around) or scores.min() >= value:
            return here, value
        here, value = tuple(around[scores.argmin()].tolist()), float(scores.min())


def _evolve(space: Space, rng: np.random.Generator, pool: np.ndarray, score: Score) -> np.ndarray:
    """Return the best of a pool after rounds of one or two mutations; under several limits one is often not enough."""
    for _ in range(_GENERATIONS if space.size > 1 else 0):
        single = space.mutate_batch(np.repeat(pool, _MUTATIONS, axis=0), rng)
        pool = np.concatenate([pool, single, space.mutate_batch(single, rng)])
        scores, first = np.unique(score(pool), return_index=True)
        pool = pool[first[:_NEAREST]]
    return pool


def _minimum(space: Space, rng: np.random.Generator, score: Score) -> tuple[Genotype, float]:
    """Return the lowest score found from the first options, from the last options and from the best of many draws."""
    ends = space.canonical_batch(np.stack([np.zeros_like(space.options), space.options - 1]))
    draws = _spread_draws(space, rng, _BATCH)
    pool = _evolve(space, rng, draws[np.argsort(score(draws), kind="stable")[:_NEAREST]], score)
    starts = [*ends, pool[0]]
    return min((_descend(space, tuple(start.tolist()), score) for start in starts), key=lambda found: found[1])


def _spread_draws(space: Space, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return draws from the cheapest to the most expensive, canonical int [n, G]."""
    # Half of the tilts are within +-5, where cost varies most; the others extend to both ends.
    return space.sample(rng, n, 40.0 * rng.uniform(-1.0, 1.0, n) ** 3)


def _lowest(space: Space, rng: np.random.Generator, name: str) -> float:
    return _minimum(space, rng, lambda genotypes: space.count(genotypes)[name])[1]


def _feasible_member(space: Space, rng: np.random.Generator, limits: Sequence[Limit]) -> Genotype:
    def excess(genotypes: np.ndarray) -> np.ndarray:
        costs = space.count(genotypes)
        return sum((np.maximum(_cost(costs, c.name) / c.at_most - 1, 0) for c in limits), np.zeros(len(genotypes)))

    first = space.canonical_batch(np.zeros((1, len(space.choices)), dtype=np.int64))
    if excess(first)[0] == 0:
        return tuple(first[0].tolist())
    member, over = _minimum(space, rng, excess)
    if over == 0:
        return member
    for limit in limits:
        lowest = _lowest(space, rng, limit.name)
        if lowest > limit.at_most:
            cheapest = f"the cheapest architecture of the space {space.name}, {lowest:.0f}"
            rule = f"is below {cheapest}; raise the limit or widen the space"
            raise InputError(f"limits.{limit.name}", limit.at_most, rule)
    costs = space.count(np.array([member]))
    nearest = ", ".join(f"{limit.name} {costs[limit.name][0]}" for limit in limits)
    caps = ", ".join(f"{limit.name} {limit.at_most}" for limit in limits)
    raise InputError("limits", caps, f"cannot be satisfied together in the space {space.name}; nearest: {nearest}")


def cost_range(
    space: Space, rng: np.random.Generator, limits: Sequence[Limit], name: str = "macs"
) -> tuple[float, float]:
    """Return lowest and highest cost of feasible architectures, by evolution and coordinate descent.

    No single change improves either. Compared with enumeration of a space of 23 040, the lowest was exact and the
    highest at most 0.2 % too low under limits on any two costs. In the base space a limit on `name` itself is reached
    within 0.01 %, but under limits on two other costs the highest may be a third too low.

    Raises:
      InputError: no architecture is within the limits.
    """
    member = _feasible_member(space, rng, limits)

    def lowest(sign: int) -> float:
        def score(genotypes: np.ndarray) -> np.ndarray:
            costs = space.count(genotypes)
            return np.where(feasible(costs, limits), sign * _cost(costs, name), math.inf)

        return min(_minimum(space, rng, score)[1], _descend(space, member, score)[1])

    return lowest(1), -lowest(-1)


def _feasible_only(
    space: Space, genotypes: np.ndarray, limits: Sequence[Limit], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the feasible genotypes, and their cost."""
    costs = space.count(genotypes)
    allowed = feasible(costs, limits)
    return genotypes[allowed], _cost(costs, name)[allowed]


def sample_stratum(
    space: Space,
    rng: np.random.Generator,
    low: float,
    high: float,
    limits: Sequence[Limit],
    exclude: Collection[Genotype],
    name: str = "macs",
) -> Genotype | None:
    """Return a feasible, not excluded architecture with cost in [low, high); None if a bounded search finds none.

    It searches draws of all tilts, then mutations of those nearest in cost. `exclude` should be a set.
    `InputError` if no architecture is within the limits.
    """
    pool, costs = _feasible_only(space, _spread_draws(space, rng, _BATCH), limits, name)
    if not len(pool):
        pool, costs = _feasible_only(space, np.array([_feasible_member(space, rng, limits)]), limits, name)
    for _ in range(_ROUNDS):
        inside = rng.permutation(pool[(costs >= low) & (costs < high)])
        found = next((genotype for genotype in map(tuple, inside.tolist()) if genotype not in exclude), None)
        if found is not None or space.size == 1:
            return found
        away = np.maximum(np.maximum(low - costs, costs - high), 0)
        nearest = pool[np.argsort(away, kind="stable")[:_NEAREST]]
        mutants = space.mutate_batch(np.repeat(nearest, _MUTATIONS, axis=0), rng)
        pool, costs = _feasible_only(space, np.concatenate([nearest, mutants]), limits, name)
    return None


def _edges(space: Space, rng: np.random.Generator, limits: Sequence[Limit], strata: int, name: str) -> np.ndarray:
    low, high = cost_range(space, rng, limits, name)
    if low <= 0:
        raise InputError(name, low, "must be above 0 for strata of its logarithm")
    edges = np.geomspace(low, high, strata + 1)
    # Rounding and the half-open last stratum must not cut off the two ends.
    edges[0], edges[-1] = low, np.nextafter(high, math.inf)
    return edges


def sample_stratified(
    space: Space, rng: np.random.Generator, n: int, limits: Sequence[Limit], strata: int, name: str = "macs"
) -> np.ndarray:
    """Return distinct feasible architectures, spread evenly over strata of log cost, canonical int [n, G], shuffled.

    The strata cover the whole of `cost_range`. A stratum with too few architectures (at the ends there may be only a
    handful) is filled from the others; fewer than n are returned only if n distinct ones were not found.

    Raises:
      InputError: no architecture is within the limits, or a cost is not above 0.
    """
    check_integer("strata", strata, 1, MAX_STRATA)
    edges = _edges(space, rng, limits, strata, name)
    draws = np.unique(_spread_draws(space, rng, max(_ROUNDS * _BATCH, 8 * n)), axis=0)
    pool, costs = _feasible_only(space, rng.permutation(draws), limits, name)
    # A draw may lie just above the highest cost that the ascent found.
    stratum = np.clip(np.searchsorted(edges, costs, side="right") - 1, 0, strata - 1)
    share = np.bincount(rng.permutation(strata)[np.arange(n) % strata], minlength=strata)
    taken = np.zeros(len(pool), dtype=bool)
    sought: list[Genotype] = []
    for i in range(strata):
        here = np.flatnonzero(stratum == i)
        taken[here[: share[i]]] = True
        known = set(map(tuple, pool[here].tolist()))
        sought += _search_stratum(space, rng, share[i] - len(here), (edges[i], edges[i + 1]), limits, known, name)
    more = pool[~taken][: n - len(sought) - taken.sum()]
    return rng.permutation(np.array([*sought, *pool[taken], *more], dtype=np.int64))


def _search_stratum(
    space: Space,
    rng: np.random.Generator,
    n: int,
    bounds: tuple[float, float],
    limits: Sequence[Limit],
    known: set[Genotype],
    name: str,
) -> list[Genotype]:
    """Return up to n architectures of one stratum besides the known ones."""
    found: list[Genotype] = []
    while len(found) < n:
        member = sample_stratum(space, rng, *bounds, limits, known.union(found), name)
        if member is None:
            break
        found.append(member)
    return found
