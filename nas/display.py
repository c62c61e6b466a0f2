"""What a search looks like while it runs: a live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.objective import ACCURACY
from nas.pareto import hypervolume
from nas.search import Search
from nas.trials import Completed, Event, Failed, Proposal, Stopped


def progress_hypervolume(search: Search) -> float:
    """Share of the space's (log multiply-adds, accuracy) rectangle that the search's front dominates, 0 to 1."""
    found = [i for i in search.completed if search.proposals[i].kind == "search"]
    low, high = np.log(search.bands.low), np.log(search.bands.high)
    points = np.array([search.minimised(i) for i in found]).reshape(-1, 2)
    reference = np.array([high, ACCURACY.minimised(0.0)])
    return float(hypervolume(points, reference) / max(high - low, 1e-9))


def duration(seconds: float) -> str:
    """As a person would say it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Display:
    """Watches a search: `with Display(search, stream, quiet): ...`.

    Args:
      search: to be watched.
      stream: where to write; a live panel if it is a terminal.
      quiet: writes nothing.
    """

    def __init__(self, search: Search, stream: TextIO, quiet: bool = False) -> None:
        self.search, self.quiet = search, quiet
        self.console = Console(file=stream, highlight=False)
        self.started = time.monotonic()
        self.before = self._finished()
        self.live: Live | None = None

    def __enter__(self) -> Display:
        self.search.watchers.append(self._event)
        if self.quiet:
            return self
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._panel, console=self.console, refresh_per_second=2)
            self.live.start()
        elif self.before:
            self.console.print(f"carrying on after {self.before} finished trials")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.search.watchers.remove(self._event)
        if self.live:
            self.live.stop()

    def _finished(self) -> int:
        return len(self.search.completed) + len(self.search.stopped) + len(self.search.failed)

    def time_left(self) -> float | None:
        """Seconds, from the pace of this process; None before the first trial has finished."""
        done = self._finished() - self.before
        if not done:
            return None
        left = self.search.planned - self._finished()
        return (time.monotonic() - self.started) / done * left

    def _event(self, event: Event) -> None:
        if self.live or self.quiet or not isinstance(event, Completed | Stopped | Failed):
            return
        left = self.time_left()
        status = f"[{self._finished():>3}/{self.search.planned}]"
        tail = f"  hypervolume {progress_hypervolume(self.search):.3f}"
        tail += f"  {duration(left)} left" if left is not None and self.search.planned > self._finished() else ""
        self.console.print(f"{status} {self._line(event)}{tail}", soft_wrap=True, markup=False)

    def _line(self, event: Completed | Stopped | Failed) -> str:
        proposal = self.search.proposals[event.index]
        name = f"{_name(proposal):<17} {proposal.cost['macs'] / 1e6:8.2f} M"
        if isinstance(event, Failed):
            return f"{name}  failed: {event.reason}"
        accuracy = f"{event.metrics[ACCURACY.name]:.3f}"
        if isinstance(event, Stopped):
            return f"{name}  stopped at step {event.steps}, accuracy {accuracy}"
        return f"{name}  accuracy {accuracy}"

    def _panel(self) -> Group:
        search, done = self.search, self._finished()
        left = self.time_left()
        head = Text.assemble(
            (f"{done}/{search.planned} trials", "bold"),
            f"  {len(search.running)} running  {len(search.stopped)} stopped early  ",
            (f"{len(search.failed)} failed", "red" if search.failed else ""),
            f"  hypervolume {progress_hypervolume(search):.3f}",
            f"  {duration(time.monotonic() - self.started)}",
            f", {duration(left)} left" if left is not None else "",
        )
        width = min(80, self.console.width - 1)
        return Group(head, ProgressBar(search.planned, done, width=width), self._bands())

    def _bands(self) -> Table:
        table = Table("band, M multiply-adds", "trained", "stopped", "best accuracy", "trial", box=None, pad_edge=False)
        edges = self.search.bands.edges
        for band in range(self.search.bands.count):
            trained = self._of_band(self.search.completed, band)
            stopped = self._of_band(self.search.stopped, band)
            best = max(trained, key=lambda i: self.search.completed[i].metrics[ACCURACY.name], default=None)
            accuracy = "-" if best is None else f"{self.search.completed[best].metrics[ACCURACY.name]:.3f}"
            row = f"{edges[band] / 1e6:.2f} to {edges[band + 1] / 1e6:.2f}", str(len(trained)), str(len(stopped))
            table.add_row(*row, accuracy, "-" if best is None else str(best))
        return table

    def _of_band(self, finished: dict[int, Completed] | dict[int, Stopped], band: int) -> list[int]:
        proposals = self.search.proposals
        searched = (i for i in list(finished) if proposals[i].kind == "search")
        return [i for i in searched if self.search.bands.of(proposals[i].cost["macs"]) == band]


def _name(proposal: Proposal) -> str:
    if proposal.kind == "search":
        return f"trial {proposal.index}"
    return f"{proposal.label} again {proposal.repeat}" if proposal.kind == "finalist" else f"published {proposal.label}"
