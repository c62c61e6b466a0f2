"""A user's network family as a task of a search. All return values of the user's class are checked."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from nas.tasks.base import SPLITS, Described, Task
from search_space.base.catalogue import reason
from search_space.base.errors import InputError
from search_space.space.choices import Choice, Genotype, SearchSpace

T = TypeVar("T")
Values = Mapping[str, np.ndarray]  # options by choice, each [n]
MAX_COST = 2**62
ATTEMPTED = 64  # random architectures whose costs are counted before a search starts


class OwnTask:
    """A network family for the search loop; its architectures are mappings from present choices to options.

    Args:
      name: of the family in the configuration, `module:name`.
      kind: the user's class.
      options: arguments of the class.

    Raises:
      InputError: the class cannot be made, or has no valid choices or costs.
    """

    def __init__(self, name: str, kind: type[Task], options: Mapping[str, Any]) -> None:
        self.name, self.file = name, str(getattr(sys.modules.get(kind.__module__), "__file__", ""))
        self.task: Task = self.called("__init__", lambda: kind(**options))
        choices = self.called("choices", lambda: tuple(self.task.choices))
        if not choices or not all(isinstance(choice, Choice) for choice in choices):
            raise self.wrong(f"choices are {choices!r}; they must be at least one Choice")
        try:
            self.space: SearchSpace[dict[str, Any]] = SearchSpace(name, choices, dict, dict, self._count)
            self._options = [_array(choice.options) for choice in choices]
            for choice in choices:
                self._plain({choice.name: list(choice.options)})
            _ = self.cost_names
        except InputError as error:
            raise (error if error.place == "task.name" else self.wrong(f"choices: {error}")) from None
        self.space.count(self.space.sample(np.random.default_rng(0), ATTEMPTED))

    def wrong(self, rule: str) -> InputError:
        """Return the error that the class does something else than it must."""
        return InputError("task.name", self.name, f"is wrong: {rule}")

    def called(self, hook: str, call: Callable[[], T]) -> T:
        """Return what the user's code returns.

        Raises:
          InputError: it raised an error; names its file and line.
        """
        try:
            return call()
        except InputError:
            raise
        except Exception as error:  # foreign code may raise anything
            raise self.wrong(f"{hook} raises {reason(error, self.file)}") from error

    @functools.cached_property
    def labels(self) -> Values:
        """Class of each example by split: int64 `[N]`.

        Raises:
          InputError: a split lacks them, or they are no such integers.
        """
        given = self.called("labels", lambda: {split: np.asarray(self.task.labels[split]) for split in SPLITS})
        for split, labels in given.items():
            if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu" or labels.min() < 0:
                found = f"{labels.dtype} of shape {list(labels.shape)}"
                raise self.wrong(f"labels of {split} are {found}; they must be integers [N] from 0, at least one")
        return {split: labels.astype(np.int64) for split, labels in given.items()}

    @functools.cached_property
    def classes(self) -> int:
        """Number of classes."""
        return 1 + max(int(labels.max()) for labels in self.labels.values())

    def _count(self, genotypes: np.ndarray) -> dict[str, np.ndarray]:
        columns = zip(self.space.choices, self._options, genotypes.T, strict=True)
        return self.costs_of({choice.name: options[genes] for choice, options, genes in columns}, len(genotypes))

    def costs_of(self, chosen: Values, n: int) -> dict[str, np.ndarray]:
        """Return the exact costs of n architectures, int64 `[n]` by name.

        Args:
          chosen: option of each architecture by choice, `[n]`; any option of it where the choice is absent.
          n: number of architectures.

        Raises:
          InputError: the class returns something else.
        """
        found = self.called("costs", lambda: {k: np.asarray(v) for k, v in self.task.costs(chosen).items()})
        if not found or not all(isinstance(name, str) for name in found):
            raise self.wrong(f"costs returns {[*found]}; it must return at least one cost by name")
        for name, values in found.items():
            if values.shape != (n,) or values.dtype.kind not in "iu":
                shown = f"{values.dtype} {list(values.shape)}"
                raise self.wrong(f"cost {name!r} is {shown}; it must be integers of shape [{n}]")
            if n and not 1 <= values.min() <= values.max() <= MAX_COST:
                raise self.wrong(f"cost {name!r} is {values.min()} to {values.max()}; it must be from 1 to 2^62")
        return {name: values.astype(np.int64) for name, values in found.items()}

    @functools.cached_property
    def cost_names(self) -> list[str]:
        """Names of the exact costs."""
        return [*self.space.count(np.zeros((1, len(self.space.choices)), np.int64))]

    def described(self, architecture: Mapping[str, Any]) -> Described:
        """Return an architecture with its exact costs; options need not be those of the space."""
        known = {choice.name: choice.options for choice in self.space.choices}
        if unknown := [name for name in architecture if name not in known]:
            raise self.wrong(f"an architecture has the choice {unknown[0]!r}; choices: {', '.join(known)}")
        # Beside the options of the space, so that the array is of the same kind.
        chosen = {name: _array([*some, architecture.get(name, some[0])])[-1:] for name, some in known.items()}
        cost = {name: int(values[0]) for name, values in self.costs_of(chosen, 1).items()}
        plain = self._plain({name: architecture[name] for name in known if name in architecture})
        canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return Described(plain, hashlib.sha256(canonical.encode()).hexdigest()[:16], cost)

    def _plain(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """Return options by choice as JSON has them."""
        try:
            plain: dict[str, Any] = json.loads(json.dumps(architecture, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise self.wrong(f"{architecture} must be numbers, texts or tuples: {error}") from None
        return plain

    def with_tuples(self, architecture: Mapping[str, Any]) -> dict[str, Any]:
        """Return an architecture from plain data, in which tuples are lists."""
        return {name: tuple(option) if isinstance(option, list) else option for name, option in architecture.items()}

    def checked_logits(self, network: Any, split: str, examples: np.ndarray) -> np.ndarray:
        """Return the network's logits `[n, classes]` of the examples `[n]` of a split.

        Raises:
          InputError: they have another shape.
        """
        logits = np.asarray(self.task.logits(network, split, examples))
        if logits.ndim != 2 or len(logits) != len(examples) or logits.shape[1] < self.classes:
            wanted = f"[{len(examples)}, {self.classes}], one row for each example"
            raise self.wrong(f"logits are of shape {list(logits.shape)}; they must be {wanted}")
        return logits

    def references(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the architectures that the class names to compare the search with."""
        found = self.called("references", lambda: dict(self.task.references()))
        for name, architecture in found.items():
            if not isinstance(name, str) or not name or not isinstance(architecture, Mapping):
                raise self.wrong(f"references holds {name!r}: {architecture!r}; it must map names to architectures")
            self.described(architecture)
        return found

    def starts(self) -> list[Genotype]:
        """Return none: a search algorithm starts as it does in any space."""
        return []

    def notes(self, data: Any) -> Iterator[str]:
        """Yield nothing."""
        yield from ()

    def opened(self) -> None:
        """Load the labels, so that their faults are found before a search starts; each process has its own data."""
        _ = self.labels

    def content_hash(self, data: Any) -> str:
        """Return a hash of the labels."""
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(split.encode() + self.labels[split].astype("<i8").tobytes())
        return digest.hexdigest()

    def validation_labels(self, data: Any) -> np.ndarray:
        """Return the classes of the validation examples, `[N]`."""
        return self.labels["validation"]


def _array(options: Sequence[Any]) -> np.ndarray:
    """Return options as an array [n]; tuples of one length as [n, length], options of several kinds as objects."""
    kinds = {(str,) if isinstance(each, str) else np.shape(each) for each in options}
    if len(kinds) == 1:
        return np.asarray(options)
    array = np.empty(len(options), dtype=object)
    array[:] = options
    return array
