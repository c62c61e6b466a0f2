"""Exact-cost frontier search: a surrogate of the objective only, expected hypervolume improvement at exact cost.

Bayesian optimisation as in Emmerich et al. 2006 and 2011 (expected hypervolume improvement), for architecture search,
where every cost is known before training: only the objective is modelled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nas.algorithms.base import Algorithm, as_genotype, canonical_genotypes
from nas.algorithms.frontier.expected_improvement import AttainmentFront
from nas.algorithms.frontier.extrapolation import LEAST, Extrapolation
from nas.algorithms.frontier.gaussian_process import Kernel, LogPosterior, Posterior
from nas.algorithms.frontier.surrogate import FITTED, KNOWN, Features, Hint, Scale, even_choice
from nas.algorithms.stratified_random import ask_least_filled, cost_strata
from nas.record.objective import ACCURACY, Objective
from nas.record.pareto import crowded_order
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit

# Length of the start: a fraction of the planned trials, within bounds; shorter with prior scores.
_START_SHARE, _LEAST_START, _LARGEST_START = 0.1, 4, 12
_HINTED_START = 5
_SPREAD_DRAWS = 1024

# Candidates of one proposal: all architectures of a space up to this size, else children of parents and random ones.
_LISTED = 2048
_PARENTS = 32
_MUTATED = (256, 128, 64)  # with one, two, three changes
_CROSSED = 48
_RANDOM = 192

# Largest number of running trials, latest first, that are assumed to equal the posterior mean.
_PENDING = 256


@dataclass(frozen=True)
class Known:
    """Trials with their values for the surrogate, each with a variance `extra` beyond the noise of a training."""

    indices: list[int]
    values: np.ndarray
    extra: np.ndarray

    def and_also(self, indices: Sequence[int], values: np.ndarray, variance: float) -> Known:
        """Return these trials and further ones with values [n] and a common variance."""
        extra = np.full(len(values), variance)
        return Known([*self.indices, *indices], np.append(self.values, values), np.append(self.extra, extra))


def _fitted_to(n: int) -> int:
    """Return the number of n results to which the kernel is fitted: it is refitted after about an eighth more."""
    return max(n - n % max(4, 2 ** (n.bit_length() - 4)), min(n, 4))


def _names(place: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise InputError(place, given, "must be a list of names")
    return tuple(given)


def _checked(space: SearchSpace[Any], hints: Sequence[Any]) -> list[Hint]:
    if not isinstance(hints, Sequence):
        raise InputError("hints", hints, "must be a list of pairs: a genotype and a number")
    for i, hint in enumerate(hints):
        if not isinstance(hint, Sequence) or len(hint) != 2:
            raise InputError(f"hints[{i}]", hint, "must be a pair: a genotype and a number")
        if isinstance(hint[1], bool) or not isinstance(hint[1], int | float) or not math.isfinite(hint[1]):
            raise InputError(f"hints[{i}]", hint[1], "must be a finite number")
    genotypes = canonical_genotypes("hints", space, [genotype for genotype, _ in hints])
    return [(genotype, float(hint[1])) for genotype, hint in zip(genotypes, hints, strict=True)]


@final
class FrontierSearch(Algorithm):
    """Proposes the candidate with the largest expected improvement of the hypervolume of log costs and objective.

    Args:
      costs: the cost objectives; by default only `cost_name`.
      start: number of proposals, spread over log cost and choices, before the surrogate is used.
      start_genotypes: the first proposals, if they are feasible.
      random_every: every n-th proposal is stratified random; 0 for none.
      hints: prior scores: architectures with a cheaper measurement than training, such as that of a supernet.
      strata: parts of the range of log cost that start and random proposals fill evenly.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
        costs: Sequence[str] | None = None,
        start: int | None = None,
        start_genotypes: Sequence[Sequence[int]] = (),
        random_every: int = 8,
        strata: int = 12,
        hints: Sequence[Hint] = (),
    ) -> None:
        super().__init__(space, limits, objective, cost_name, planned)
        share = _HINTED_START if hints else min(max(round(_START_SHARE * planned), _LEAST_START), _LARGEST_START)
        self.start = check_integer("start", share if start is None else start, 2, 10**9)
        self.random_every = check_integer("random_every", random_every, 0, 10**9)
        self.start_genotypes = tuple(canonical_genotypes("start_genotypes", space, start_genotypes))
        self.costs = (cost_name,) if costs is None else _names("costs", costs)
        if cost_name not in self.costs:
            raise InputError("costs", self.costs, f"must hold {cost_name!r}")
        self.strata = cost_strata(space, limits, cost_name, strata)
        ranges = [self.strata if name == cost_name else cost_strata(space, limits, name, 1) for name in self.costs]
        self.reference = np.log([each.high for each in ranges])
        self._features = Features(space, limits, cost_name, _checked(space, hints))
        self._encoding = self._features.encoding
        self._listed = space.members() if space.size <= _LISTED else None
        self._fitted: tuple[bytes, Kernel] | None = None

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the candidate of highest expected improvement; stratified random at the start and every n-th time."""
        for genotype in self.start_genotypes:
            if self.is_new(np.array([genotype]))[0]:
                return genotype
        if len(self.proposed) < self.start or len(self.results) < 2:
            return self._ask_apart(rng)
        if self.random_every and (len(self.proposed) + 1) % self.random_every == 0:
            return ask_least_filled(self, self.strata, rng)
        return self._ask_best(rng) or ask_least_filled(self, self.strata, rng)

    def _log_costs(self, genotypes: np.ndarray) -> np.ndarray:
        costs = self.space.count(genotypes)
        return np.log(np.stack([costs[name] for name in self.costs], axis=1))

    def _spread(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return the new ones of n draws from the cheapest to the most expensive."""
        draws = self.space.sample(rng, n, 40.0 * rng.uniform(-1.0, 1.0, n) ** 3)
        return draws[self.is_new(draws)]

    def _ask_apart(self, rng: np.random.Generator) -> Genotype:
        """Return the draw of the least filled stratum that differs most from all proposals."""
        draws = self._spread(rng, _SPREAD_DRAWS)
        costs = self.space.count(draws)[self.cost_name]
        stratum = np.array([self.strata.of(cost) for cost in costs.tolist()], dtype=np.int64)
        proposed = [self.strata.of(cost) for _, cost in self.proposed.values()]
        filled = np.bincount(np.array(proposed, dtype=np.int64), minlength=self.strata.count)
        order = [s for s in np.lexsort((rng.random(self.strata.count), filled)) if (stratum == s).any()]
        if not order or filled[order[0]] > filled.min():
            return ask_least_filled(self, self.strata, rng)
        draws = draws[stratum == order[0]]
        others = np.array([genotype for genotype, _ in self.proposed.values()]).reshape(-1, draws.shape[1])
        apart = (draws[:, None] != others).sum(axis=2).min(axis=1, initial=draws.shape[1])
        return as_genotype(draws[apart.argmax()])

    def _ask_best(self, rng: np.random.Generator) -> Genotype | None:
        objective = -np.array(list(self.results.values()))
        scale = Scale.of(objective, _fitted_to(len(objective)))
        known = self._known(len(objective), list(self.stopped), scale)
        indices = [*known.indices, *self.running()[-_PENDING:]]
        genotypes = np.array([self.proposed[index][0] for index in indices])
        log_costs = self._log_costs(genotypes)
        features = self._features(genotypes)
        posterior = self._posterior(known, features, scale)
        mean, _ = scale.objective(posterior.mean(features), np.zeros(len(features)))
        candidates = self._children(genotypes, crowded_order(np.column_stack([log_costs, -mean])), rng)
        if not len(candidates):
            return None
        worst = 0.0 if scale.share else float(objective.min())
        attained = AttainmentFront.of(log_costs, mean, self.reference, worst)
        at = self._log_costs(candidates)
        expected = scale.objective(*posterior(self._features(candidates)))
        return as_genotype(candidates[attained.improvement(at, *expected).argmax()])

    def _known(self, results: int, trials: Sequence[int], scale: Scale) -> Known:
        """Return the first results, and stopped trials.

        The value of a stopped trial is extrapolated from its last rung, and the variance around it is added as noise.
        """
        completed = list(self.results)[:results]
        values = scale.values(-np.array([self.results[index] for index in completed]))
        stopped: dict[int, list[int]] = {}  # by the steps of the last rung
        for index in trials:
            if index in self.early:
                stopped.setdefault(max(self.early[index]), []).append(index)
        known = Known(completed, values, np.zeros(len(values)))
        for steps, indices in sorted(stopped.items()):
            both = [i for i, index in enumerate(completed) if steps in self.early.get(index, {})]
            if len(both) >= LEAST:
                line = Extrapolation.fit(*self._at_rung([completed[i] for i in both], steps, scale), values[both])
                known = known.and_also(indices, line(*self._at_rung(indices, steps, scale)), line.variance)
        return known

    def _at_rung(self, indices: Sequence[int], steps: int, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
        """Return values at a rung and log costs of trials, each [n]."""
        early = -np.array([self.early[index][steps] for index in indices])
        return scale.values(early), np.log([float(self.proposed[index][1]) for index in indices])

    def _posterior(self, known: Known, features: np.ndarray, scale: Scale) -> Posterior:
        """Return the posterior of the measurements; running trials are set to the mean, so that a batch spreads."""
        n = len(known.indices)
        kept = even_choice(n, KNOWN)
        return Posterior(
            self._kernel(scale), self._encoding, features[kept], known.values[kept], known.extra[kept], features[n:]
        )

    def _kernel(self, scale: Scale) -> Kernel:
        """Return the kernel, refitted from time to time; the last one is cached by its data."""
        n = _fitted_to(len(self.results))
        known = self._known(n, [index for index, before in self.stopped.items() if before < n], scale)
        kept = even_choice(len(known.indices), FITTED)
        genotypes = np.array([self.proposed[known.indices[i]][0] for i in kept])
        # Not cached by features: those from prior scores differ in their last digits with the number of rows.
        data = np.column_stack([genotypes, known.values[kept], known.extra[kept]]).tobytes()
        if self._fitted is None or self._fitted[0] != data:
            density = LogPosterior(self._encoding, self._features(genotypes), known.values[kept], known.extra[kept])
            self._fitted = data, density.fit()
        return self._fitted[1]

    def _children(self, genotypes: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return unseen feasible architectures: all of a small space; else children of the best and random draws."""
        if self._listed is not None:
            return self._listed[self.is_new(self._listed)]
        parents = genotypes[np.argsort(place, kind="stable")[:_PARENTS]]
        mutants = parents[rng.integers(len(parents), size=sum(_MUTATED))]
        found = [self.space.sample(rng, _RANDOM, 40.0 * rng.uniform(-1.0, 1.0, _RANDOM) ** 3)]
        for enough in _MUTATED if self.space.size > 1 else ():
            mutants = self.space.mutate_batch(mutants, rng)
            found.append(mutants[:enough])
            mutants = mutants[enough:]
        pairs = rng.integers(len(parents), size=(_CROSSED, 2)).tolist()
        crossed = [self.space.crossover(as_genotype(parents[a]), as_genotype(parents[b]), rng) for a, b in pairs]
        found.append(np.array(crossed))
        every = np.concatenate(found)
        return every[self.is_new(every)]
