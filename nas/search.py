"""The loop of a search: from what is in the ledger to the next proposal. Executors train what it proposes.

First as many candidates as planned, asked of the algorithm; then the finals, in which the networks on the front
and the published references are trained again with other seeds. Everything here is a function of the
configuration and the ledger's events, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nas.algorithms.algorithm import Algorithm, Exhausted
from nas.algorithms.catalogue import ALGORITHMS
from nas.algorithms.stratified_random import cost_strata
from nas.bands import BandedHalving, Bands
from nas.config import SearchConfig
from nas.ledger import LedgerWriter
from nas.objective import ACCURACY
from nas.pareto import crowded_order, non_dominated
from nas.references import reference_architectures
from nas.trials import Completed, Event, Failed, Note, Proposal, Rung, Stopped
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.cost import count
from search_space.errors import InputError
from search_space.movinet_space import movinet_space
from search_space.space import Genotype


def trial_seed(run_seed: int, fingerprint: str, repeat: int) -> int:
    """The seed of one training: never of a worker or of an order of arrival."""
    digest = hashlib.sha256(f"{run_seed}/{fingerprint}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def make_algorithm(config: SearchConfig) -> Algorithm:
    """The configured algorithm over the configured space.

    Raises:
      InputError: an unknown option, or no member of the space keeps the limits.
    """
    kind, options = ALGORITHMS[config.algorithm.name], dict(config.algorithm.options)
    space = movinet_space(config.space)
    try:
        return kind(space, config.limits, ACCURACY, "macs", config.trials, **options)
    except TypeError as error:
        raise InputError("algorithm.options", options, f"do not fit {config.algorithm.name}: {error}") from None


class Search:
    """Proposes, records and decides.

    Args:
      config: the run's.
      ledger: where every event goes before anything else acts on it.
      events: those already in the ledger, in order.
    """

    def __init__(self, config: SearchConfig, ledger: LedgerWriter, events: Sequence[Event] = ()) -> None:
        self.config = config
        self.algorithm = make_algorithm(config)
        references = config.finals.references if config.finals.repeats else ()
        self.references = reference_architectures(config.space, references, config.limits)
        self.proposals: dict[int, Proposal] = {}
        self.running: dict[int, Proposal] = {}
        self.rungs: dict[int, list[Rung]] = {}
        self.completed: dict[int, Completed] = {}
        self.stopped: dict[int, Stopped] = {}
        self.failed: dict[int, Failed] = {}
        self.watchers: list[Callable[[Event], None]] = []
        self._ledger = ledger
        self._exhausted = False
        self._finals: list[tuple[str, str, Genotype | None, Architecture, int]] | None = None
        self.bands = self._bands()
        self._halving = self._make_halving()
        for event in events:
            self._take(event)
            if isinstance(event, Rung):
                self._decide(event)
        # What was running when the run ended is trained again first, in the order proposed.
        self._again = list(self.running.values())
        self.running.clear()

    @property
    def planned(self) -> int:
        """Trials of the whole run as far as known: the finals are known once the search is over."""
        finals = len(self._finals) if self._finals is not None else self._expected_finals()
        searched = len(self._of_kind("search"))
        return (searched if self._exhausted or self._finals is not None else self.config.trials) + finals

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not self.running and not self._again and self._finals is not None and not self._open_finals()

    def propose(self) -> Proposal | None:
        """The next trial, recorded as running; None if there is none now: all done, or results are needed first."""
        proposal = self._again.pop(0) if self._again else self._next()
        if proposal is None:
            return None
        if proposal.index not in self.proposals:
            self._record(proposal)
        self.running[proposal.index] = proposal
        return proposal

    def observe(self, event: Rung | Completed | Failed) -> bool:
        """Records what a trial reported; False if it is to be stopped.

        A rung that a trial reached before the run was killed is not recorded twice.
        """
        if isinstance(event, Rung):
            before = [rung for rung in self.rungs.get(event.index, []) if rung.steps == event.steps]
            if not before:
                self._record(event)
            if self._decide(before[0] if before else event):
                return True
            event_after: Event = Stopped(event.index, event.steps, event.metrics, event.seconds)
        else:
            event_after = event
        self._record(event_after)
        return False

    def _record(self, event: Event) -> None:
        """Writes an event down before anything acts on it."""
        self._ledger.append(event)
        self._take(event)
        for watcher in self.watchers:
            watcher(event)

    def _take(self, event: Event) -> None:
        """Brings the state up to date with an event that is in the ledger."""
        self.algorithm.tell(event)
        if isinstance(event, Proposal):
            self.proposals[event.index] = event
            self.running[event.index] = event
        elif isinstance(event, Rung):
            self.rungs.setdefault(event.index, []).append(event)
        else:
            finished: Mapping[type, dict[int, Any]] = {
                Completed: self.completed,
                Stopped: self.stopped,
                Failed: self.failed,
            }
            finished[type(event)][event.index] = event
            self.running.pop(event.index, None)

    def _decide(self, rung: Rung) -> bool:
        """Whether a trial goes on; only candidates of the search compete."""
        proposal = self.proposals[rung.index]
        if proposal.kind != "search" or self._halving is None:
            return True
        value = rung.metrics[ACCURACY.name]
        return self._halving.decide(rung.index, proposal.cost["macs"], rung.steps, value) == "continue"

    def _bands(self) -> Bands:
        return cost_strata(self.algorithm.space, self.config.limits, "macs", self.config.early_stopping.bands)

    def _make_halving(self) -> BandedHalving | None:
        stopping = self.config.early_stopping
        rungs = stopping.steps(self.config.training.steps)
        return BandedHalving(rungs, stopping.reduction, self.bands, ACCURACY, stopping.minimum) if rungs else None

    def _next(self) -> Proposal | None:
        asked = len(self._of_kind("search"))
        if asked < self.config.trials and not self._exhausted and self._finals is None:
            # The n-th question has a generator of its own, so that no state of one need be kept.
            rng = np.random.default_rng([self.config.seed, asked])
            try:
                genotype = self.algorithm.ask(rng)
            except Exhausted as error:
                self._exhausted = True
                self._ledger.append(Note(f"the search ends after {asked} candidates: {error}"))
            else:
                member = self.algorithm.space.decode(genotype)
                return self._proposal("search", "", genotype, member, 0)
        if self.running and self._finals is None:
            return None
        if self._finals is None:
            self._finals = list(self._plan_finals())
        left = self._open_finals()
        return self._proposal(*left[0]) if left else None

    def _proposal(
        self, kind: str, label: str, genotype: Genotype | None, architecture: Architecture, repeat: int
    ) -> Proposal:
        return Proposal(
            index=len(self.proposals),
            kind=kind,
            genotype=genotype,
            architecture=architectures.to_dict(architecture),
            fingerprint=architecture.fingerprint,
            repeat=repeat,
            seed=trial_seed(self.config.seed, architecture.fingerprint, repeat),
            cost=vars(count(architecture, self.config.space.classes)),
            label=label,
        )

    def _of_kind(self, kind: str) -> list[Proposal]:
        return [proposal for proposal in self.proposals.values() if proposal.kind == kind]

    def _expected_finals(self) -> int:
        finals = self.config.finals
        return finals.repeats * (min(finals.most, self.config.trials) + len(self.references))

    def _open_finals(self) -> list[tuple[str, str, Genotype | None, Architecture, int]]:
        done = {(p.kind, p.fingerprint, p.repeat) for p in self.proposals.values()}
        return [final for final in self._finals or [] if (final[0], final[3].fingerprint, final[4]) not in done]

    def _plan_finals(self) -> Iterator[tuple[str, str, Genotype | None, Architecture, int]]:
        """Repeats from 1: the seed of the trial that put a network on the front must not confirm it."""
        front = [self.proposals[index] for index in self.front()]
        for repeat in range(1, self.config.finals.repeats + 1):
            for proposal in front:
                architecture = architectures.from_dict(proposal.architecture)
                yield "finalist", f"trial {proposal.index}", proposal.genotype, architecture, repeat
            for name, architecture in self.references.items():
                yield "reference", name, None, architecture, repeat

    def front(self) -> list[int]:
        """Trials of the search on the front of accuracy against multiply-adds, cheapest first.

        At most `finals.most` of them: those with the widest gaps around them.
        """
        found = [index for index in self.completed if self.proposals[index].kind == "search"]
        if not found:
            return []
        points = np.array([self.minimised(index) for index in found])
        front = np.flatnonzero(non_dominated(points))
        kept = front[crowded_order(points[front])[: self.config.finals.most]]
        return [found[i] for i in sorted(kept, key=lambda i: points[i, 0])]

    def minimised(self, index: int) -> tuple[float, float]:
        """(log multiply-adds, minimised accuracy) of a completed trial."""
        accuracy = ACCURACY.minimised(self.completed[index].metrics[ACCURACY.name])
        return float(np.log(self.proposals[index].cost["macs"])), float(accuracy)
