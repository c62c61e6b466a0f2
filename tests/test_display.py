"""Test the display of a running search: lines in a file, a panel on a real pseudo-terminal, and never an error."""

from __future__ import annotations

import dataclasses
import io
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from played_run import begin, play, report, settings
from rich.console import Console
from terminal import Terminal

from nas.config.sections import AlgorithmConfig, EarlyStopping, ResourcesConfig
from nas.loop.search import Search
from nas.monitor.display import Display
from nas.monitor.panel import duration
from nas.monitor.progress import Progress, Snapshot
from nas.record.events import Completed, Failed, Proposal, Rung, Stopped
from nas.record.ledger_writer import LedgerWriter
from nas.record.objective import ACCURACY
from nas.record.pareto import hypervolume

ROOT = Path(__file__).parents[1]
COLUMNS = (60, 80, 200)
CHOSEN: dict[str, Any] = {
    "trials": 12,
    "algorithm": AlgorithmConfig("random"),
    "early_stopping": EarlyStopping(rungs=(0.5,), bands=3, minimum=2),
}

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LedgerWriter]:
    with begin(tmp_path / "run", settings(**CHOSEN)) as opened:
        yield opened


@pytest.fixture
def search(writer: LedgerWriter) -> Search:
    return Search(settings(**CHOSEN), writer)


class SaysItIsOne(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(search: Search, **options: int) -> list[str]:
    stream = io.StringIO()
    with Display(search, stream):
        play(search, **options)
    return stream.getvalue().splitlines()


def drawn(display: Display, columns: int) -> list[str]:
    """Return the panel as lines of text for a terminal of `columns` columns."""
    console = Console(file=io.StringIO(), width=columns, force_terminal=True, color_system="standard")
    console.print(display.panel())
    assert isinstance(console.file, io.StringIO)
    return plain(console.file.getvalue().rstrip("\n"))


def test_a_file_gets_one_plain_line_for_each_finished_trial(search: Search) -> None:
    lines = lines_of(search, failing=2)
    finished = len(search.completed) + len(search.stopped) + len(search.failed)
    assert len(lines) == finished and search.stopped and len(search.failed) == 1
    assert all(re.match(rf"\[ *{n}/\d+\] ", line) for n, line in enumerate(lines, 1))
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)
    text = "\n".join(lines)
    for index, completed in search.completed.items():
        assert f"accuracy {completed.metrics['accuracy']:.3f}" in text, index
    for stopped in search.stopped.values():
        assert f"trial {stopped.index} " in text and f"stopped at step {stopped.steps}" in text
    assert "failed: loss nan after 3 steps; try a lower learning rate" in text
    assert "seed 2" in text and "published a0" in text
    assert " left" not in lines[0] and " left" in lines[4] and " left" not in lines[-1]
    assert lines[-1].startswith(f"[{finished}/{finished}]")
    assert f"hypervolume {Progress(search).front.volume:.3f}" in lines[-1]


def test_hypervolume_never_falls_and_is_that_of_the_search(search: Search) -> None:
    values = [float(re.search(r"hypervolume ([\d.]+)", line)[1]) for line in lines_of(search)]  # type: ignore[index]
    assert values == sorted(values) and 0 < values[-1] < 1
    points = [search.minimised(i, ACCURACY) for i in search.completed if search.proposals[i].kind == "search"]
    low, high = np.log(search.bands.low), np.log(search.bands.high)
    grid = np.linspace(low, high, 20_000)
    best = [max((-accuracy for macs, accuracy in points if macs <= at), default=0) for at in grid]
    assert values[-1] == pytest.approx(np.mean(best), abs=2e-3)


def test_quiet_writes_nothing_and_leaves_nothing_behind(search: Search) -> None:
    for stream in (io.StringIO(), SaysItIsOne()):
        with Display(search, stream, quiet=True):
            play(search, trials=2)
        assert stream.getvalue() == "" and search.watchers == []


def test_a_run_that_is_resumed_says_so(search: Search) -> None:
    play(search, trials=3)
    stream = io.StringIO()
    with Display(search, stream) as display:
        assert stream.getvalue() == "resuming after 3 finished trials\n"
        assert display.pace.time_left(display.now) is None  # no pace is measured yet
        play(search, trials=4)
        assert display.pace.time_left(display.now) is not None
    assert "[ 7/" in stream.getvalue()


def test_the_panel_says_everything_and_never_wraps(search: Search) -> None:
    display = Display(search, io.StringIO())
    with display:
        empty = {columns: drawn(display, columns) for columns in COLUMNS}
        play(search, failing=1)
        search.running[99] = dataclasses.replace(search.proposals[0], index=99)
        search.room = 2
        search.config = dataclasses.replace(search.config, resources=ResourcesConfig(cpus=3, gpus=0.5))
        display.now = dataclasses.replace(display.now, retried=2)
        full = {columns: drawn(display, columns) for columns in COLUMNS}
    for columns in COLUMNS:
        assert max(map(len, [*empty[columns], *full[columns]])) <= columns
        assert len(empty[columns]) == 3 + 1 + 3  # counts, pace and bar; heading; FLOPs bins
        assert empty[columns][0].startswith("0/") and " 0 running " in empty[columns][0]
        check_panel(full[columns], display.now)


