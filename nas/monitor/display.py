"""Display of a running search: a live panel on a terminal, plain lines elsewhere.

A separate thread draws the panel. It reads only a frozen `Snapshot` taken in the thread of the search, so no lock is
needed.
"""

from __future__ import annotations

from types import TracebackType
from typing import TextIO, cast

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment, SegmentLines

from nas.loop.search import Search
from nas.monitor.panel import Panel, duration
from nas.monitor.progress import Pace, Progress
from nas.monitor.unbreakable_stream import UnbreakableStream
from nas.record.events import Completed, Event, Failed, Note, Proposal, Stopped
from nas.record.objective import ACCURACY
from search_space.base.errors import printable
from search_space.cost.labels import label_of


class Display:
    """Watches a search: `with Display(search, stream, quiet): ...`. A stream that fails ends the display, not the run.

    Args:
      search: to be watched.
      stream: where to write; a live panel if it is a terminal.
      quiet: write nothing.
    """

    def __init__(self, search: Search, stream: TextIO, quiet: bool = False) -> None:
        self.search, self.stream = search, UnbreakableStream(stream)
        self.console = Console(file=cast(TextIO, self.stream), highlight=False)
        self.progress = Progress(search)
        self.now = self.progress.snapshot()
        self.pace = Pace(self.now.done)
        self.quiet = quiet
        self.note = ""  # the last note, such as the reason of a retry
        self.live: Live | None = None
        self.shown: list[int] = []  # widths of the lines of the panel on the terminal

    def __enter__(self) -> Display:
        self.search.watchers.append(self._event)
        if self.quiet:
            return self
        # Not the console's property, which FORCE_COLOR makes true for files as well.
        if self.stream.isatty() and not self.console.is_dumb_terminal:
            self.live = Live(get_renderable=self._drawn, console=self.console, refresh_per_second=2)
            self.live.start()
        elif self.now.done:
            self._write(f"resuming after {self.now.done} finished trials")
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
            self._say(event.text)
            self.now = self.progress.snapshot()  # it may report a failed attempt
            return
        self.progress.take(event)
        self.pace.take(self.search.room or 1)
        self.now = self.progress.snapshot()
        if isinstance(event, Failed):
            self.note = f"{_name(self.search.proposals[event.index])} {_result(event)}"
        if not self.live:
            self._write(self._line(event))

    def _say(self, text: str) -> None:
        self.note = text
        if not self.live:
            self._write(text)

    def _write(self, line: str) -> None:
        print(printable(line), file=self.stream, flush=True)

    def _line(self, event: Completed | Stopped | Failed) -> str:
        proposal, now, left = self.search.proposals[event.index], self.now, self.pace.time_left(self.now)
        done = f"[{now.done:>{len(str(now.planned))}}/{now.planned}]"
        cost = label_of(now.cost).quantity(proposal.cost[now.cost])
        trial = f"{_name(proposal):<17} {cost:>10}  {_result(event)}"
        end = "" if left is None else f"{duration(left)} left"
        return f"{done} {trial}  hypervolume {now.hypervolume:.3f}  {end}".rstrip()

    def panel(self) -> Panel:
        """Return the panel that a terminal shows now."""
        search, now = self.search, self.now
        return Panel(
            now=now,
            running=len(search.running),
            room=search.room,
            resources=search.config.resources,
            an_hour=self.pace.an_hour(now),
            elapsed=self.pace.elapsed(),
            left=self.pace.time_left(now),
            stopping=search.draining,
            note=printable(self.note),
        )

    def _drawn(self) -> SegmentLines:
        """Return the panel as lines of the current width; the last drawing is erased before."""
        lines = self.console.render_lines(self.panel(), pad=False)
        self._take_back(self.console.width)
        self.shown = [Segment.get_line_length(line) for line in lines[: self.console.height]]
        return SegmentLines(lines, new_lines=True)

    def _take_back(self, width: int) -> None:
        """Erase lines that a narrower terminal added by wrapping the shown ones.

        Before every drawing the number of drawn lines is erased; this erases the lines added by wrapping.
        """
        added = sum(max(0, length - 1) // width for length in self.shown)
        for _ in range(added):
            self.console.control(Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)))


def _name(proposal: Proposal) -> str:
    if proposal.kind == "search":
        return f"trial {proposal.index}"
    if proposal.kind == "finalist":
        return f"{proposal.label}, seed {proposal.repeat + 1}"
    return f"published {proposal.label}"


def _result(event: Completed | Stopped | Failed) -> str:
    if isinstance(event, Failed):
        return f"failed: {' '.join(event.reason.split())}"
    accuracy = f"accuracy {event.metrics[ACCURACY.name]:.3f}"
    return f"stopped at step {event.steps}, {accuracy}" if isinstance(event, Stopped) else accuracy
