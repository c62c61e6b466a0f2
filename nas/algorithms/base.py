"""Base class of all search algorithms: ask and tell as in Vizier's designers (Song et al., arXiv 2408.11527)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nas.record.events import Completed, Event, Failed, Proposal, Rung, Stopped
from nas.record.objective import ACCURACY, Objective
from search_space.base.checks import check_integer, check_keys
from search_space.base.errors import InputError
from search_space.space.choices import Genotype, SearchSpace
from search_space.space.sampling import Limit, feasible, sample_feasible

# Draws per search for an unseen architecture; then the number of seen ones whose neighbours are examined.
_DRAWS = (1, 32, 1024)
_NEIGHBOURHOODS = 1000


class Exhausted(Exception):
    """All feasible architectures were proposed, or a bounded search found no other."""


class Algorithm(ABC):
    """Proposes feasible architectures without repeats, from their exact costs and the events of the search.

    Args:
      space: the search space.
      limits: upper limits of exact costs; every proposal is within them.
      objective: the metric of `Completed` events that is optimised, and its direction.
      cost_name: the cost that is traded against it.
      planned: planned number of proposals of the run.

    The state changes only in `tell`, so replaying the events of an event log restores it. `ask` depends only on this
    state and the generator passed in.
    """

    def __init__(
        self,
        space: SearchSpace[Any],
        limits: Sequence[Limit] = (),
        objective: Objective = ACCURACY,
        cost_name: str = "macs",
        planned: int = 100,
    ) -> None:
        self.space = space
        self.limits = tuple(limits)
        self.objective = objective
        self.cost_name = cost_name
        self.planned = check_integer("planned", planned, 1, 10**9)
        self.seen: dict[Genotype, None] = {}  # a set that keeps its order
        self.proposed: dict[int, tuple[Genotype, int]] = {}  # search trials: genotype and cost, by index
        self.proposed_costs = array("d")  # in order, for loops over all of them at every proposal
        self.results: dict[int, float] = {}  # minimised objective of completed search trials, by index
        self.early: dict[int, dict[int, float]] = {}  # minimised objective at each rung of search trials, by index
        self.stopped: dict[int, int] = {}  # search trials stopped early, by index: number of results before the stop
        self.failed: dict[int, None] = {}  # failed search trials that were not retried

    @abstractmethod
    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the next candidate, canonical, feasible and not seen before; the state does not change.

        Raises:
          Exhausted: there is none, or a bounded search found none.
          InputError: no architecture is within the limits.
        """

    def tell(self, event: Event) -> None:
        """Record a proposal, a measurement or the end of a trial; only completed trials have a result.

        Raises:
          InputError: a proposal is not of this space or lacks the cost, or a measurement lacks the metric.
        """
        if isinstance(event, Proposal) and event.genotype is not None and event.kind != "finalist":
            genotype = self.space.canonical(event.genotype)
            self.seen[genotype] = None
            if event.kind == "search":
                cost = _named(f"trial {event.index}", event.cost, self.cost_name)
                self.proposed[event.index] = (genotype, cost)
                self.proposed_costs.append(cost)
        elif event.index in self.proposed:
            self._tell_trial(event)

    def _tell_trial(self, event: Event) -> None:
        self.failed.pop(event.index, None)
        if isinstance(event, Completed):
            self.results[event.index] = self._measured(event)
        elif isinstance(event, Rung):
            self.early.setdefault(event.index, {})[event.steps] = self._measured(event)
        elif isinstance(event, Stopped):
            self.stopped[event.index] = len(self.results)
        elif isinstance(event, Failed):
            self.failed[event.index] = None

    def _measured(self, event: Completed | Rung) -> float:
        value = _named(f"trial {event.index}", event.metrics, self.objective.name)
        return float(self.objective.minimised(value))

    def running(self) -> list[int]:
        """Return indices of the search trials that have not ended, in the order proposed."""
        ended = self.results.keys() | self.stopped.keys() | self.failed.keys()
        return [index for index in self.proposed if index not in ended]

    def state(self) -> dict[str, Any]:
        """Return the recorded events, as plain data for JSON."""
        return {
            "seen": [list(genotype) for genotype in self.seen],
            "proposed": [[index, list(genotype), cost] for index, (genotype, cost) in self.proposed.items()],
            "results": [list(result) for result in self.results.items()],
            "early": [[index, [list(each) for each in rungs.items()]] for index, rungs in self.early.items()],
            "stopped": [list(each) for each in self.stopped.items()],
            "failed": list(self.failed),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Load the result of `state`.

        Raises:
          InputError: it is not a state, or of another space.
        """
        check_keys("algorithm state", state, *(("seen", "proposed", "results", "early", "stopped", "failed"),) * 2)
        self.seen = {self.space.canonical(tuple(genotype)): None for genotype in state["seen"]}
        self.proposed = {index: (tuple(genotype), cost) for index, genotype, cost in state["proposed"]}
        self.proposed_costs = array("d", [cost for _, cost in self.proposed.values()])
        self.results = dict(state["results"])
        self.early = {index: dict(rungs) for index, rungs in state["early"]}
        self.stopped, self.failed = dict(state["stopped"]), dict.fromkeys(state["failed"])

    def is_new(self, genotypes: np.ndarray) -> np.ndarray:
        """Return which canonical genotypes int [n, G] are within the limits and unseen: bool [n]."""
        allowed = feasible(self.space.count(genotypes), self.limits)
        return allowed & np.array([tuple(row) not in self.seen for row in genotypes.tolist()], dtype=bool)

    def random_unseen(self, rng: np.random.Generator) -> Genotype:
        """Return a feasible unseen architecture: uniform over options, or else a neighbour of seen ones."""
        for genotypes in self._candidates(rng):
            new = genotypes[self.is_new(genotypes)]
            if len(new):
                return as_genotype(new[0])
        raise Exhausted(
            f"all feasible architectures of the space {self.space.name} were proposed: {len(self.proposed)}"
        )

    def _candidates(self, rng: np.random.Generator) -> Iterable[np.ndarray]:
        for draws in _DRAWS:
            yield sample_feasible(self.space, rng, draws, self.limits)
        members = list(self.seen)
        for i in rng.permutation(len(members))[:_NEIGHBOURHOODS]:
            yield rng.permutation(self.space.neighbours(members[i]))


def as_genotype(row: np.ndarray) -> Genotype:
    """Return one row of genotypes int [n, G] as a tuple of plain integers."""
    return tuple(row.tolist())


def canonical_genotypes(place: str, space: SearchSpace[Any], listed: object) -> list[Genotype]:
    """Return listed genotypes in canonical form.

    Raises:
      InputError: not a list, or an entry is not a genotype of the space; names the entry.
    """
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise InputError(place, listed, "must be a list of genotypes")
    found = []
    for i, genotype in enumerate(listed):
        if not isinstance(genotype, Sequence) or isinstance(genotype, str):
            raise InputError(f"{place}[{i}]", genotype, "must be a genotype: a list of integers")
        found.append(space.canonical(tuple(genotype)))
    return found


def _named(place: str, values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise InputError(place, sorted(values), f"lacks {name!r}")
    return values[name]
