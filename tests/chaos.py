"""Run whole searches, kill parts of them, and check that each finished trial is recorded exactly once in the end.

    python tests/chaos.py [--searches 50] [--seed 0] [--training 3] [--out chaos.json]

Each search is `run_search.py search` with real Ray in separate processes. Its evaluations are simulated (tenths of a
second each); those of `--training` train for real. The seed decides the faults and their times:

worker     kill -9 of a process that trains or waits
node       kill -9 of all processes of one node of a cluster that the search has joined
raylet     kill -9 of Ray's own scheduler on a machine without a cluster
driver     kill -9 of the search alone or with all processes that it started; then `--resume`
interrupt  SIGINT, once; then `--resume`
disk       a file system of 16 MB that holds the run's folder fills up; space is freed; then `--resume`

Besides, simulated evaluations hang, raise, kill their worker or reach a non-finite loss, each in some percent of the
attempts. In the end there must be exactly the requested candidates, every line of the event log that was ever read, and
an event log that `nas.record.ledger.read` accepts, in which every trial has ended once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ray_nodes import Nodes, ray_nodes
from small_search import kill, of_session, small, started, workers_of, written

from nas.config.search_config import SearchConfig
from nas.config.sections import AlgorithmConfig, EarlyStopping, FaultsConfig, Finals, SimulationConfig
from nas.record.events import Completed, Failed, Proposal, Stopped
from nas.record.ledger import read
from search_space.base.errors import InputError

FAULTS = ("worker", "node", "raylet", "driver", "interrupt", "disk")
PLAIN = ("worker", "driver", "interrupt")
RAY_ENDS = 60.0  # seconds for a search to notice that its Ray has ended
LONGEST = 300.0  # seconds for one search; beyond this limit it counts as hanging
PROCESSES = 20  # at most, per search
DISK = "16m"  # space for the report of a run, which contains its plotting library
ALGORITHMS = ("stratified_random", "ageing_evolution", "frontier_search")


@dataclass
class Outcome:
    """Outcome of one search; `wrong` lists violations."""

    number: int
    faults: list[str]
    asked: int
    struck: Counter[str] = field(default_factory=Counter)
    simulated: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    lost: int = 0
    duplicated: int = 0
    processes: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def can_mount() -> bool:
    """Return whether small file systems can be mounted here."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AssertionError), small_disk(Path(folder)):
        return True
    return False


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system at `folder`; AssertionError if that is not allowed."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], capture_output=True)
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def settings(rng: np.random.Generator, training: bool) -> SearchConfig:
    """Return a search of 14 to 24 short simulated trials, or of 5 that are trained."""
    common = {"seed": int(rng.integers(10**6)), "finals": Finals(1, 2, ("a0",)), "workers": 2}
    if training:
        return small(**common, trials=5, faults=FaultsConfig(attempts=20))
    simulation = SimulationConfig(seconds=0.3, die=0.03, hang=0.02, diverge=0.04, error=0.03)
    return small(
        **common,
        trials=int(rng.integers(14, 25)),
        algorithm=AlgorithmConfig(str(rng.choice(ALGORITHMS))),
        early_stopping=EarlyStopping((0.25, 0.5), 2.0, 2, 3),
        # Each death counts as an attempt, and such a short search must not stop because of its failures.
        faults=FaultsConfig(trial_seconds=4.0, attempts=20, most_failed=1.0),
        simulation=simulation,
    )


def plan(rng: np.random.Generator, possible: Sequence[str]) -> list[str]:
    """Return two to four faults in order; at most one of them requires a file system or a cluster."""
    special = str(rng.choice(possible))
    rest = [str(each) for each in rng.choice(PLAIN, int(rng.integers(1, 4)))]
    return [str(each) for each in rng.permutation([special, *rest])]