def check_panel(lines: list[str], now: Snapshot) -> None:
    text = "  ".join(line.rstrip() for line in lines)
    for said in (f"{now.done}/{now.planned} trials", "1 running", f"{now.stopped} stopped early", "1 failed"):
        assert said in text
    assert f"hypervolume {now.hypervolume:.3f} ▁" in text and "trials/h" in text
    assert "2 retried" in text and "1 of 2 workers busy, 3 CPUs and 0.5 GPUs" in text
    assert "trial 1 failed: loss nan after 3 steps" in text
    for line, band in zip(lines[-3:], now.bands, strict=True):
        cells = line.split()
        assert cells[:3] == [f"{band.low / 1e6:.2f}", "to", f"{band.high / 1e6:.2f}"]
        assert cells[3:5] == [str(band.trained), str(band.stopped)]
        assert cells[5:] == (["-", "-"] if band.best is None else [f"{band.accuracy:.3f}", str(band.best)])


def test_the_bands_hold_every_candidate_once_and_the_best_is_best(search: Search) -> None:
    play(search)
    bands = Progress(search).snapshot().bands
    trained = {i: each for i, each in search.completed.items() if search.proposals[i].kind == "search"}
    assert sum(band.trained for band in bands) == len(trained)
    assert sum(band.stopped for band in bands) == len(search.stopped) > 0
    for band in bands:
        accuracies = [
            each.metrics["accuracy"]
            for i, each in trained.items()
            if band.low <= search.proposals[i].cost["macs"] < band.high * (1 + 1e-9)
        ]
        assert band.accuracy == max(accuracies, default=None)


def test_event_by_event_it_comes_to_what_counting_anew_does(search: Search) -> None:
    display = Display(search, io.StringIO())
    with display:
        play(search)
    assert display.now == Progress(search).snapshot()
    searched = [search.minimised(i, ACCURACY) for i in search.completed if search.proposals[i].kind == "search"]
    low, high = np.log([search.bands.low, search.bands.high])
    exact = hypervolume(np.array(searched), np.array([high, 0.0])) / (high - low)
    assert display.now.hypervolume == pytest.approx(exact)


def test_time_left_comes_from_the_pace_and_counts_down(search: Search) -> None:
    display = Display(search, io.StringIO())
    with display:
        assert display.pace.time_left(display.now) is None
        play(search, trials=3)
        assert display.pace.time_left(display.now) is None  # the first trials start processes and compile
        play(search, trials=2)
        display.pace.warm = display.pace.last - 60
        left = display.pace.time_left(display.now)
        assert left == pytest.approx(30 * (search.planned - 5), abs=0.5)
        display.pace.last -= 20
        display.pace.warm -= 20
        assert display.pace.time_left(display.now) == pytest.approx(left - 20, abs=0.5)
        display.pace.last -= 10_000
        display.pace.warm -= 10_000
        assert display.pace.time_left(display.now) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min"), (1e6, "277 h 47 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Broken(io.StringIO):
    """A stream whose reader has closed it."""

    def __init__(self, error: Exception, terminal: bool = False) -> None:
        super().__init__()
        self.error, self.terminal = error, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        raise self.error


def test_a_stream_that_fails_ends_the_display_and_not_the_search(search: Search) -> None:
    for error in (BrokenPipeError(32, "pipe"), OSError(28, "full"), OSError(5, "gone"), ValueError("closed file")):
        for terminal in (False, True):
            with Display(search, Broken(error, terminal)) as display:
                play(search, trials=1)
            assert display.stream.failed and search.watchers == []
    assert len(search.completed) + len(search.stopped) == 8


def test_a_closed_file_and_an_encoding_without_the_letters(search: Search, tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    with Display(search, closed):
        play(search, trials=1)
    with (tmp_path / "ascii").open("w", encoding="ascii") as ascii_only, Display(search, ascii_only):
        index = search.propose().index  # type: ignore[union-attr]
        search.observe(Failed(index, "größer", 1))
    assert "failed: gr??er" in (tmp_path / "ascii").read_text(encoding="ascii")


def test_a_reason_of_several_lines_stays_on_one(search: Search) -> None:
    stream = io.StringIO()
    with Display(search, stream):
        index = search.propose().index  # type: ignore[union-attr]
        search.observe(Failed(index, "out of\nmemory", 1))
    assert stream.getvalue().count("\n") == 1 and "failed: out of memory" in stream.getvalue()


def test_drawing_all_the_time_disturbs_nobody(search: Search) -> None:
    """A thread draws as fast as it can while the search changes; a dictionary read there could change meanwhile."""
    display, errors, frames, over = Display(search, io.StringIO()), [], [0], threading.Event()

    def draw() -> None:
        while not over.is_set():
            try:
                drawn(display, 80)
                frames[0] += 1
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=draw)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with display:
            thread.start()
            play(search)
            while frames[0] < 20:
                time.sleep(0.01)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)
    assert errors == [] and search.finished


