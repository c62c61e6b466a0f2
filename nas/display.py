"""What a search looks like while it runs: a live panel on a terminal, plain lines anywhere else.

A terminal's panel is drawn by a thread of its own. It reads only a `Snapshot`, which is frozen and taken where the
search runs, so that neither can trip over the other and no lock is needed.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO, cast

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.objective import ACCURACY
from nas.pareto import hypervolume
from nas.search import Search
from nas.trials import Completed, Event, Failed, Note, Proposal, Stopped
from search_space.errors import printable

WIDEST = 80  # characters of the progress bar


@dataclass(frozen=True)
class Band:
    """One band of cost, in multiply-adds: trials trained to the end, stopped early, and the best one's accuracy."""

    low: float
    high: float
    trained: int
    stopped: int
    best: int | None
    accuracy: float | None


@dataclass(frozen=True)
class Snapshot:
    """A search at one moment: numbers of trials, the share of the plane that its front dominates, and its bands."""

    planned: int
    done: int
    stopped: int
    failed: int
    hypervolume: float
    bands: tuple[Band, ...]


class Progress:
    """What a search has come to, event by event, as a long one is too long to be counted anew at each.

    To be made and told of events by the thread that changes the search.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trained, self.stopped = [0] * search.bands.count, [0] * search.bands.count
        self.best: list[Completed | None] = [None] * search.bands.count
        self.front: list[tuple[float, float]] = []  # log cost (the first) and minimised accuracy
        ended: list[Event] = [*search.completed.values(), *search.stopped.values()]
        for event in ended:
            self.take(event)

    def take(self, event: Event) -> None:
        """Counts a trial that has ended; the searched ones have their place in a band."""
        if not isinstance(event, Completed | Stopped) or self.search.proposals[event.index].kind != "search":
            return
        band = self.search.bands.of(self.search.proposals[event.index].cost["macs"])
        if isinstance(event, Stopped):
            self.stopped[band] += 1
            return
        self.trained[band] += 1
        best = self.best[band]
        if best is None or event.metrics[ACCURACY.name] > best.metrics[ACCURACY.name]:
            self.best[band] = event
        value = self.search.minimised(event.index)
        self.front = _improved(self.front, (value[0], value[-1]))

    def hypervolume(self) -> float:
        """Share of the space's rectangle of log cost and accuracy that the search's front dominates, 0 to 1."""
        low, high = np.log(self.search.bands.low), np.log(self.search.bands.high)
        reference = np.array([high, ACCURACY.minimised(0.0)])
        return float(hypervolume(np.reshape(self.front, (-1, 2)), reference) / max(high - low, 1e-9))

    def snapshot(self) -> Snapshot:
        """The search as it is now."""
        search = self.search
        return Snapshot(
            planned=search.planned,
            done=len(search.completed) + len(search.stopped) + len(search.failed),
            stopped=len(search.stopped),
            failed=len(search.failed),
            hypervolume=self.hypervolume(),
            bands=tuple(map(self._band, range(search.bands.count))),
        )

    def _band(self, i: int) -> Band:
        low, high, best = *self.search.bands.edges[i : i + 2], self.best[i]
        named = (None, None) if best is None else (best.index, best.metrics[ACCURACY.name])
        return Band(low, high, self.trained[i], self.stopped[i], *named)


def _improved(front: list[tuple[float, float]], point: tuple[float, float]) -> list[tuple[float, float]]:
    """A front with one point more, both minimised; in no order."""
    x, y = point
    if any(a <= x and b <= y for a, b in front):
        return front
    return [*(each for each in front if each[0] < x or each[1] < y), point]


def duration(seconds: float) -> str:
    """As a person would say it: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Forgiving(io.TextIOBase):
    """A stream that writes nothing more once it has failed: no reader, a full disk, a terminal that was closed."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.failed = stream, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        self._attempt(self.stream.write, text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def isatty(self) -> bool:
        return bool(self._attempt(self.stream.isatty))

    def _attempt(self, action: Callable[..., object], *arguments: object) -> object:
        if not self.failed:
            try:
                return action(*arguments)
            except (OSError, ValueError):  # ValueError: a closed file
                self.failed = True
        return None


class Display:
    """Watches a search: `with Display(search, stream, quiet): ...`. A stream that fails ends the display, not the run.

    Args:
      search: to be watched.
      stream: where to write; a live panel if it is a terminal.
      quiet: writes nothing.
    """

    def __init__(self, search: Search, stream: TextIO, quiet: bool = False) -> None:
        self.search, self.stream = search, Forgiving(stream)
        self.console = Console(file=cast(TextIO, self.stream), highlight=False)
        self.started = self.last = time.monotonic()
        self.progress = Progress(search)
        self.now = self.progress.snapshot()
        self.before = self.now.done
        self.quiet = quiet
        self.note = ""  # the last one, such as why a trial is trained again
        self.live: Live | None = None

    def __enter__(self) -> Display:
        self.search.watchers.append(self._event)
        if self.quiet:
            return self
        # Not the console's word for it: FORCE_COLOR makes that true of files as well.
        if self.stream.isatty() and not self.console.is_dumb_terminal:
            self.live = Live(get_renderable=self.panel, console=self.console, refresh_per_second=2)
            self.live.start()
        elif self.before:
            self._write(f"carrying on after {self.before} finished trials")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.search.watchers.remove(self._event)
        if self.live:
            self.live.stop()

    def _event(self, event: Event | Note) -> None:
        if self.quiet or not isinstance(event, Completed | Stopped | Failed | Note):
            return
        if isinstance(event, Note):
            self.note = event.text
            if not self.live:
                self._write(self.note)
            return
        self.progress.take(event)
        self.now, self.last = self.progress.snapshot(), time.monotonic()
        if not self.live:
            self._write(self._line(event))

    def _write(self, line: str) -> None:
        print(printable(line), file=self.stream, flush=True)

    def time_left(self) -> float | None:
        """Seconds, from the pace of this process; None before its first trial has finished and after its last."""
        done, left = self.now.done - self.before, self.now.planned - self.now.done
        if done < 1 or left < 1:
            return None
        return max(0.0, (self.last - self.started) / done * left - (time.monotonic() - self.last))

    def _left(self) -> str:
        left = self.time_left()
        return "" if left is None else f"{duration(left)} left"

    def _line(self, event: Completed | Stopped | Failed) -> str:
        proposal, now = self.search.proposals[event.index], self.now
        done = f"[{now.done:>{len(str(now.planned))}}/{now.planned}]"
        trial = f"{_name(proposal):<17} {proposal.cost['macs'] / 1e6:8.2f} M  {_result(event)}"
        return f"{done} {trial}  hypervolume {now.hypervolume:.3f}  {self._left()}".rstrip()

    def panel(self) -> Group:
        """What a terminal shows: three lines, a note if there is one, then a row for each band."""
        now, running = self.now, len(self.search.running)
        trials = Text.assemble(
            (f"{now.done}/{now.planned} trials", "bold"),
            f"  {running} running  {now.stopped} stopped early  ",
            (f"{now.failed} failed", "red" if now.failed else ""),
            ("  stopping" if self.search.draining else "", "bold"),
        )
        elapsed, left = duration(time.monotonic() - self.started), self._left()
        times = Text(f"hypervolume {now.hypervolume:.3f}  {elapsed}" + (f", {left}" if left else ""))
        bar = ProgressBar(now.planned, now.done, width=min(WIDEST, self.console.width - 1))
        note = [Text(self.note, overflow="ellipsis", no_wrap=True)] if self.note else []
        return Group(trials, times, Padding(bar), *note, _table(now.bands))  # a bar alone does not end its line


def _table(bands: tuple[Band, ...]) -> Table:
    table = Table("M multiply-adds", "trained", "stopped", "best accuracy", "trial", box=None, pad_edge=False)
    for band in bands:
        best = ("-", "-") if band.accuracy is None else (f"{band.accuracy:.3f}", str(band.best))
        table.add_row(f"{band.low / 1e6:.2f} to {band.high / 1e6:.2f}", str(band.trained), str(band.stopped), *best)
    return table


def _name(proposal: Proposal) -> str:
    if proposal.kind == "search":
        return f"trial {proposal.index}"
    return f"{proposal.label} again {proposal.repeat}" if proposal.kind == "finalist" else f"published {proposal.label}"


def _result(event: Completed | Stopped | Failed) -> str:
    if isinstance(event, Failed):
        return f"failed: {' '.join(event.reason.split())}"
    accuracy = f"accuracy {event.metrics[ACCURACY.name]:.3f}"
    return f"stopped at step {event.steps}, {accuracy}" if isinstance(event, Stopped) else accuracy