class Strike:
    """One search with its faults, from the first process to the last."""

    def __init__(self, number: int, seed: int, training: bool, scratch: Path, possible: Sequence[str]) -> None:
        self.rng = np.random.default_rng([seed, number, training])
        self.settings = settings(self.rng, training)
        self.left = plan(self.rng, PLAIN if training else possible)
        self.nodes: Nodes | None = None
        self.node: subprocess.Popen[bytes] | None = None
        self.scratch, self.out = scratch, scratch / "disk" / "run"
        self.out.parent.mkdir(parents=True)
        self.outcome = Outcome(number, self.left.copy(), self.settings.trials)
        self.seen = b""
        self.sessions: list[int] = []

    def run(self) -> Outcome:
        """Run the search until it is finished or hangs, then check its event log."""
        begun = time.monotonic()
        with small_disk(self.out.parent) if "disk" in self.left else contextlib.nullcontext():
            try:
                self._to_the_end(begun + LONGEST)
                self._check()
            finally:
                self._clean()
        self.outcome.seconds = time.monotonic() - begun
        return self.outcome

    def _to_the_end(self, end: float) -> None:
        for _ in range(PROCESSES):
            code = self._one_process(end)
            if code == 0 or self.outcome.wrong:
                return
        self.outcome.wrong.append(f"not finished after {PROCESSES} processes")

    def _one_process(self, end: float) -> int:
        """Start or resume the search and apply faults while it runs; return its exit code."""
        self.outcome.processes += 1
        process = self._begin()
        self.sessions.append(process.pid)
        due = self._next_due()
        while process.poll() is None:
            self._look()
            if time.monotonic() > end:
                self.outcome.wrong.append(f"hangs: {list(of_session(process.pid).values())[:1]}")
                kill(process)
                return 1
            if self.left and self.seen.count(b"\n") >= due and workers_of(process.pid) | self._on_nodes():
                time.sleep(float(self.rng.random()) / 2)
                self._strike(self.left.pop(0), process)
                due = self._next_due()
            time.sleep(0.1)
        printed, errors = process.communicate()
        if process.returncode not in (0, 2, 130, 1, -9) or "Traceback" in errors:
            self.outcome.wrong.append(f"exit code {process.returncode}: {errors[-300:]}")
        with contextlib.suppress(FileNotFoundError):
            (self.out.parent / "filler").unlink()
        return process.returncode

    def _begin(self) -> subprocess.Popen[str]:
        begun = (self.out / "ledger.jsonl").exists()
        which = ["--resume", self.out] if begun else [written(self.scratch, self.settings), "--out", self.out]
        if self.nodes is None:
            return started(*which, "--quiet", MOVINET_NAS_CACHE=self.scratch.parent / "cache")
        if self.node is None:
            self.node = self.nodes.add()
        return started(*which, "--quiet", "--address", self.nodes.address, **self.nodes.environment)

    def _next_due(self) -> int:
        """Return the number of lines of the event log at which the next fault is applied."""
        return self.seen.count(b"\n") + int(self.rng.integers(2, 12))

    def _look(self) -> None:
        """Read the event log; every complete line of it must stay."""
        with contextlib.suppress(FileNotFoundError):
            data = (self.out / "ledger.jsonl").read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if not whole.startswith(self.seen):
                self.outcome.lost += len(set(self.seen.splitlines()) - set(whole.splitlines()))
                self.outcome.wrong.append("a line that was seen is gone")
            self.seen = whole

    def _on_nodes(self) -> set[int]:
        return set().union(*(workers_of(node.pid) for node in self.nodes.started)) if self.nodes else set()

    def _strike(self, fault: str, process: subprocess.Popen[str]) -> None:
        self.outcome.struck[fault] += 1
        if fault == "worker":
            self._kill_one(sorted(workers_of(process.pid) | self._on_nodes()))
        elif fault == "node" and self.nodes and self.node:
            self.nodes.lose(self.node)
            self.node = None
        elif fault == "raylet":
            self._kill_one([pid for pid, name in of_session(process.pid).items() if "raylet/raylet " in name])
            self._wait(process, RAY_ENDS)
        elif fault == "driver":
            process.kill() if self.rng.random() < 0.5 else os.killpg(process.pid, signal.SIGKILL)
        elif fault == "interrupt":
            process.send_signal(signal.SIGINT)
            self._wait(process, RAY_ENDS)
        elif fault == "disk":
            self._fill()

    def _kill_one(self, pids: Sequence[int]) -> None:
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[int(self.rng.integers(len(pids)))], signal.SIGKILL)

    def _wait(self, process: subprocess.Popen[str], seconds: float) -> None:
        """Wait until the process has ended or survived the fault."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            self._look()
            time.sleep(0.1)

    def _fill(self) -> None:
        with contextlib.suppress(OSError), open(self.out.parent / "filler", "wb") as filler:
            while True:
                filler.write(b"\0" * 4096)
                filler.flush()

    def _check(self) -> None:
        self._look()
        wrong = self.outcome.wrong
        try:
            ledger = read(self.out / "ledger.jsonl")
        except InputError as error:
            wrong.append(f"inconsistent: {error}")
            return
        records = [entry.record for entry in ledger.entries]
        searched = [each for each in records if isinstance(each, Proposal) and each.kind == "search"]
        self.outcome.candidates = len(searched)
        ended = Counter(each.index for each in records if isinstance(each, Completed | Stopped | Failed))
        self.outcome.duplicated = sum(times - 1 for times in ended.values())
        reasons = [each.reason.split(" ")[0] for each in records if isinstance(each, Failed)]
        self.outcome.simulated = Counter(reasons)
        notes = [json.loads(line).get("text", "") for line in self.seen.splitlines() if b'"event":"note"' in line]
        self.outcome.simulated += Counter(note.partition(": ")[2].partition(";")[0] for note in notes)
        if len(searched) != self.settings.trials:
            wrong.append(f"{len(searched)} candidates of {self.settings.trials}")
        if ledger.pending or set(ended) != set(ledger.proposals):
            wrong.append(f"{len(ledger.pending)} trials have not ended")
        if self.outcome.duplicated:
            wrong.append(f"{self.outcome.duplicated} trials ended twice")

    def _clean(self) -> None:
        """Kill the remaining processes at once; after the death of a driver they take a minute to end by themselves."""
        for session in self.sessions:
            for pid in of_session(session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.nodes and self.node:
            self.nodes.lose(self.node)


def chaos(searches: int, seed: int, training: int = 0, faults: Sequence[str] = FAULTS) -> Iterator[Outcome]:
    """Yield outcomes of searches, run one after another; those that train come last."""
    if "disk" in faults and not can_mount():
        print("no small file systems can be made here: no disk is filled", file=sys.stderr)
        faults = [name for name in faults if name != "disk"]
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster: Nodes | None = None
        for number, trains in [*((n, False) for n in range(searches)), *((n, True) for n in range(training))]:
            strike = Strike(number, seed, trains, scratch / f"{number}{trains}", faults)
            if "node" in strike.left:
                if cluster is None:
                    cluster = stack.enter_context(ray_nodes())
                    cluster.add()
                strike.nodes = cluster
            yield strike.run()
            shutil.rmtree(strike.scratch, ignore_errors=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return counts of faults and of their consequences, in Markdown."""
    struck: Counter[str] = sum((each.struck for each in outcomes), Counter())
    simulated: Counter[str] = sum((each.simulated for each in outcomes), Counter())
    rows = [("searches", len(outcomes)), *((f"struck: {name}", times) for name, times in struck.most_common())]
    rows += [(f"in trials: {name}", times) for name, times in simulated.most_common()]
    rows += [
        ("processes of the searches", sum(each.processes for each in outcomes)),
        ("candidates asked for", sum(each.asked for each in outcomes)),
        ("candidates in the end", sum(each.candidates for each in outcomes)),
        ("finished trials lost", sum(each.lost for each in outcomes)),
        ("finished twice", sum(each.duplicated for each in outcomes)),
        ("searches with anything wrong", sum(bool(each.wrong) for each in outcomes)),
        ("seconds of a search, median", round(float(np.median([each.seconds for each in outcomes])))),
    ]
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--searches", type=int, default=50, help="with simulated evaluations (50)")
    options.add_argument("--training", type=int, default=0, help="further ones that train for real (0)")
    options.add_argument("--seed", type=int, default=0, help="of what goes wrong, and when (0)")
    options.add_argument("--out", type=Path, default=Path("chaos.json"), help="every search in JSON (chaos.json)")
    given = options.parse_args()
    outcomes: list[Outcome] = []
    for outcome in chaos(given.searches, given.seed, given.training):
        outcomes.append(outcome)
        faults = ", ".join(outcome.faults)
        found = "; ".join(outcome.wrong) or "right"
        print(f"{len(outcomes):3} {outcome.seconds:5.0f} s  {faults}: {found}", flush=True)
        given.out.write_text(json.dumps([vars(each) for each in outcomes], indent=1))
    print(f"\n{table(outcomes)}")
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
