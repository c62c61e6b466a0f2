"""A search space that consists of the rows of a table, so that every algorithm runs on any table unchanged.

`n` is a number of candidates, `R` the number of rows, `G` the number of choices.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace

# A row mutates to one of at least this number of nearest rows, so that a sparse table stays connected.
_NEAREST = 8
_LEVELS = 64  # of log cost, by which `sample` tilts
_CHUNK = 1 << 21  # distances in memory at a time
_MAX_TILT = 300.0  # as in search_space.space.choices


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Index of genotypes in distinct `rows` int [R, G], by a universal hash (Carter & Wegman 1979) with a check."""

    rows: np.ndarray

    @functools.cached_property
    def _multipliers(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.integers(0, 2**63, (self.rows.shape[1],), dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def codes(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the hash of genotypes int [n, G]: uint64 [n]."""
        codes: np.ndarray = (genotypes.astype(np.uint64) * self._multipliers).sum(axis=1, dtype=np.uint64)
        return codes

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        codes = self.codes(self.rows)
        order = np.argsort(codes, kind="stable")
        return codes[order], order

    def find(self, genotypes: np.ndarray) -> np.ndarray:
        """Return row numbers of genotypes int [n, G], -1 for genotypes without a row: int [n]."""
        codes, order = self._sorted
        place = np.minimum(np.searchsorted(codes, self.codes(genotypes)), len(codes) - 1)
        return np.where((self.rows[order[place]] == genotypes).all(axis=1), order[place], -1)


@dataclass(frozen=True)
class RowSpace(SearchSpace[Any]):
    """The space of the `rows`, int [R, G], a subset of a product of choices; absence (None) is an option like others.

    Results of operators on the product are mapped to rows. The canonical form of a genotype without a row is the row at
    the least distance (a fixed hash chooses among several); crossover returns that. Mutation draws one of the nearest
    rows: of all at the least distances that together hold eight.

    The distance is the Hamming distance over the choices present on both sides, so that a change of a choice with
    dependent ones counts once, as in a space with conditions. It is 1/2 if only the sets of present choices differ.

    `log_costs` float [R]: `sample` tilts by them, because the order of options need not be that of their cost.
    """

    rows: np.ndarray = field(repr=False, compare=False, kw_only=True)
    log_costs: np.ndarray = field(repr=False, compare=False, kw_only=True)

    @functools.cached_property
    def index(self) -> RowIndex:
        """Index of genotypes."""
        return RowIndex(self.rows)

    @functools.cached_property
    def size(self) -> int:  # type: ignore[override]
        """Number of rows."""
        return len(self.rows)

    def members(self) -> np.ndarray:
        """All rows, int [R, G]."""
        return self.rows

    def canonical_batch(self, genotypes: np.ndarray) -> np.ndarray:
        """The rows at the least Hamming distance, int [n, G]; `InputError` for a gene out of range."""
        return self.rows[self._row_numbers(genotypes)]

    def _row_numbers(self, genotypes: np.ndarray) -> np.ndarray:
        genotypes = super().canonical_batch(genotypes)
        found = self.index.find(genotypes)
        missing = np.flatnonzero(found < 0)
        for part, distances in self._distances(genotypes[missing]):
            codes = self.index.codes(genotypes[missing[part]])[:, None] ^ self.index.codes(self.rows)
            # Knuth's multiplicative hash, below 1/2.
            tie = (codes * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) / 2.0**25
            found[missing[part]] = (distances + tie).argmin(axis=1)
        return found

    def _present(self, genotypes: np.ndarray) -> np.ndarray:
        """Return which choices are present, int [n, G] -> float32 [n, G]."""
        optional = np.array([choice.options[0] is None for choice in self.choices])
        return (~optional | (genotypes > 0)).astype(np.float32)

    def _slots(self, genotypes: np.ndarray) -> np.ndarray:
        """Return one-hot float32 [n, slots], zeros for absent choices."""
        return self.one_hot(genotypes) * np.repeat(self._present(genotypes), self.options, axis=1)

    def _distances(self, genotypes: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield parts of the genotypes, and their distances to all rows, float32 [part, R]."""
        slots, present = self._slots(self.rows), self._present(self.rows)
        step = max(_CHUNK // len(self.rows), 1)
        for start in range(0, len(genotypes), step):
            part = slice(start, start + step)
            own = self._present(genotypes[part])
            both = own @ present.T
            apart = own.sum(axis=1, keepdims=True) + present.sum(axis=1) > 2 * both
            yield part, np.maximum(both - self._slots(genotypes[part]) @ slots.T, 0.5 * apart)

    @functools.cached_property
    def _nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest other rows of every row: row r has [first[r] : first[r + 1]] of the second array."""
        enough, found, counts = min(_NEAREST, len(self.rows) - 1), [], []
        for _, distances in self._distances(self.rows):
            distances[distances == 0] = np.inf  # exclude the row itself
            reach = np.ones((len(distances), 1), dtype=np.float32)
            while (short := (distances <= reach).sum(axis=1, keepdims=True) < enough).any():
                reach += short
            near = distances <= reach
            counts.append(near.sum(axis=1))
            found.append(np.nonzero(near)[1])
        return np.concatenate([[0], *counts]).cumsum(), np.concatenate(found)

    @functools.cached_property
    def _levels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows in order of log cost, the start of each level (and the end), and positions from -1/2 to 1/2."""
        order = np.argsort(self.log_costs, kind="stable")
        place = (self.log_costs - self.log_costs.min()) / max(float(np.ptp(self.log_costs)), 1e-12)
        levels, starts = np.unique((place[order] * (_LEVELS - 1)).round(), return_index=True)
        return order, np.append(starts, len(order)), levels / (_LEVELS - 1) - 0.5

    def sample(self, rng: np.random.Generator, n: int, tilt: np.ndarray | float = 0.0) -> np.ndarray:
        """Independent draws of rows, int [n, G].

        Tilt t weights a row by exp(t * G * x), where x from -1/2 to 1/2 is the position of its log cost, in steps of
        1/64: 0 is uniform, t < 0 prefers cheap rows. One t for all draws or one for each, [n].
        """
        order, starts, places = self._levels
        counts = np.diff(starts)
        logits = np.clip(np.reshape(tilt, (-1, 1)), -_MAX_TILT, _MAX_TILT) * len(self.choices) * places + np.log(counts)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
        level = (rng.random((n, 1)) * weights[:, -1:] >= weights).sum(axis=1)
        return self.rows[order[starts[level] + rng.integers(0, counts[level])]]

    def mutate_batch(self, genotypes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each genotype another row, drawn from the nearest: int [n, G] -> int [n, G].

        Raises:
          InputError: the table has one row.
        """
        if self.size == 1:
            raise InputError(self.name, self.size, "rows: a table of one cannot be mutated")
        first, nearest = self._nearest
        parents = self._row_numbers(genotypes)
        return self.rows[nearest[rng.integers(first[parents], first[parents + 1])]]

    def neighbours(self, genotype: Genotype) -> np.ndarray:
        """Return all rows that a mutation can reach, int [m, G]."""
        if self.size == 1:
            return self.rows[:0]
        first, nearest = self._nearest
        row = self._row_numbers(np.array([genotype]))[0]
        return self.rows[nearest[first[row] : first[row + 1]]]
