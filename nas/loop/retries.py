"""Which proposals of a search are being trained, for executors whose workers can die: those are handed out again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator

from nas.loop.search import Search
from nas.record.events import Completed, Failed, Proposal, Rung
from search_space.base.errors import InputError, printable

LONGEST_REASON = 200  # characters
LATE = 1.5  # times what a trial is given, after which its worker, which should have ended itself, is ended from outside


class Attempts:
    """Hands out a search's proposals, by names that the executor gives its trials.

    A trial whose worker dies is trained again, from the start; the search hears of it only after the last attempt.

    Attributes:
      fault: why the run must end, such as a full disk.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.limits = search.config.faults
        self.fault: InputError | None = None
        self._running: dict[str, Proposal] = {}
        self._last: dict[str, float] = {}  # when those that are being trained gave their last sign, monotonic
        self._again: list[Proposal] = []
        self._reasons: dict[int, list[str]] = {}  # of attempts that ended in an error, by the proposal's index

    @property
    def over(self) -> bool:
        """Whether nothing more is to be trained."""
        return self.fault is not None or self.search.finished or (self.search.draining and not self._running)

    @property
    def running(self) -> int:
        """How many trials have been handed out and have not ended."""
        return len(self._running)

    def propose(self, name: str) -> Proposal | None:
        """What the trial `name` is to train; None if there is nothing now."""
        proposal = None
        with self._faults():
            if not self.search.draining:
                proposal = self._again.pop(0) if self._again else self.search.propose()
        if proposal is not None:
            self._running[name] = proposal
        return proposal

    def note(self, text: str) -> None:
        """Tells the user, and whoever reads the ledger."""
        with self._faults():
            self.search.note(text)

    def errors(self, proposal: Proposal) -> int:
        """How many attempts at a proposal have ended in an error."""
        return len(self._reasons.get(proposal.index, ()))

    def begin(self, name: str) -> None:
        """A worker is ready and trains the trial `name`; its time counts from the first such call on."""
        self._last.setdefault(name, time.monotonic())

    def not_begun(self) -> list[str]:
        """Trials that wait for a worker."""
        return [name for name in self._running if name not in self._last]

    def overdue(self) -> list[str]:
        """Trials without a sign for so long that their workers have not even been able to end themselves."""
        limit = LATE * self.limits.trial_seconds
        now = time.monotonic()
        return [name for name, last in self._last.items() if now - last > limit > 0]

    def observe(self, name: str, event: Rung | Completed | Failed) -> bool:
        """Records; False if the trial is to be stopped."""
        self._last[name] = time.monotonic()
        goes_on = False
        with self._faults():
            goes_on = self.search.observe(event)
        return goes_on

    def end(self, name: str) -> None:
        """The trial `name` has ended, and everything it gave was observed."""
        del self._running[name]
        self._last.pop(name, None)

    def hand_back(self, name: str) -> None:
        """The trial `name` was not begun; it will be handed out again."""
        self._again.append(self._running[name])
        self.end(name)

    def die(self, name: str) -> None:
        """The worker of the trial `name` died, perhaps as the trial took too long; as `fail`."""
        limit = self.limits.trial_seconds
        # A worker that ends itself counts from a little later than we do, but never by much.
        late = limit and name in self._last and time.monotonic() - self._last[name] > 0.9 * limit
        self.fail(name, f"no result within {limit:g} s" if late else "its worker died")

    def fail(self, name: str, reason: str | InputError) -> None:
        """The trial `name` ended in an error; it will be handed out again unless this was the last attempt.

        If that ended in an `InputError`, as for clips that are gone, the trial is not to blame: the run ends.
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
        """Keeps an executor from taking what must end the run for the error of a trial."""
        try:
            yield
        except InputError as error:
            self.fault = error


def _summary(reasons: list[str]) -> str:
    """One line: every reason once, with how often it came."""
    return ", ".join(reason if n == 1 else f"{reason}, {n} times" for reason, n in Counter(reasons).items())
