"""The loop of a search: from what is in the ledger to the next proposal. Executors train what it proposes.

First as many candidates as planned, asked of the algorithm; then the finals, in which the published references
and the networks on the front are trained with other seeds. If the configuration lists networks, these are trained
in place of both. Everything here is a function of the configuration and the ledger's events, so a run that was
killed goes on as if it had not been.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nas.algorithms.base import Algorithm, Exhausted
from nas.algorithms.frontier.surrogate import Features, expected
from nas.algorithms.stratified_random import cost_strata
from nas.config.search_config import SearchConfig
from nas.config.searched_space import exact_cost
from nas.loop.algorithm import final_references, make_algorithm
from nas.loop.early_stopping import BandedStopping
from nas.record.events import Completed, Event, Failed, Note, Proposal, Rung, Stopped
from nas.record.ledger_writer import LedgerWriter
from nas.record.objective import Objective
from nas.record.pareto import greatest, non_dominated
from search_space import architecture as architectures
from search_space.architecture import Architecture
from search_space.base.errors import InputError
from search_space.space.choices import Genotype
from search_space.space.sampling import feasible

LEAST_TO_MODEL = 8  # networks; of fewer the surrogate knows too little to correct what was measured
SMALL = 100  # characters of a part that is worth looking for; there are few different ones


def trial_seed(run_seed: int, fingerprint: str, repeat: int) -> int:
    """The seed of one training: never of a worker or of an order of arrival."""
    digest = hashlib.sha256(f"{run_seed}/{fingerprint}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _shared(data: Any, parts: dict[str, Any]) -> Any:
    """Equal plain data whose small parts, such as layers, are one object where they are equal: most of a run's memory.

    `parts` are those met before, by what they print as; new ones are added.
    """
    if isinstance(data, Mapping):
        data = {key: _shared(value, parts) for key, value in data.items()}
    elif isinstance(data, list):
        data = [_shared(value, parts) for value in data]
    else:
        return data
    text = repr(data)
    return parts.setdefault(text, data) if len(text) <= SMALL else data


Final = tuple[str, str, Genotype | None, Architecture, int]  # kind, label, genotype, architecture, repeat


class Search:
    """Proposes, records and decides.

    Args:
      config: the run's.
      ledger: where every event goes before anything else acts on it.
      events: those already in the ledger, in order.
      algorithm: in place of the configured one.

    Whatever looks at it finds trials by index: `proposals`, those of them that are `running` in this process, their
    `rungs`, and the `completed`, `stopped` and `failed` ones. `watchers` are called with every event and every note
    once it is recorded. `draining`: nothing more is to be begun.
    Its executor keeps `room`, how many trials can be trained at a time (None: not known yet), and `retried`, how many
    attempts have ended in an error and were begun again.
    """

    def __init__(
        self,
        config: SearchConfig,
        ledger: LedgerWriter,
        events: Sequence[Event] = (),
        algorithm: Algorithm | None = None,
    ) -> None:
        self.config, self.ledger = config, ledger
        self.algorithm = algorithm or make_algorithm(config)
        self.bands = cost_strata(self.algorithm.space, config.limits, config.costs[0], config.early_stopping.bands)
        self.references = final_references(config, self.algorithm.space)
        self.proposals: dict[int, Proposal] = {}
        self._times: Counter[Genotype | None] = Counter()  # that each candidate was proposed
        self.running: dict[int, Proposal] = {}
        self.rungs: dict[int, list[Rung]] = {}
        self.completed: dict[int, Completed] = {}
        self.stopped: dict[int, Stopped] = {}
        self.failed: dict[int, Failed] = {}
        self.watchers: list[Callable[[Event | Note], None]] = []
        self.draining = False
        self.room: int | None = None
        self.retried = 0
        self._stopping = self._make_stopping()
        self._parts: dict[str, Any] = {}  # that architectures have in common
        self._goes_on: dict[tuple[int, int], bool] = {}  # what was decided at the rungs, by index and steps
        self._asked_all = bool(config.networks)  # for candidates; what remains is the finals
        self._finals = list(self._given_finals())
        self._selected = bool(config.networks)  # whether the networks on the front are among the finals
        self._again: list[Proposal] = []
        self._plan_finals()
        for event in events:
            self._take(event)
        # What was running when the run ended is trained again first, in the order proposed.
        self._again = list(self.running.values())
        self.running.clear()
        self._ended = self._failed = 0  # trials, in this process: whoever resumes has corrected something

    @property
    def planned(self) -> int:
        """Trials of the whole run as far as known: the finals are known once the search is over."""
        searched = len(self.algorithm.proposed) if self._asked_all else self.config.trials
        finals = self.config.finals
        to_select = 0 if self._selected else min(finals.most, searched)
        return searched + len(self._finals) + finals.repeats * to_select

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not self.running and not self._again and self._selected and self._next_final() is None

    def drain(self) -> None:
        """Nothing more is proposed from here on; what runs may end."""
        self.draining = True

    def propose(self) -> Proposal | None:
        """The next trial, recorded as running; None if there is none now: all done, or results are needed first."""
        if self.draining:
            return None
        proposal = self._again.pop(0) if self._again else self._next()
        if proposal is None:
            return None
        if proposal.index not in self.proposals:
            self._record(proposal)
        self.running[proposal.index] = proposal
        return proposal

    def observe(self, event: Rung | Completed | Failed) -> bool:
        """Records what a trial reported; False if it is to be stopped.

        A rung that a trial reached before its worker or the run was killed is neither recorded nor decided twice.

        Raises:
          InputError: it cannot be recorded; or it is, and too many have failed.
        """
        if not isinstance(event, Rung):
            self._record(event)
            self._check_failures(event)
            return False
        rung = (event.index, event.steps)
        if rung not in self._goes_on:
            self._record(event)
        if not self._goes_on[rung]:
            stopped = Stopped(event.index, event.steps, event.metrics, event.seconds)
            self._record(stopped)
            self._check_failures(stopped)
        return self._goes_on[rung]

    def note(self, text: str) -> None:
        """Records a line for whoever reads the ledger, and shows it to the watchers."""
        note = Note(text)
        self.ledger.append(note)
        self._show(note)

    def _check_failures(self, event: Completed | Stopped | Failed) -> None:
        self._ended += 1
        self._failed += isinstance(event, Failed)
        most, least = self.config.faults.most_failed, self.config.faults.least
        if isinstance(event, Failed) and self._ended >= least and self._failed > most * self._ended:
            found = f"{self._failed} of {self._ended} trials"
            rule = f"failed, and more than {most:g} of them end a search; the last one: {event.reason}"
            raise InputError("faults.most_failed", found, rule)

    def _record(self, event: Event) -> None:
        """Writes an event down before anything acts on it."""
        self.ledger.append(event)
        self._take(event)
        self._show(event)

    def _show(self, record: Event | Note) -> None:
        for watcher in self.watchers:
            watcher(record)

    def _take(self, event: Event) -> None:
        """Brings the state up to date with an event that is in the ledger."""
        self.algorithm.tell(event)
        if isinstance(event, Proposal):
            if event.index != len(self.proposals):
                rule = f"must have the index {len(self.proposals)}: a proposal before it is missing from the record"
                raise InputError("proposal", f"trial {event.index}", rule)
            lean = dataclasses.replace(event, architecture=_shared(event.architecture, self._parts))
            self.proposals[event.index] = lean
            self._times[event.genotype] += event.kind == "search"
            self.running[event.index] = event
            # A final tells that the search was over, also where it ended before all candidates that were planned.
            self._asked_all |= event.kind != "search" or len(self.algorithm.proposed) >= self.config.trials
        elif isinstance(event, Rung):
            self.rungs.setdefault(event.index, []).append(event)
            self._goes_on[event.index, event.steps] = self._decide(event)
        else:
            finished: Mapping[type, dict[int, Any]] = {
                Completed: self.completed,
                Stopped: self.stopped,
                Failed: self.failed,
            }
            finished[type(event)][event.index] = event
            self.running.pop(event.index, None)
        self._plan_finals()

    def _decide(self, rung: Rung) -> bool:
        """Whether a trial goes on; only candidates of the search compete."""
        proposal = self.proposals[rung.index]
        if proposal.kind != "search" or self._stopping is None:
            return True
        value = rung.metrics[self.config.statistic]
        return self._stopping.decide(rung.index, proposal.cost[self.config.costs[0]], rung.steps, value) == "continue"

    def _make_stopping(self) -> BandedStopping | None:
        stopping = self.config.early_stopping
        rungs = stopping.steps(self.config.training.steps)
        return stopping.banded(rungs, self.bands, self.config.objective) if rungs else None

    def _next(self) -> Proposal | None:
        if not self._asked_all:
            # The n-th question has a generator of its own, so that no state of one need be kept.
            asked = len(self.algorithm.proposed)
            try:
                genotype = self._asked(np.random.default_rng([self.config.seed, asked]))
            except Exhausted as error:
                self.note(f"the search ends after {asked} candidates: {error}")
                self._asked_all = True
                self._plan_finals()
            else:
                repeat = self._times[genotype]
                return self._proposal("search", "", genotype, self.algorithm.space.decode(genotype), repeat)
        final = self._next_final()
        return self._proposal(*final) if final else None

    def _asked(self, rng: np.random.Generator) -> Genotype:
        """Return the next candidate; checked, because the algorithm may be an extension."""
        genotype = self.algorithm.ask(rng)
        place = f"algorithm.{self.config.algorithm.name}"
        if not self.algorithm.space.contains(genotype) or genotype != self.algorithm.space.canonical(genotype):
            raise InputError(place, genotype, f"is no canonical genotype of the space {self.algorithm.space.name}")
        if not feasible(self.algorithm.space.count(np.array([genotype])), self.config.limits)[0]:
            raise InputError(place, genotype, "was proposed, although it is over a limit")
        return genotype

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
            cost=exact_cost(self.config, architecture),
            label=label,
        )

    def _given_finals(self) -> Iterator[Final]:
        """Finals that no result of the search decides: workers train them while the last candidates finish.

        These and the selected networks come from the most expensive down, so that all workers end together.
        """
        for repeat in range(self.config.finals.repeats):
            for each in self.config.networks:
                yield each.kind, each.label, None, architectures.from_dict(each.architecture), repeat
            for name, architecture in reversed([*self.references.items()]):
                yield "reference", name, None, architecture, repeat + 1

    def _plan_finals(self) -> None:
        """Adds the networks on the front to the finals, as soon as the last candidate has finished.

        With new seeds: those of the trials that put a network on the front must not confirm it.
        """
        unfinished = (*self.running.values(), *self._again)
        if self._selected or not self._asked_all or any(p.kind == "search" for p in unfinished):
            return
        self._selected = True
        front = [self.proposals[index] for index in reversed(self.front())]
        for repeat in range(self.config.finals.repeats):
            for proposal in front:
                architecture = architectures.from_dict(proposal.architecture)
                seed = self._times[proposal.genotype] + repeat
                self._finals.append(("finalist", f"trial {proposal.index}", proposal.genotype, architecture, seed))

    def _next_final(self) -> Final | None:
        proposed = len(self.proposals) - len(self.algorithm.proposed)
        return self._finals[proposed] if proposed < len(self._finals) else None

    def front(self) -> list[int]:
        """Trials of the search on the Pareto front of the costs and the statistic searched by, cheapest first.

        A network counts with what the surrogate expects of it: the best of many single trainings are lucky ones too.
        One that was tried several times counts once, under its first trial. At most `finals.most`: where there are
        more, those that together come to much hypervolume, so that near neighbours are left out.
        """
        repeats: dict[str, list[int]] = {}
        for index in self.completed:
            if self.proposals[index].kind == "search":
                repeats.setdefault(self.proposals[index].fingerprint, []).append(index)
        if not repeats:
            return []
        found = [first for first, *_ in repeats.values()]
        objective = self.config.objective
        points = np.array([np.mean([self.minimised(i, objective) for i in same], axis=0) for same in repeats.values()])
        if len(found) >= LEAST_TO_MODEL:
            points[:, -1] = objective.minimised(self._expected(repeats.values()))
        front = np.flatnonzero(non_dominated(points))
        most = self.config.finals.most
        if len(front) > most:
            best, worst = points[front].min(axis=0), points[front].max(axis=0)
            reference = worst + (worst - best) / max(1, most - 1)  # so that both ends count as others do
            front = front[greatest(points[front], reference, most)]
        return [found[i] for i in sorted(front, key=lambda i: points[i, 0])]

    def _expected(self, repeats: Collection[Sequence[int]]) -> np.ndarray:
        """The statistic searched by that the surrogate expects of each network, given its trials."""
        space, name = self.algorithm.space, self.config.objective.name
        trials = [index for same in repeats for index in same]
        genotypes = np.array([self.proposals[index].genotype for index in trials])
        measured = np.array([self.completed[index].metrics[name] for index in trials])
        mean = expected(Features(space, self.config.limits, self.config.costs[0]), genotypes, measured)
        return mean[np.cumsum([0, *(len(same) for same in repeats)])[:-1]]

    def minimised(self, index: int, objective: Objective) -> tuple[float, ...]:
        """The logarithms of the costs, and the minimised objective, of a completed trial."""
        value = objective.minimised(self.completed[index].metrics[objective.name])
        costs = (float(np.log(self.proposals[index].cost[name])) for name in self.config.costs)
        return *costs, float(value)
