"""How far a search has come and how fast it gets on, as plain numbers for whoever shows them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from nas.loop.search import Search
from nas.record.events import Completed, Event, Stopped
from nas.record.hypervolume import GrowingFront, ranges_of_space
from nas.record.objective import ACCURACY

CURVE = 40  # values of the hypervolume's curve


@dataclass(frozen=True)
class Band:
    """One band of the first cost searched by: trials trained to the end, stopped early, and the best one's accuracy."""

    low: float
    high: float
    trained: int
    stopped: int
    best: int | None
    accuracy: float | None


@dataclass(frozen=True)
class Snapshot:
    """A search at one moment.

    Attributes:
      planned, done, stopped, failed: numbers of trials of the whole run.
      retried: attempts in this process that ended in an error and were not a trial's last.
      hypervolume: `nas.record.hypervolume` of the completed candidates, over all costs that the space allows.
      cost: name of the cost that the bands divide.
      curve: the hypervolume after each trial that ended; of many, `CURVE` evenly spaced ones, the last among them.
      bands: from the cheapest on.
    """

    planned: int
    done: int
    stopped: int
    failed: int
    retried: int
    hypervolume: float
    curve: tuple[float, ...]
    cost: str
    bands: tuple[Band, ...]


class Progress:
    """What a search has come to, event by event, as a long one is too long to be counted anew at each.

    To be made and told of events by the thread that changes the search.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trained, self.stopped = [0] * search.bands.count, [0] * search.bands.count
        self.best: list[Completed | None] = [None] * search.bands.count
        self.front = GrowingFront(ranges_of_space(search.algorithm.space, search.config.limits, search.config.costs))
        self.volumes: list[float] = []  # after each of the search's trials
        ended: list[Completed | Stopped] = [*search.completed.values(), *search.stopped.values()]
        for event in sorted(ended, key=lambda event: event.index):  # of those before, the order is not kept
            self.take(event)

    def take(self, event: Event) -> None:
        """Counts a trial that has ended; the searched ones have their place in a band."""
        if not isinstance(event, Completed | Stopped) or self.search.proposals[event.index].kind != "search":
            return
        band = self.search.bands.of(self.search.proposals[event.index].cost[self.search.config.costs[0]])
        if isinstance(event, Stopped):
            self.stopped[band] += 1
        else:
            self._complete(band, event)
        self.volumes.append(self.front.volume)

    def _complete(self, band: int, event: Completed) -> None:
        self.trained[band] += 1
        best = self.best[band]
        if best is None or event.metrics[ACCURACY.name] > best.metrics[ACCURACY.name]:
            self.best[band] = event
        cost = self.search.proposals[event.index].cost
        self.front.add([cost[name] for name in self.search.config.costs], event.metrics[ACCURACY.name])

    def snapshot(self) -> Snapshot:
        """The search as it is now."""
        search, places = self.search, np.linspace(0, len(self.volumes) - 1, min(CURVE, len(self.volumes)))
        return Snapshot(
            planned=search.planned,
            done=len(search.completed) + len(search.stopped) + len(search.failed),
            stopped=len(search.stopped),
            failed=len(search.failed),
            retried=search.retried,
            hypervolume=self.front.volume,
            curve=tuple(self.volumes[round(place)] for place in places),
            cost=search.config.costs[0],
            bands=tuple(map(self._band, range(search.bands.count))),
        )

    def _band(self, i: int) -> Band:
        low, high, best = *self.search.bands.edges[i : i + 2], self.best[i]
        named = (None, None) if best is None else (best.index, best.metrics[ACCURACY.name])
        return Band(low, high, self.trained[i], self.stopped[i], *named)


WARM_UP = 3  # trials, and the first one of every worker: processes start, functions are compiled


class Pace:
    """How fast this process gets on. `done`: trials that had ended before it began."""

    def __init__(self, done: int) -> None:
        self.before = done
        self.started = self.last = time.monotonic()
        self.taken, self.warm_up = 0, WARM_UP  # trials of this process, and of its warm-up
        self.warm = self.started  # when that was over

    def take(self, workers: int = 1) -> None:
        """Note that a trial has ended; `workers`: that run side by side."""
        self.last = time.monotonic()
        self.taken += 1
        self.warm_up = max(WARM_UP, workers)
        if self.taken <= self.warm_up:
            self.warm = self.last

    def elapsed(self) -> float:
        """Seconds since this process began."""
        return time.monotonic() - self.started

    def an_hour(self, now: Snapshot) -> float | None:
        """Trials that end in an hour; None before the first has."""
        done = now.done - self.before
        return done / max(self.last - self.started, 1e-3) * 3600 if done else None

    def time_left(self, now: Snapshot) -> float | None:
        """Seconds, by the pace since the warm-up; None before that is known and after the last trial of the run."""
        done, left = self.taken - self.warm_up, now.planned - now.done
        if done < 1 or left < 1:
            return None
        return max(0.0, (self.last - self.warm) / done * left - (time.monotonic() - self.last))
