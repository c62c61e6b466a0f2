"""Search overhead at a large scale: simulated trials by the ten thousand, on 64 logical workers.

    python tests/benchmarks/scale.py [--trials 10000] [--workers 64] [--recorded 100000] [--write]

Takes about half an hour on two cores, most of it for the search. Measurements:

- a search with Ray whose evaluations take no time: CPU seconds of the driver per candidate, its resident memory,
  the number of trials in flight, and the memory of a worker's process. Other load on the machine raises the CPU time of
  the same work by half. Therefore a new search runs at the same time as the second and the last tenth, and the cost of
  a candidate is compared with that in the new search in the same minutes;
- the time from `--resume` of that run, with its last hundred lines cut off, to the first new line of its event log;
- `plot` of it;
- the reading and analysing commands on an event log of `--recorded` trials, written here without training;
- the time of the default algorithm for a proposal after parts of these results.

Seconds are wall-clock seconds and, in brackets, CPU seconds: on a busy machine compare the latter.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import section

from nas.algorithms.base import Algorithm, as_genotype
from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.sections import AlgorithmConfig, EarlyStopping, SimulationConfig
from nas.evaluation.simulation import DATA_HASH, Simulation
from nas.loop import run_folder
from nas.loop.search import Search
from nas.record.events import Completed, Event, Failed, Record, Stopped, to_dict
from nas.record.ledger import Header
from nas.record.ledger_writer import LedgerWriter
from search_space.space.choices import Genotype
from search_space.space.movinet import movinet_space

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = section.DOCUMENT
MB = 2**20
TRAINABLES = (b"ray::TrainProposal", b"ray::ResourceTrainable")  # Ray's names of a waiting and of a working process
PLAIN = AlgorithmConfig("stratified_random")
MODELLED = AlgorithmConfig("frontier_search", {"start_genotypes": [], "random_every": 0})  # all proposals are modelled
STARTING = 300  # trials of the long search while a new one starts
LEFT = 100  # lines cut off before a run is resumed


def settings(trials: int, workers: int, algorithm: AlgorithmConfig = PLAIN) -> SearchConfig:
    """Return the simulated default search with constant time per proposal; half of the trials are stopped."""
    whole = dataclasses.replace(search_config.load("default"), trials=trials, workers=workers)
    whole = dataclasses.replace(whole, early_stopping=EarlyStopping((0.4,)))
    return dataclasses.replace(whole, algorithm=algorithm, simulation=SimulationConfig())


@dataclasses.dataclass
class Watcher:
    """Samples the driver at every hundredth trial that ends.

    Attributes:
      rows: trials, the machine's clock in seconds, CPU seconds, resident memory in MB, trials in flight.
      workers: number of worker processes, and the memory of one in MB.
    """

    search: Search
    rows: list[tuple[int, float, float, float, int]] = dataclasses.field(default_factory=list)
    workers: tuple[int, float] = (0, 0.0)
    ended: int = 0

    def __call__(self, record: Event | Record) -> None:
        if not isinstance(record, Completed | Stopped | Failed):
            return
        self.ended += 1
        if self.ended % 100 == 0:
            memory, running = resident(os.getpid()), len(self.search.running)
            self.rows.append((self.ended, time.monotonic(), time.process_time(), memory, running))
        if self.ended == 300:
            found = [shared_out(pid) for pid in workers_of(os.getsid(0))]
            self.workers = len(found), float(np.mean(found)) if found else 0.0


def resident(pid: int) -> float:
    """Return the resident memory of a process, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def shared_out(pid: int) -> float:
    """Return the memory of a process with its share of shared pages, MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def workers_of(session: int) -> list[int]:
    """Return the processes of Ray's trials in a session."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            if of == session and (folder / "cmdline").read_bytes().startswith(TRAINABLES):
                found.append(int(folder.name))
    return found


def machinery(folder: Path, trials: int, workers: int) -> dict[str, Any]:
    """Run a search with Ray; its progress display writes to the null device."""
    from nas.monitor.display import Display

    watchers: list[Watcher] = []

    @contextlib.contextmanager
    def watch(search: Search) -> Iterator[None]:
        watchers.append(Watcher(search))
        search.watchers.append(watchers[0])
        with open(os.devnull, "w") as nowhere, Display(search, nowhere):
            yield

    begun = time.monotonic()
    run_folder.start(settings(trials, workers), folder, "ray", watch)
    (found,) = watchers
    return {"rows": found.rows, "workers": found.workers, "seconds": time.monotonic() - begun}


