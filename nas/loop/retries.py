"""Bookkeeping of trials in training, for executors whose workers can die: such trials are started again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

from nas.loop.search import Search
from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.base.errors import InputError, printable

LONGEST_REASON = 200  # characters
LATE = 1.5  # multiple of a trial's time limit after which a worker that failed to end itself is killed


class Retries:
    """Hands out a search's proposals, under the executor's names of trials.

    A trial whose worker dies is trained again from the start; the search is informed only after the last attempt.

    Attributes:
      fault: reason to end the run, such as a full disk.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.limits = search.config.faults
        self.fault: InputError | None = None
        self._running: dict[str, Proposal] = {}
        self._last: dict[str, float] = {}  # monotonic time of the last report of each trial in training
        self._again: list[Proposal] = []
        self._reasons: dict[int, list[str]] = {}  # of attempts that ended in an error, by the proposal's index

    @property
    def over(self) -> bool:
        """True if all trainings are finished or the run must end."""
        return self.fault is not None or self.search.finished or (self.search.draining and not self._running)

    @property
    def running(self) -> int:
        """Number of trials that have been handed out and have not ended."""
        return len(self._running)

    def propose(self, name: str) -> Proposal | None:
        """Return the proposal for the trial `name`; None if there is none now."""
        proposal = None
        with self._faults():
            if not self.search.draining:
                proposal = self._again.pop(0) if self._again else self.search.propose()
        if proposal is not None:
            self._running[name] = proposal
        return proposal

    def note(self, text: str) -> None:
        """Write a note for the user to the event log."""
        with self._faults():
            self.search.note(text)

    def errors(self, proposal: Proposal) -> int:
        """Return how many attempts at a proposal have ended in an error."""
        return len(self._reasons.get(proposal.index, ()))

    def begin(self, name: str) -> None:
        """Record that a worker trains the trial `name`; its time counts from the first such call."""
        self._last.setdefault(name, time.monotonic())

    def not_begun(self) -> list[str]:
        """Return the trials that wait for a worker."""
        return [name for name in self._running if name not in self._last]

    def overdue(self) -> list[str]:
        """Return trials without a report for so long that their workers failed to end themselves."""
        limit = LATE * self.limits.trial_seconds
        now = time.monotonic()
        return [name for name, last in self._last.items() if now - last > limit > 0]

    def observe(self, name: str, event: Rung | Completed | Failed) -> bool:
        """Record an event; return False if the trial must stop."""
        self._last[name] = time.monotonic()
        goes_on = False
        with self._faults():
            goes_on = self.search.observe(event)
        return goes_on

    def end(self, name: str) -> None:
        """Record the end of the trial `name`, after all its events were observed."""
        del self._running[name]
        self._last.pop(name, None)

    def hand_back(self, name: str) -> None:
        """Return the trial `name`, which was not started; it will be handed out again."""
        self._again.append(self._running[name])
        self.end(name)

    def die(self, name: str) -> None:
        """Record that the worker of the trial `name` died, perhaps because of the time limit; see `fail`."""
        limit = self.limits.trial_seconds
        # The clock of a worker that ends itself starts a little later than this one.
        late = limit and name in self._last and time.monotonic() - self._last[name] > 0.9 * limit
        self.fail(name, f"no result within {limit:g} s" if late else "its worker died")

    def fail(self, name: str, reason: str | InputError) -> None:
        """Record an error of the trial `name`; it will be handed out again unless this was the last attempt.

        If the last attempt ended in an `InputError`, for example for missing clips, the run ends.
        """
        index = self._running[name].index
        reasons = self._reasons.setdefault(index, [])
        reasons.append(printable(" ".join(str(reason).split()))[:LONGEST_REASON])
        if len(reasons) < self.limits.attempts:
            self.hand_back(name)
            self.search.retried += 1
            with self._faults():
                self.search.note(f"trial {index}: {reasons[-1]}; attempt {len(reasons)} of {self.limits.attempts}")
        elif isinstance(reason, InputError):
            self.end(name)
            self.fault = reason
        else:
            self.observe(name, Failed(index, _summary(reasons), len(reasons)))
            self.end(name)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Keep errors that must end the run from being treated as errors of a trial."""
        try:
            yield
        except InputError as error:
            self.fault = error


def _summary(reasons: list[str]) -> str:
    """Return one line with every reason once and its count."""
    return ", ".join(reason if n == 1 else f"{reason}, {n} times" for reason, n in Counter(reasons).items())
