"""Time to write a report, and to open it.

    python tests/benchmarks/report_speed.py [--candidates 1000 10000]

For each number of candidates the real search records an event log, simulated (nothing is trained). Two things are
timed. The first is `run_search.py report` as a process. The second is navigation in headless Chromium, five times, to
the mark `interactive` and to the first frame after it. The page sets this mark when the Pareto front is drawn and can
be pointed at.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import scale

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from browser import browser  # noqa: E402

TIMES = 5
OPENED = """() => new Promise((done) => {
  const ready = performance.getEntriesByName("interactive")[0].startTime;
  requestAnimationFrame(() => setTimeout(() => done([ready, performance.now()])));
})"""


def command(arguments: list[str]) -> float:
    """Return the wall-clock seconds of a command."""
    start = time.monotonic()
    subprocess.run([sys.executable, str(ROOT / "run_search.py"), *arguments], check=True, capture_output=True)
    return time.monotonic() - start


def opened(page: Path) -> list[tuple[float, float]]:
    """Return the seconds to the mark and to the frame after it, each time in a new page of one browser."""
    times = []
    with browser() as chromium:
        for _ in range(TIMES):
            view = chromium.new_page()
            view.goto(page.as_uri())
            ready, painted = view.evaluate(OPENED)
            times.append((ready / 1000, painted / 1000))
            view.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1000, 10000])
    with tempfile.TemporaryDirectory() as folder:
        for candidates in parser.parse_args().candidates:
            ran = Path(folder) / str(candidates)
            scale.recorded(ran, candidates)
            seconds = command(["report", str(ran)])
            size = (ran / "report.html").stat().st_size / 1e6
            ready, painted = (statistics.median(each) for each in zip(*opened(ran / "report.html"), strict=True))
            print(f"{candidates} candidates: written in {seconds:.1f} s, {size:.1f} MB;", end=" ")
            print(f"interactive after {ready:.2f} s, painted after {painted:.2f} s (medians of {TIMES})", flush=True)


if __name__ == "__main__":
    main()