def resume(folder: Path, began: float) -> dict[str, Any]:
    """Return the seconds from the start of this process, at `began`, to the first new proposal in the event log."""

    class Enough(Exception):
        pass

    def enough(record: Event | Record) -> None:
        raise Enough

    @contextlib.contextmanager
    def watch(search: Search) -> Iterator[None]:
        search.watchers.append(enough)
        yield

    with contextlib.suppress(Enough):
        run_folder.resume(folder, "serial", watch)
    return {"seconds": time.time() - began, "cpu": time.process_time()}


class Drawn(Algorithm):
    """Architectures drawn beforehand over the whole range of cost: proposing takes no time."""

    def draw(self, n: int) -> Drawn:
        rng = np.random.default_rng(0)
        drawn = self.space.sample(rng, n + n // 4, 40.0 * rng.uniform(-1.0, 1.0, n + n // 4) ** 3)
        self.members = list(dict.fromkeys(map(as_genotype, drawn)))
        return self

    def ask(self, rng: np.random.Generator) -> Genotype:
        """Return the next one."""
        return self.members[len(self.proposed) % len(self.members)]


class Unsynced:
    """File of an event log that is not synced, one second between trials."""

    def __init__(self, path: Path) -> None:
        self.path, self.file, self.now = path, path.open("a"), 1.8e9

    def append(self, record: Record) -> None:
        """Write one line."""
        self.now += 0.25
        self.file.write(json.dumps({**to_dict(record), "time": self.now}, separators=(",", ":")) + "\n")


def recorded(folder: Path, trials: int) -> dict[str, Any]:
    """Record a run's folder by the real search, without workers and without waiting for disks."""
    chosen = settings(trials, 1)
    folder.mkdir()
    header = Header(search_config.to_dict(chosen), run_folder.versions(), chosen.seed, DATA_HASH)
    LedgerWriter.create(folder / run_folder.LEDGER, header).close()
    writer, simulation = Unsynced(folder / run_folder.LEDGER), Simulation(chosen)
    algorithm = Drawn(movinet_space(chosen.space), planned=trials).draw(trials)
    search = Search(chosen, writer, (), algorithm)  # type: ignore[arg-type]
    while (proposal := search.propose()) is not None:
        for event in simulation.train(proposal):
            if not search.observe(event):
                break
    writer.file.close()
    return {"mb": (folder / run_folder.LEDGER).stat().st_size / MB, "cpu": time.process_time()}


def asked(folder: Path, results: int) -> dict[str, Any]:
    """Return the CPU seconds of a proposal of the default algorithm after `results` results, median of five."""
    ledger = run_folder.read(folder)
    events = ledger.events[: [i for i, event in enumerate(ledger.events) if isinstance(event, Completed)][results - 1]]
    search = Search(settings(10**6, 1, MODELLED), None, events)  # type: ignore[arg-type]
    times = []
    for n in range(6):
        before = time.process_time()
        search.algorithm.ask(np.random.default_rng(n))
        times.append(time.process_time() - before)
    return {"first": times[0], "seconds": float(np.median(times[1:]))}


PARTS = {"machinery": machinery, "resume": resume, "recorded": recorded, "asked": asked}


def part(name: str, *arguments: Any) -> dict[str, Any]:
    """Run one of `PARTS` in a separate process and session."""
    given = json.dumps([str(each) if isinstance(each, Path) else each for each in arguments])
    command = [sys.executable, __file__, "--part", name, given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def timed(*command: object) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and peak memory, MB, of `run_search.py` with arguments, which must succeed."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "run_search.py", *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def taken(rows: Sequence[Sequence[float]]) -> float:
    """Return the CPU ms of each trial between the first and the last of a watcher's rows."""
    return float(1000 * (rows[-1][2] - rows[0][2]) / (rows[-1][0] - rows[0][0]))


def beside(young: Sequence[Sequence[Sequence[float]]], old: Sequence[Sequence[float]]) -> float:
    """Return the CPU ms per trial of the new searches, without their start, during the rows of the old search."""
    inside = [[row for row in rows if row[0] >= 200 and old[0][1] <= row[1] <= old[-1][1]] for rows in young]
    inside = [rows for rows in inside if len(rows) > 1]
    return float(np.average([taken(rows) for rows in inside], weights=[len(rows) - 1 for rows in inside]))


def wait_for(ledger: Path, trials: int, searched: Future[Any]) -> None:
    """Wait until `trials` trials of a search have ended."""
    ended = at = 0
    while ended < trials and not searched.done():
        time.sleep(1)
        if ledger.exists():
            with ledger.open("rb") as file:
                file.seek(at)
                lines = file.read().rpartition(b"\n")[0]
            at += len(lines)
            ended += sum(lines.count(b'"event":"%s"' % event) for event in (b"completed", b"stopped", b"failed"))


def search_rows(scratch: Path, trials: int, workers: int) -> list[list[str]]:
    """Measure the search, new searches at the same time, its resume and its plots."""
    folder, step = scratch / "searched", trials // 10
    with ThreadPoolExecutor(1) as pool:
        searched = pool.submit(part, "machinery", folder, trials, workers)
        young = []
        for last in (2 * step, trials):
            wait_for(folder / run_folder.LEDGER, last - step - STARTING, searched)
            young.append(part("machinery", scratch / f"young{last}", 2 * step, workers)["rows"])
        found = searched.result()
    rows = found["rows"]
    parts = [[row for row in rows if last - step <= row[0] <= last] for last in (2 * step, trials)]
    own, others = [taken(each) for each in parts], [beside(young, each) for each in parts]
    memory = [float(np.mean([row[3] for row in each])) for each in parts]
    flying = float(np.mean([row[4] for row in rows]))
    ledger = folder / run_folder.LEDGER
    lines = ledger.read_bytes().splitlines(keepends=True)
    shutil.copytree(folder, scratch / "cut")
    (scratch / "cut" / run_folder.LEDGER).write_bytes(b"".join(lines[:-LEFT]))
    resumed = part("resume", scratch / "cut", time.time())
    plotted = timed("plot", folder)
    size, each = f"{found['workers'][1]:.0f} MB", "ms of CPU each; of a young search beside it"
    return [
        [
            f"{trials} candidates on {workers} workers",
            f"{found['seconds']:.0f} s",
            f"{flying:.1f} in flight on average",
        ],
        ["a worker's process", size, f"{found['workers'][0]} of them"],
        [f"driver, second {step} trials", f"{own[0]:.1f} {each} {others[0]:.1f}", f"{memory[0]:.0f} MB"],
        [f"driver, last {step} trials", f"{own[1]:.1f} {each} {others[1]:.1f}", f"{memory[1]:.0f} MB"],
        ["last against second", f"{own[1] / own[0] - 1:+.0%}", f"{memory[1] / memory[0] - 1:+.0%}"],
        ["the same, each over the young", f"{own[1] / others[1] / (own[0] / others[0]) - 1:+.0%}", ""],
        ["resume, to the first new line", f"{resumed['seconds']:.1f} s ({resumed['cpu']:.1f})", ""],
        ["`plot`", f"{plotted[0]:.1f} s ({plotted[1]:.1f})", f"{plotted[2]:.0f} MB"],
    ]


def recorded_rows(scratch: Path, trials: int) -> list[list[str]]:
    """Measure commands that read and analyse a long event log, and the default algorithm after parts of it."""
    folder = scratch / "recorded"
    size = part("recorded", folder, trials)["mb"]
    rows = [[f"a ledger of {trials} candidates", f"{size:.0f} MB", ""]]
    for command in (["plot", folder], ["report", folder], ["reliability", folder],
                    ["tabulate", folder, "--out", scratch / "table.csv"],
                    ["reliability", scratch / "table.csv"], ["scale", folder]):  # fmt: skip
        seconds, cpu, memory = timed(*command)
        name = f"`{command[0]}`" + (" of the table" if command[1] != folder else "")
        rows.append([name, f"{seconds:.1f} s ({cpu:.1f})", f"{memory:.0f} MB"])
    for results in (n for n in (100, 1000, 3000, 10_000) if n <= trials // 5):
        found = part("asked", folder, results)
        rows.append([f"a proposal after {results} results", f"{found['seconds']:.2f} s of CPU", ""])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=10_000, help="of the search (10000), at least 5000")
    options.add_argument("--workers", type=int, default=64, help="of the search (64)")
    options.add_argument("--recorded", type=int, default=100_000, help="trials of the long ledger (100000)")
    options.add_argument("--only", choices=("search", "recorded"), help="one half of it")
    options.add_argument("--write", action="store_true", help="put the table into docs/reference/benchmarks.md")
    options.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.trials < 5000:
        options.error("--trials must be at least 5000: tenths of it are compared, in hundreds")
    if given.part:
        folder, *others = json.loads(given.part[1])
        print(json.dumps(PARTS[given.part[0]](Path(folder), *others)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = search_rows(Path(scratch), given.trials, given.workers) if given.only != "recorded" else []
        rows += recorded_rows(Path(scratch), given.recorded) if given.only != "search" else []
    text = f"{section.table(['', 'time', 'memory, or so'], rows)}\n\n{section.machine()}"
    print(text)
    if given.write:
        section.write("scale", text, DOCUMENT)


if __name__ == "__main__":
    main()
