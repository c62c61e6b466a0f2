"""Terminal panel of a search: counts, pace, a progress bar and a row for each FLOPs bin, in the available width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from nas.config.sections import ResourcesConfig
from nas.monitor.progress import Bin, Snapshot
from search_space.cost.labels import Label, label_of

WIDEST = 80  # characters of the progress bar
BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "  "


@dataclass(frozen=True)
class Panel:
    """Content of the panel.

    Attributes:
      now: state of the search.
      running: number of trials in training.
      room: number of possible parallel trials; None if unknown.
      resources: of a trial.
      an_hour: trials per hour, once one has ended.
      elapsed, left: seconds since this process started, and the estimated rest if known.
      stopping: True if no trial is started any more.
      note: the latest note, if any.
    """

    now: Snapshot
    running: int
    room: int | None
    resources: ResourcesConfig
    an_hour: float | None
    elapsed: float
    left: float | None
    stopping: bool
    note: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        blocks = console.encoding.startswith("utf")
        yield from _flow(self._counts(), width)
        yield from _flow([*self._volume(width // 4 if blocks else 0), *self._pace(), *self._workers()], width)
        yield Padding(ProgressBar(self.now.planned, self.now.done, width=min(WIDEST, width - 1)))  # ends the line
        if self.note:
            yield Text(self.note, overflow="ellipsis", no_wrap=True)
        yield _table(label_of(self.now.cost), self.now.bands)

    def _counts(self) -> Iterable[Text]:
        now = self.now
        yield Text(f"{now.done}/{now.planned} trials", "bold")
        yield Text(f"{self.running} running")
        yield Text(f"{now.stopped} stopped early")
        yield Text(f"{now.failed} failed", "red" if now.failed else "")
        if now.retried:
            yield Text(f"{now.retried} retried", "yellow")
        if self.stopping:
            yield Text("stopping", "bold")

    def _volume(self, width: int) -> Iterable[Text]:
        yield Text(f"hypervolume {self.now.hypervolume:.3f} {sparkline(self.now.curve, width)}".rstrip())

    def _pace(self) -> Iterable[Text]:
        if self.an_hour is not None:
            yield Text(f"{self.an_hour:.0f} trials/h")
        yield Text(duration(self.elapsed) + ("" if self.left is None else f", {duration(self.left)} left"))

    def _workers(self) -> Iterable[Text]:
        if self.room is not None:
            busy = min(self.running, self.room)
            gpus = f" and {_number(busy * self.resources.gpus, 'GPU')}" if self.resources.gpus else ""
            yield Text(f"{busy} of {self.room} workers busy, {_number(busy * self.resources.cpus, 'CPU')}{gpus}")


def _number(value: float, unit: str) -> str:
    return f"{value:g} {unit}{'' if value == 1 else 's'}"


def _flow(parts: Iterable[Text], width: int) -> Iterable[Text]:
    """Arrange the parts in lines of at most `width`; longer parts are cut."""
    line: Text | None = None
    for part in parts:
        if line is not None and line.cell_len + len(GAP) + part.cell_len > width:
            yield line
            line = None
        line = Text(no_wrap=True, overflow="ellipsis") + part if line is None else line + GAP + part
    if line is not None:
        yield line


def sparkline(curve: tuple[float, ...], width: int) -> str:
    """Return at most `width` characters with heights from the least to the greatest value; '' below two values."""
    if len(curve) < 2 or width < 2:
        return ""
    steps = min(width, len(curve))
    values = [curve[round(i * (len(curve) - 1) / (steps - 1))] for i in range(steps)]
    low, reach = min(values), max(max(values) - min(values), 1e-9)
    return "".join(BLOCKS[round((value - low) / reach * (len(BLOCKS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Return a readable duration: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _table(cost: Label, bands: tuple[Bin, ...]) -> Table:
    heading = Column(f"{cost.unit} {cost.short or cost.words}".strip(), no_wrap=True, max_width=24)
    table = Table(heading, "trained", "stopped", "best accuracy", "trial", box=None, pad_edge=False)
    for band in bands:
        best = ("-", "-") if band.accuracy is None else (f"{band.accuracy:.3f}", str(band.best))
        table.add_row(
            f"{cost.number(band.low)} to {cost.number(band.high)}", str(band.trained), str(band.stopped), *best
        )
    return table
