"""Progress and speed of a search as plain numbers."""

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
class Bin:
    """One bin of the first cost objective: fully trained trials, early stopped ones, and the best accuracy."""

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
      retried: attempts in this process that ended in an error and were repeated.
      hypervolume: `nas.record.hypervolume` of the completed candidates, over all costs that the space allows.
      cost: name of the cost of the bins.
      curve: the hypervolume after each ended trial; above `CURVE` values evenly spaced ones, including the last.
      bands: bins in order of cost.
    """

    planned: int
    done: int
    stopped: int
    failed: int
    retried: int
    hypervolume: float
    curve: tuple[float, ...]
    cost: str
    bands: tuple[Bin, ...]


class Progress:
    """Progress of a search, updated by events, because recounting a long search is slow.

    Only the thread of the search may create and update it.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trained, self.stopped = [0] * search.bands.count, [0] * search.bands.count
        self.best: list[Completed | None] = [None] * search.bands.count
        self.front = GrowingFront(ranges_of_space(search.algorithm.space, search.config.limits, search.config.costs))
        self.volumes: list[float] = []  # after each of the search's trials
        ended: list[Completed | Stopped] = [*search.completed.values(), *search.stopped.values()]
        for event in sorted(ended, key=lambda event: event.index):  # the order of earlier ones is not stored
            self.take(event)

    def take(self, event: Event) -> None:
        """Count a trial that has ended; search trials also in their bin."""
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
        """Return the current state of the search."""
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

    def _band(self, i: int) -> Bin:
        low, high, best = *self.search.bands.edges[i : i + 2], self.best[i]
        named = (None, None) if best is None else (best.index, best.metrics[ACCURACY.name])
        return Bin(low, high, self.trained[i], self.stopped[i], *named)


WARM_UP = 3  # warm-up trials, besides the first one of every worker: processes start, functions are compiled


class Pace:
    """Speed of this process. `done`: number of trials that had ended before it started."""

    def __init__(self, done: int) -> None:
        self.before = done
        self.started = self.last = time.monotonic()
        self.taken, self.warm_up = 0, WARM_UP  # number of trials of this process, and of its warm-up
        self.warm = self.started  # end of the warm-up

    def take(self, workers: int = 1) -> None:
        """Record that a trial has ended; `workers`: number of parallel ones."""
        self.last = time.monotonic()
        self.taken += 1
        self.warm_up = max(WARM_UP, workers)
        if self.taken <= self.warm_up:
            self.warm = self.last

    def elapsed(self) -> float:
        """Return the seconds since this process started."""
        return time.monotonic() - self.started

    def an_hour(self, now: Snapshot) -> float | None:
        """Return the trials per hour; None before the first has ended."""
        done = now.done - self.before
        return done / max(self.last - self.started, 1e-3) * 3600 if done else None

    def time_left(self, now: Snapshot) -> float | None:
        """Return the estimated seconds by the pace since the warm-up; None if unknown, or after the last trial."""
        done, left = self.taken - self.warm_up, now.planned - now.done
        if done < 1 or left < 1:
            return None
        return max(0.0, (self.last - self.warm) / done * left - (time.monotonic() - self.last))
