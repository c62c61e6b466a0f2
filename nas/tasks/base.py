"""Interfaces of a network family: the one that a user derives from, and the one that a search uses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.space.choices import Choice, Genotype, SearchSpace

SPLITS = ("train", "validation", "test")


class Task(ABC):
    """A network family and the labelled examples that its candidates are trained on.

    An architecture is a mapping from choices to chosen options; a choice that is absent is not in it. The parameters of
    `__init__` are the options. An object is made for each process and whenever a configuration is read, so
    data that take long to load are better loaded when `labels` is first used.

    Attributes:
      choices: of the search space, each with its options, cheap ones first; options are numbers, texts or tuples.
      labels: class of every example, integers `[N]` from 0, by split: train, validation and test.
    """

    choices: Sequence[Choice]
    labels: Mapping[str, np.ndarray]

    @abstractmethod
    def costs(self, chosen: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Return the exact costs of n architectures by name, each integers `[n]` from 1.

        Args:
          chosen: option of each architecture by choice, `[n]` (of tuples `[n, length]`). Where a choice is absent, its
            option has no meaning.
        """

    @abstractmethod
    def start(self, architecture: Mapping[str, Any], seed: int) -> Any:
        """Return a network with initial weights drawn from a seed, as the other methods take it."""

    @abstractmethod
    def step(self, network: Any, examples: np.ndarray) -> float:
        """Train a network, in place, on the training examples with these indices `[B]`; return the loss before."""

    @abstractmethod
    def logits(self, network: Any, split: str, examples: np.ndarray) -> np.ndarray:
        """Return logits `[n, classes]` of the examples of a split with these indices `[n]`; the network stays as is."""

    def references(self) -> Mapping[str, Mapping[str, Any]]:
        """Return architectures by name to compare the search with; they need not be in the space."""
        return {}


@dataclass(frozen=True)
class Described:
    """An architecture as events hold it.

    Attributes:
      architecture: plain data.
      fingerprint: names it across processes and files.
      cost: exact costs by name.
    """

    architecture: Mapping[str, Any]
    fingerprint: str
    cost: Mapping[str, int]


class Evaluator(Protocol):
    """Interface that trains proposals one after another, or simulates it."""

    def train(self, proposal: Proposal, attempt: int = 0) -> Generator[Rung | Completed | Failed]:
        """Yield early measurements, then the final result; every attempt is the same training."""


class SearchedTask(Protocol):
    """Interface of a network family to the search loop and the executors; architectures are objects of its space."""

    @property
    def space(self) -> SearchSpace[Any]:
        """Search space with all exact costs."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def described(self, architecture: Any) -> Described:
        """Return an architecture, of the space or not, as plain data with its exact costs."""

    def references(self) -> Mapping[str, Any]:
        """Return architectures by name to compare the search with."""

    def starts(self) -> list[Genotype]:
        """Return genotypes from which a search algorithm may start."""

    def notes(self, data: Any) -> Iterator[str]:
        """Yield one line each about the space and the data before the first trial; `data` is None in a simulation."""

    def opened(self) -> Any:
        """Return the data set that executors share with their workers; None where each process loads the data."""

    def content_hash(self, data: Any) -> str:
        """Return a hash of the content of the data that `opened` returned."""

    def validation_labels(self, data: Any) -> np.ndarray:
        """Return the classes of the validation examples, `[N]`."""
