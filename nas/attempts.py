"""Which proposals of a search are being trained, for executors whose workers can die: those are handed out again."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from nas.search import Search
from nas.trials import Completed, Failed, Proposal, Rung
from search_space.errors import InputError

ATTEMPTS = 3  # of a trial that ends in an error, such as the death of its worker
LONGEST_REASON = 200  # characters


class Attempts:
    """Hands out a search's proposals, by names that the executor gives its trials.

    A trial whose worker dies is trained again, from the start; the search hears of it only after the last attempt.

    Attributes:
      fault: why nothing can be recorded any more, such as a full disk; the run must end.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.fault: InputError | None = None
        self._running: dict[str, Proposal] = {}
        self._again: list[Proposal] = []
        self._errors: Counter[int] = Counter()  # by the proposal's index

    @property
    def over(self) -> bool:
        """Whether nothing more is to be trained."""
        return self.fault is not None or self.search.finished

    def propose(self, name: str) -> Proposal | None:
        """What the trial `name` is to train; None if there is nothing now."""
        proposal = None
        with self._faults():
            proposal = self._again.pop(0) if self._again else self.search.propose()
        if proposal is not None:
            self._running[name] = proposal
        return proposal

    def errors(self, proposal: Proposal) -> int:
        """How many attempts at a proposal have ended in an error."""
        return self._errors[proposal.index]

    def observe(self, event: Rung | Completed | Failed) -> bool:
        """Records; False if the trial is to be stopped."""
        goes_on = False
        with self._faults():
            goes_on = self.search.observe(event)
        return goes_on

    def end(self, name: str) -> None:
        """The trial `name` has ended, and everything it gave was observed."""
        del self._running[name]

    def hand_back(self, name: str) -> None:
        """The trial `name` was not begun; it will be handed out again."""
        self._again.append(self._running.pop(name))

    def fail(self, name: str, reason: str) -> None:
        """The trial `name` ended in an error; it will be handed out again unless this was the last attempt."""
        index = self._running[name].index
        self._errors[index] += 1
        if self._errors[index] < ATTEMPTS:
            return self.hand_back(name)
        self.end(name)
        self.observe(Failed(index, f"{' '.join(reason.split())[:LONGEST_REASON]}, {ATTEMPTS} times", ATTEMPTS))

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Keeps an executor from taking what must end the run for the error of a trial."""
        try:
            yield
        except InputError as error:
            self.fault = error
