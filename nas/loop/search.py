"""The loop of a search: from the events of the event log to the next proposal. Executors train the proposals.

First the planned number of candidates is requested from the algorithm. Then the published references and the networks
on the front are evaluated again with new seeds. If the configuration lists networks, these are trained instead of both.
Everything here is a function of the configuration and the events, so a killed run resumes as if it had not stopped.
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
from nas.config.searched_task import task_of
from nas.loop.algorithm import final_references, make_algorithm
from nas.loop.early_stopping import BinnedStopping
from nas.record.events import Completed, Event, Failed, Note, Proposal, Rung, Stopped
from nas.record.ledger_writer import LedgerWriter
from nas.record.objective import Objective
from nas.record.pareto import greatest, non_dominated
from nas.tasks.base import Described
from search_space.base.errors import InputError
from search_space.space.choices import Genotype
from search_space.space.sampling import feasible

LEAST_TO_MODEL = 8  # networks; with fewer the surrogate cannot correct measurements
SMALL = 100  # characters of a part that is worth sharing; there are few different ones


def trial_seed(run_seed: int, fingerprint: str, repeat: int) -> int:
    """Return the seed of one training, which does not depend on worker or order of arrival."""
    digest = hashlib.sha256(f"{run_seed}/{fingerprint}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def _shared(data: Any, parts: dict[str, Any]) -> Any:
    """Return equal plain data that shares equal small parts, such as layers, which are most of a run's memory.

    `parts` has the parts so far by their text; new ones are added.
    """
    if isinstance(data, Mapping):
        data = {key: _shared(value, parts) for key, value in data.items()}
    elif isinstance(data, list):
        data = [_shared(value, parts) for value in data]
    else:
        return data
    text = repr(data)
    return parts.setdefault(text, data) if len(text) <= SMALL else data


Final = tuple[str, str, Genotype | None, Described, int]  # kind, label, genotype, architecture, repeat


class Search:
    """Proposes trials, records events and decides on early stopping.

    Args:
      config: configuration of the run.
      ledger: event log that receives every event before anything acts on it.
      events: events already in the log, in order.
      algorithm: replaces the configured one.

    Trials are available by index: `proposals`, those `running` in this process, their `rungs`, and the `completed`,
    `stopped` and `failed` ones. `watchers` are called with every event and every note after it is recorded. While
    `draining`, no trial is started.
    The executor sets `room`, the number of parallel trials (None: not known yet), and `retried`, the number of attempts
    that ended in an error and were repeated.
    """

    def __init__(
        self,
        config: SearchConfig,
        ledger: LedgerWriter,
        events: Sequence[Event] = (),
        algorithm: Algorithm | None = None,
    ) -> None:
        self.config, self.ledger = config, ledger
        self.task = task_of(config)
        self.algorithm = algorithm or make_algorithm(config)
        self.bands = cost_strata(self.algorithm.space, config.limits, config.costs[0], config.early_stopping.bands)
        self.references = final_references(config)
        self.proposals: dict[int, Proposal] = {}
        self._times: Counter[Genotype | None] = Counter()  # number of proposals of each candidate
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
        self._parts: dict[str, Any] = {}  # shared parts of architectures
        self._continues: dict[tuple[int, int], bool] = {}  # decisions at the rungs, by index and steps
        self._asked_all = bool(config.networks)  # candidates are complete; re-evaluations remain
        self._finals = list(self._known_reevaluations())
        self._selected = bool(config.networks)  # True if the re-evaluations include the front
        self._again: list[Proposal] = []
        self._plan_reevaluations()
        for event in events:
            self._take(event)
        # Trials that were running when the run ended are trained first, in the order proposed.
        self._again = list(self.running.values())
        self.running.clear()
        self._ended = self._failed = 0  # in this process only, because the cause may be fixed before a resume

    @property
    def planned(self) -> int:
        """Trials of the whole run as far as known: re-evaluations are known once the search is over."""
        searched = len(self.algorithm.proposed) if self._asked_all else self.config.trials
        finals = self.config.finals
        to_select = 0 if self._selected else min(finals.most, searched)
        return searched + len(self._finals) + finals.repeats * to_select

    @property
    def finished(self) -> bool:
        """True if no training is left."""
        return not self.running and not self._again and self._selected and self._next_final() is None

    def drain(self) -> None:
        """Stop proposing trials; running ones may finish."""
        self.draining = True

    def propose(self) -> Proposal | None:
        """Return the next trial, recorded as running; None if all are done, or results are needed first."""
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
        """Record a report of a trial; return False if the trial must stop.

        A rung that was recorded before its worker or the run was killed is not recorded or decided again.

        Raises:
          InputError: the event cannot be recorded, or too many trials have failed.
        """
        if not isinstance(event, Rung):
            self._record(event)
            self._check_failures(event)
            return False
        rung = (event.index, event.steps)
        if rung not in self._continues:
            self._record(event)
        if not self._continues[rung]:
            stopped = Stopped(event.index, event.steps, event.metrics, event.seconds)
            self._record(stopped)
            self._check_failures(stopped)
        return self._continues[rung]

    def note(self, text: str) -> None:
        """Record a line in the event log, and show it to the watchers."""
        note = Note(text)
        self.ledger.append(note)
        self._show(note)

    def _check_failures(self, event: Completed | Stopped | Failed) -> None:
        self._ended += 1
        self._failed += isinstance(event, Failed)
        most, least = self.config.faults.most_failed, self.config.faults.least
        if isinstance(event, Failed) and self._ended >= least and self._failed > most * self._ended:
            found = f"{self._failed} of {self._ended} trials"
            rule = f"failed, above the limit {most:g} of faults.most_failed; the last one: {event.reason}"
            raise InputError("faults.most_failed", found, rule)

    def _record(self, event: Event) -> None:
        """Write an event to the log before anything acts on it."""
        self.ledger.append(event)
        self._take(event)
        self._show(event)

    def _show(self, record: Event | Note) -> None:
        for watcher in self.watchers:
            watcher(record)

    def _take(self, event: Event) -> None:
        """Update the state with an event of the log."""
        self.algorithm.tell(event)
        if isinstance(event, Proposal):
            if event.index != len(self.proposals):
                rule = f"must have the index {len(self.proposals)}: a proposal before it is missing from the event log"
                raise InputError("proposal", f"trial {event.index}", rule)
            lean = dataclasses.replace(event, architecture=_shared(event.architecture, self._parts))
            self.proposals[event.index] = lean
            self._times[event.genotype] += event.kind == "search"
            self.running[event.index] = event
            # A re-evaluation implies that the search was over, even before all planned candidates.
            self._asked_all |= event.kind != "search" or len(self.algorithm.proposed) >= self.config.trials
        elif isinstance(event, Rung):
            self.rungs.setdefault(event.index, []).append(event)
            self._continues[event.index, event.steps] = self._decide(event)
        else:
            finished: Mapping[type, dict[int, Any]] = {
                Completed: self.completed,
                Stopped: self.stopped,
                Failed: self.failed,
            }
            finished[type(event)][event.index] = event
            self.running.pop(event.index, None)
        self._plan_reevaluations()

    def _decide(self, rung: Rung) -> bool:
        """Return whether a trial continues; only candidates of the search compete."""
        proposal = self.proposals[rung.index]
        if proposal.kind != "search" or self._stopping is None:
            return True
        value = rung.metrics[self.config.statistic]
        return self._stopping.decide(rung.index, proposal.cost[self.config.costs[0]], rung.steps, value) == "continue"

    def _make_stopping(self) -> BinnedStopping | None:
        stopping = self.config.early_stopping
        rungs = stopping.steps(self.config.training.steps)
        return stopping.banded(rungs, self.bands, self.config.objective) if rungs else None

    def _next(self) -> Proposal | None:
        if not self._asked_all:
            # The n-th proposal has a separate generator, so that no generator state has to be stored.
            asked = len(self.algorithm.proposed)
            try:
                genotype = self._asked(np.random.default_rng([self.config.seed, asked]))
            except Exhausted as error:
                self.note(f"the search ends after {asked} candidates: {error}")
                self._asked_all = True
                self._plan_reevaluations()
            else:
                repeat = self._times[genotype]
                described = self.task.described(self.algorithm.space.decode(genotype))
                return self._proposal("search", "", genotype, described, repeat)
        final = self._next_final()
        return self._proposal(*final) if final else None

    def _asked(self, rng: np.random.Generator) -> Genotype:
        """Return the next candidate; checked, because the algorithm may be an extension."""
        genotype = self.algorithm.ask(rng)
        place = f"algorithm.{self.config.algorithm.name}"
        if not self.algorithm.space.contains(genotype) or genotype != self.algorithm.space.canonical(genotype):
            raise InputError(place, genotype, f"is not a canonical genotype of the space {self.algorithm.space.name}")
        if not feasible(self.algorithm.space.count(np.array([genotype])), self.config.limits)[0]:
            raise InputError(place, genotype, "was proposed, although it is above a limit")
        return genotype

    def _proposal(
        self, kind: str, label: str, genotype: Genotype | None, described: Described, repeat: int
    ) -> Proposal:
        return Proposal(
            index=len(self.proposals),
            kind=kind,
            genotype=genotype,
            architecture=described.architecture,
            fingerprint=described.fingerprint,
            repeat=repeat,
            seed=trial_seed(self.config.seed, described.fingerprint, repeat),
            cost=described.cost,
            label=label,
        )

    def _known_reevaluations(self) -> Iterator[Final]:
        """Return trainings that do not depend on results: workers train them while the last candidates finish.

        These and the selected networks are sorted by falling cost, so that all workers end together.
        """
        for repeat in range(self.config.finals.repeats):
            for each in self.config.networks:
                yield each.kind, each.label, None, self.task.described(each.network), repeat
            for name, described in reversed([*self.references.items()]):
                yield "reference", name, None, described, repeat + 1

    def _plan_reevaluations(self) -> None:
        """Add the networks on the front to the re-evaluations, as soon as the last candidate has finished.

        Seeds are new, because the trials that selected a network are biased.
        """
        unfinished = (*self.running.values(), *self._again)
        if self._selected or not self._asked_all or any(p.kind == "search" for p in unfinished):
            return
        self._selected = True
        front = [self.proposals[index] for index in reversed(self.front())]
        for repeat in range(self.config.finals.repeats):
            for proposal in front:
                described = Described(proposal.architecture, proposal.fingerprint, proposal.cost)
                seed = self._times[proposal.genotype] + repeat
                self._finals.append(("finalist", f"trial {proposal.index}", proposal.genotype, described, seed))

    def _next_final(self) -> Final | None:
        proposed = len(self.proposals) - len(self.algorithm.proposed)
        return self._finals[proposed] if proposed < len(self._finals) else None

    def front(self) -> list[int]:
        """Return search trials on the Pareto front of the costs and the objective statistic, cheapest first.

        Networks are compared by the expectation of the surrogate, because the best of many single trainings are also
        lucky ones. A network with several trials counts once, by its first trial. If there are more than `finals.most`,
        those with large common hypervolume are returned, which leaves out near neighbours.
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
            reference = worst + (worst - best) / max(1, most - 1)  # so that both ends have the same weight as others
            front = front[greatest(points[front], reference, most)]
        return [found[i] for i in sorted(front, key=lambda i: points[i, 0])]

    def _expected(self, repeats: Collection[Sequence[int]]) -> np.ndarray:
        """Return the surrogate's expectation of the objective statistic of each network, given its trials."""
        space, name = self.algorithm.space, self.config.objective.name
        trials = [index for same in repeats for index in same]
        genotypes = np.array([self.proposals[index].genotype for index in trials])
        measured = np.array([self.completed[index].metrics[name] for index in trials])
        mean = expected(Features(space, self.config.limits, self.config.costs[0]), genotypes, measured)
        return mean[np.cumsum([0, *(len(same) for same in repeats)])[:-1]]

    def minimised(self, index: int, objective: Objective) -> tuple[float, ...]:
        """Return the logarithms of the costs, and the minimised objective, of a completed trial."""
        value = objective.minimised(self.completed[index].metrics[objective.name])
        costs = (float(np.log(self.proposals[index].cost[name])) for name in self.config.costs)
        return *costs, float(value)
