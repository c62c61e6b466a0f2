"""A search space as an ordered list of choices; the idea of PyGlove's DNA (Peng et al., arXiv 2101.08809).

Choices are declared once, cheap options first; sampling, mutation, crossover, encoding and size follow from the list.
`n` is a number of candidates, `G` the number of choices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from search_space.base.errors import InputError

A = TypeVar("A")
Genotype = tuple[int, ...]

# exp(300 * k / (k - 1)) still fits a double for every k; long before this limit all draws are cheap or all are
# expensive.
_MAX_TILT = 300.0
MAX_LISTED = 1_000_000


@dataclass(frozen=True)
class Condition:
    """Active if the choice `parent` is active and its value is at least `at_least`."""

    parent: str
    at_least: Any


@dataclass(frozen=True)
class Choice:
    """One decision: distinct `options`, cheap first, and the condition under which it exists."""

    name: str
    options: tuple[Any, ...]
    condition: Condition | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.options, tuple) or not self.options:
            raise InputError(self.name, self.options, "must offer at least one option")
        for i, option in enumerate(self.options):
            if option in self.options[:i]:
                raise InputError(self.name, option, "is an option twice")

    def index(self, value: Any) -> int:
        """Return the position of `value` among the options; raise `InputError` if it is none of them."""
        if value not in self.options:
            raise InputError(self.name, value, f"must be one of {', '.join(map(str, self.options))}")
        return self.options.index(value)


def _reached(condition: Condition, parent: Choice) -> np.ndarray:
    """Return, for each option of the parent, whether it meets the condition: bool [options]."""
    try:
        return np.array([bool(option >= condition.at_least) for option in parent.options])
    except TypeError:
        rule = f"cannot be compared with the options of {parent.name}"
        raise InputError(f"{parent.name}.at_least", condition.at_least, rule) from None


@dataclass(frozen=True)
class SearchSpace(Generic[A]):
    """All architectures that can be built from one option per choice.

    A genotype has one option index per choice; in its canonical form the genes of absent choices are 0. Since the
    options of a choice differ, canonical genotypes and architectures correspond one to one.

    Attributes:
      assemble: values of the active choices -> architecture.
      disassemble: its inverse; raises `InputError` for an architecture outside of the space.
      count: canonical genotypes int [n, G] -> exact costs by name, each [n].
    """

    name: str
    choices: tuple[Choice, ...]
    assemble: Callable[[Mapping[str, Any]], A]
    disassemble: Callable[[A], Mapping[str, Any]]
    count: Callable[[np.ndarray], dict[str, np.ndarray]]

    def __post_init__(self) -> None:
        if not self.choices:
            raise InputError(self.name, self.choices, "must have at least one choice")
        earlier: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in earlier:
                raise InputError(self.name, choice.name, "is declared twice")
            self._check_condition(choice, earlier)
            earlier[choice.name] = choice

    def __hash__(self) -> int:
        """Hash names only, as options need not be hashable."""
        return hash((self.name, *(choice.name for choice in self.choices)))

    def _check_condition(self, choice: Choice, earlier: Mapping[str, Choice]) -> None:
        condition = choice.condition
        if condition is None:
            return
        if condition.parent not in earlier:
            raise InputError(f"{choice.name}.condition", condition.parent, "must be a choice declared earlier")
        if not _reached(condition, earlier[condition.parent]).any():
            raise InputError(f"{choice.name}.condition", condition.at_least, f"is never reached by {condition.parent}")

    @functools.cached_property
    def options(self) -> np.ndarray:
        """Number of options of each choice: int [G]."""
        return np.array([len(choice.options) for choice in self.choices])

    @functools.cached_property
    def _conditions(self) -> list[tuple[int, list[int], np.ndarray]]:
        """(parent, its children, bool [options of the parent, children]) for every parent, in declared order."""
        index = {choice.name: i for i, choice in enumerate(self.choices)}
        reached: dict[int, dict[int, np.ndarray]] = {}
        for i, choice in enumerate(self.choices):
            if choice.condition is not None:
                parent = index[choice.condition.parent]
                reached.setdefault(parent, {})[i] = _reached(choice.condition, self.choices[parent])
        return [(parent, list(of), np.stack(list(of.values()), axis=1)) for parent, of in sorted(reached.items())]

    @functools.cached_property
    def size(self) -> int:
        """Exact number of distinct architectures: each option of a parent multiplies the children it activates."""
        members = [len(choice.options) for choice in self.choices]
        for parent, children, reached in reversed(self._conditions):
            products = [math.prod(members[c] for c, on in zip(children, row, strict=True) if on) for row in reached]
            members[parent] = sum(products)
        return math.prod(m for m, choice in zip(members, self.choices, strict=True) if choice.condition is None)

    def active(self, genotypes: np.ndarray) -> np.ndarray:
        """Return the mask of active choices, int [n, G] -> bool [n, G]."""
        active = np.ones(genotypes.shape, dtype=bool)
        for parent, children, reached in self._conditions:
            active[:, children] = reached[genotypes[:, parent]] & active[:, parent, None]
        return active

    def canonical_batch(self, genotypes: np.ndarray) -> np.ndarray:
        """Set the genes of absent choices to 0, int [n, G]; `InputError` for a gene out of range."""
        genotypes = np.asarray(genotypes)
        if genotypes.ndim != 2 or genotypes.shape[1] != len(self.choices) or genotypes.dtype.kind not in "iu":
            raise InputError(self.name, genotypes.shape, f"must be integers of shape [n, {len(self.choices)}]")
        wrong = (genotypes < 0) | (genotypes >= self.options)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            rule = f"must be an index from 0 to {self.options[column] - 1}"
            raise InputError(f"{self.name}: {self.choices[column].name}", int(genotypes[row, column]), rule)
        return np.where(self.active(genotypes), genotypes, 0)

    def canonical(self, genotype: Genotype) -> Genotype:
        """Return the representative of all genotypes of the same architecture; `InputError` if invalid."""
        if not all(isinstance(gene, int | np.integer) for gene in genotype):
            raise InputError(self.name, list(genotype), "is not a genotype, which consists of integers")
        return tuple(self.canonical_batch(np.array([genotype]))[0].tolist())

    def members(self) -> np.ndarray:
        """Return all architectures, canonical int [size, G]; `InputError` for a space too large to be listed."""
        if self.size > MAX_LISTED:
            raise InputError(self.name, self.size, f"architectures are too many to list; at most {MAX_LISTED}")
        listed = np.zeros((1, len(self.choices)), dtype=np.int64)
        for column, options in enumerate(self.options.tolist()):
            listed = np.repeat(listed, options, axis=0)
            listed[:, column] = np.tile(np.arange(options), len(listed) // options)
            # Absent choices are not multiplied, so the list is never longer than the space.
            listed = listed[self.active(listed)[:, column] | (listed[:, column] == 0)]
        return listed

    def contains(self, genotype: Genotype) -> bool:
        """Return whether the genotype can be decoded: the right length and every gene in range (canonical or not)."""
        return len(genotype) == len(self.choices) and all(
            isinstance(gene, int) and 0 <= gene < len(choice.options)
            for gene, choice in zip(genotype, self.choices, strict=True)
        )

    def values(self, genotype: Genotype) -> dict[str, Any]:
        """Return the chosen option of every active choice, by name."""
        genotypes = self.canonical_batch(np.array([genotype]))
        chosen = zip(self.choices, genotypes[0].tolist(), self.active(genotypes)[0], strict=True)
        return {choice.name: choice.options[gene] for choice, gene, active in chosen if active}

    def decode(self, genotype: Genotype) -> A:
        """Return the architecture of a genotype."""
        return self.assemble(self.values(genotype))

    def encode(self, architecture: A) -> Genotype:
        """Return the canonical genotype of an architecture; `InputError` if it is not in the space."""
        values = self.disassemble(architecture)
        genes = tuple(choice.index(values[choice.name]) if choice.name in values else 0 for choice in self.choices)
        if self.decode(genes) != architecture:
            raise InputError(self.name, architecture, "is not an architecture of the space")
        return self.canonical(genes)

    def sample(self, rng: np.random.Generator, n: int, tilt: np.ndarray | float = 0.0) -> np.ndarray:
        """Return independent draws, canonical int [n, G].

        Tilt t weights option i of k by exp(t * (i / (k - 1) - 1/2)): 0 is uniform over the options of every choice,
        t < 0 prefers early (cheap) ones. One t for all draws or one for each, [n].
        """
        steps = np.maximum(self.options - 1, 1)
        # The weights are geometric, so their distribution function inverts in closed form.
        rate = np.reshape(np.clip(tilt, -_MAX_TILT, _MAX_TILT), (-1, 1)) / steps
        rate = np.where(np.abs(rate) < 1e-9, 1e-9, rate)
        position = np.log1p(rng.random((n, len(self.choices))) * np.expm1(rate * self.options)) / rate
        return self.canonical_batch(np.minimum(position.astype(np.int64), self.options - 1))

    def mutate_batch(self, genotypes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change one active choice of each genotype, int [n, G] -> int [n, G].

        Choices that become active by it (the layers of a deeper block) are drawn uniformly.

        Raises:
          InputError: the space has only one architecture.
        """
        if self.size == 1:
            raise InputError(self.name, self.size, "architectures: a space of one cannot be mutated")
        parents, rows = self.canonical_batch(genotypes), np.arange(len(genotypes))
        active = self.active(parents)
        # A choice with all its ancestors fixed is always active, so every architecture of a larger space has one to
        # change.
        column = np.where(active & (self.options > 1), rng.random(parents.shape), -1.0).argmax(axis=1)
        children = np.where(active, parents, rng.integers(0, self.options, parents.shape))
        shift = rng.integers(1, self.options[column])
        children[rows, column] = (parents[rows, column] + shift) % self.options[column]
        return self.canonical_batch(children)

    def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """Change exactly one active choice; raise `InputError` if the space has only one architecture."""
        return tuple(self.mutate_batch(np.array([genotype]), rng)[0].tolist())

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        """Take every gene from either parent with equal probability, or from the only one where it is active."""
        parents = self.canonical_batch(np.array([a, b]))
        active = self.active(parents)
        first = np.where(active[0] == active[1], rng.random(len(self.choices)) < 0.5, active[0])
        return tuple(self.canonical_batch(np.where(first, parents[0], parents[1])[None])[0].tolist())

    def neighbours(self, genotype: Genotype) -> np.ndarray:
        """Return all genotypes with one active choice changed, canonical int [m, G]; new choices are option 0."""
        center = self.canonical_batch(np.array([genotype]))
        free = np.where(self.active(center)[0], self.options, 1)
        columns = np.repeat(np.arange(len(free)), free - 1)
        shifts = np.concatenate([np.arange(1, k) for k in free])
        found = np.repeat(center, len(columns), axis=0)
        found[np.arange(len(columns)), columns] = (center[0, columns] + shifts) % self.options[columns]
        return self.canonical_batch(found)

    def one_hot(self, genotypes: np.ndarray) -> np.ndarray:
        """Encode in fixed slots, int [n, G] -> float32 [n, slots]: one per option, one for absence."""
        conditional = np.array([choice.condition is not None for choice in self.choices])
        slots = self.options + conditional
        value = np.where(self.active(genotypes), genotypes, self.options)
        encoded = np.zeros((len(genotypes), slots.sum()), dtype=np.float32)
        np.put_along_axis(encoded, value + np.cumsum(slots) - slots, 1.0, axis=1)
        return encoded