def test_a_panel_reads_nothing_that_the_search_changes(search: Search) -> None:
    """Displayed values except the number of running trials and the clock change only when a trial finishes."""
    display = Display(search, io.StringIO())
    with display:
        play(search, trials=2)
        before = display.now
        proposal = search.propose()
        assert proposal is not None and display.now is before
        report(search, proposal)
        assert display.now is not before and before.done == 2


def test_events_of_every_kind_are_taken(search: Search) -> None:
    seen: list[type] = []
    search.watchers.append(lambda event: seen.append(type(event)))
    with Display(search, io.StringIO()):
        play(search, failing=0)
    assert set(seen) == {Proposal, Rung, Completed, Stopped, Failed}


WAITING = """
import sys, time
from pathlib import Path
from played_run import begin, play, settings
from nas.monitor.display import Display
from nas.loop.search import Search
with begin(Path(sys.argv[1]), settings()) as writer:
    search = Search(settings(), writer)
    search.room = 2
    with Display(search, sys.stdout) as display:
        play(search, trials=3, failing=2)
        while not Path(sys.argv[2]).exists():
            time.sleep(0.05)
    print("the end")
"""
PROGRAM = """
import sys, time
from pathlib import Path
from played_run import begin, play, report, settings
from nas.monitor.display import Display
from nas.loop.search import Search
with begin(Path(sys.argv[1]), settings()) as writer:
    search = Search(settings(), writer)
    with Display(search, sys.stdout) as display:
        play(search, trials=2)
        proposal = search.propose()
        time.sleep(1.2)
        report(search, proposal)
        play(search, failing=4)
    print("the end")
"""


def plain(text: str) -> list[str]:
    """Return lines as written, without cursor movements and colours."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text)]


def program(folder: Path) -> list[object]:
    return [sys.executable, "-c", PROGRAM, folder]


@pytest.mark.parametrize("columns", [60, 200])
def test_a_live_panel_on_a_terminal(columns: int, tmp_path: Path) -> None:
    with Terminal(program(tmp_path / "run"), columns) as terminal:
        assert terminal.end() == 0, terminal.written.decode()
    lines, rows = terminal.lines(), terminal.rows()
    assert "Traceback" not in terminal.written.decode()
    assert max(map(len, lines)) <= columns
    assert any(re.match(r"2/\d+ trials  1 running", line) for line in lines), "drawn while nothing happened"
    seen = "  ".join(rows)
    assert re.match(r"(\d+)/\1 trials  0 running  \d+ stopped early  1 failed", seen), "nothing above the panel"
    assert seen.count("hypervolume") == seen.count("best accuracy") == 1 and rows[-1] == "the end"
    assert terminal.written.count(b"\x1b[?25l") == terminal.written.count(b"\x1b[?25h") == 1  # the cursor is visible


@pytest.mark.parametrize("breaks", [True, False])
def test_a_terminal_that_is_resized_has_one_panel_on_it(breaks: bool, tmp_path: Path) -> None:
    """Resize to more columns than the panel has, to fewer, and to too few for its table."""
    go_on = tmp_path / "go on"
    with Terminal([sys.executable, "-c", WAITING, tmp_path / "run", go_on], 200, breaks) as terminal:
        terminal.read(lambda: "trial 2 failed" in "".join(terminal.rows()))
        for columns in (60, 120, 44, 80):
            terminal.resize(columns)
            drawn = len(terminal.written)
            terminal.read(lambda drawn=drawn: terminal.written.count(b" running", drawn) >= 2)
            rows = terminal.rows()
            assert "  ".join(rows).count(" running") == "  ".join(rows).count("trials/h") == 1, "\n".join(rows)
            assert max(map(len, rows)) <= columns
        go_on.touch()
        assert terminal.end() == 0, terminal.written.decode()
    assert "Traceback" not in terminal.written.decode() and terminal.rows()[-1] == "the end"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path) -> None:
    with Terminal(program(tmp_path / "run"), 80, TERM="dumb") as terminal:
        assert terminal.end() == 0
    text = terminal.written.decode()
    assert "\x1b" not in text and "[1/" in text.replace(" ", "")


def test_forced_colours_do_not_make_a_file_a_terminal(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not any("\x1b" in line for line in lines_of(search, trials=2))
