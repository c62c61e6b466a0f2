"""Test Ray's part of a search with real workers: several, full or dead ones; and the cleanup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import pytest
from small_search import (
    Unbroken,
    finished,
    ledger_of,
    of_session,
    searching,
    small,
    started,
    wait_for,
    workers_of,
    written,
)

from nas.config.sections import FaultsConfig, Finals, ResourcesConfig, SimulationConfig
from nas.execution import ray_scratch
from nas.record.events import Completed, Failed, Note
from nas.record.ledger import Ledger

CANDIDATES = 3
LAST = CANDIDATES - 1
ATTEMPTS = 2
LIBRARIES = {".keras"}  # folders that imported libraries create in the home


@dataclass(frozen=True)
class Disturbed:
    """A run with two workers and no memory to spare. Its last candidate was killed at every attempt.

    `left`: its processes that were alive after its end. `files`, `home`: contents of its temporary folder and its home.
    """

    ledger: Ledger
    output: tuple[str, str]
    left: dict[int, str]
    files: list[Path]
    home: set[str]
    workers: set[int]
    killed: set[int]


class Killer:
    """Watch a run's workers, and kill those that train its last candidate."""

    def __init__(self, process: subprocess.Popen[str], out: Path) -> None:
        self.process, self.out = process, out
        self.workers: set[int] = set()
        self.killed: set[int] = set()

    def run(self) -> None:
        """Watch and kill until the run has ended."""
        wait_for(self.alone, self.process)
        self.kill(wait_for(self.training, self.process))
        while self.process.poll() is None:
            for worker in self.look() - self.killed:  # workers that are still loading libraries
                if self.alone():
                    self.kill(worker)
            time.sleep(0.05)

    def alone(self) -> bool:
        """Return whether only the last candidate remains.

        It starts after one of the others, in a new worker. So there are seconds in which it can be killed.
        """
        self.look()
        found = (self.out / "ledger.jsonl").exists() and ledger_of(self.out).pending
        return bool(found) and [proposal.index for proposal in found] == [LAST]

    def training(self) -> int | None:
        """Return a worker in the middle of training; a full worker is in the same method, but only for an instant."""
        before = workers_of(self.process.pid, "train")
        time.sleep(0.1)
        return next(iter(before & workers_of(self.process.pid, "train")), None)

    def look(self) -> set[int]:
        """Return the current workers and record them."""
        now = workers_of(self.process.pid)
        self.workers |= now
        return now

    def kill(self, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)
        self.killed.add(worker)


@pytest.fixture(scope="module")
def disturbed(unbroken: Unbroken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    """Yield the search of `unbroken`, cut to its first candidates."""
    folder = tmp_path_factory.mktemp("disturbed")
    settings = replace(
        unbroken.settings,
        trials=CANDIDATES,
        workers=2,
        worker_memory_mb=100,
        finals=Finals(1, 1, ()),
        faults=FaultsConfig(attempts=ATTEMPTS),
    )
    temporary, home = (Path(tempfile.mkdtemp(dir="/tmp")) for _ in range(2))  # short paths, as they contain sockets
    environment = {
        "MOVINET_NAS_CACHE": unbroken.cache,
        "HOME": home,
        "TMPDIR": temporary,
        "MPLCONFIGDIR": matplotlib.get_cachedir(),  # a search for fonts takes seconds
    }
    try:
        process = searching(folder / "out", "ray", written(folder, settings), **environment)
        killer = Killer(process, folder / "out")
        killer.run()
        output = finished(process)
        left, files = of_session(process.pid), list(temporary.rglob("*"))
        ledger, names = ledger_of(folder / "out"), {path.name for path in home.iterdir()}
        yield Disturbed(ledger, output, left, files, names, killer.workers, killer.killed)
    finally:
        shutil.rmtree(temporary)
        shutil.rmtree(home)


def measured(ledger: Ledger) -> dict[tuple[str, int, int], dict[str, float]]:
    """Return the metrics of each network by its repeat and number of training steps."""
    proposals = ledger.proposals
    events = [*ledger.rungs, *ledger.completed.values()]
    return {(proposals[e.index].fingerprint, proposals[e.index].repeat, e.steps): dict(e.metrics) for e in events}


def test_two_workers_measure_what_one_process_does(disturbed: Disturbed, unbroken: Unbroken) -> None:
    """Results are equal to the last bit: executor, worker and earlier trainings do not influence them."""
    first, same = (
        [ledger.proposals[index] for index in range(CANDIDATES)] for ledger in (disturbed.ledger, unbroken.ledger)
    )
    assert first == same
    mine, whole = measured(disturbed.ledger), measured(unbroken.ledger)
    common = mine.keys() & whole.keys()
    assert len(common) >= 2 * (CANDIDATES - 1)  # at the rung and at the end, of trials that were not killed
    assert {key: mine[key] for key in common} == {key: whole[key] for key in common}


def test_a_trial_whose_worker_always_dies_fails_and_the_run_goes_on(disturbed: Disturbed) -> None:
    assert disturbed.ledger.failed == {LAST: Failed(LAST, f"its worker died, {ATTEMPTS} times", ATTEMPTS)}
    assert len(disturbed.killed) >= ATTEMPTS
    kinds = [disturbed.ledger.proposals[index].kind for index in sorted(disturbed.ledger.completed)]
    assert kinds == [*["search"] * (CANDIDATES - 1), "finalist"]


def test_nothing_is_lost_or_repeated(disturbed: Disturbed) -> None:
    records = [entry.record for entry in disturbed.ledger.entries]
    notes = [Note(f"trial {LAST}: its worker died; attempt {n} of {ATTEMPTS}") for n in range(1, ATTEMPTS)]
    assert [record for record in records if record not in notes] == disturbed.ledger.events  # no second rung, no resume
    assert [record for record in records if record in notes] == notes
    ended = [record.index for record in records if isinstance(record, Completed | Failed)]
    assert sorted(ended) == sorted(disturbed.ledger.proposals) and not disturbed.ledger.pending


def test_a_full_worker_is_replaced_at_no_cost_to_the_trial(disturbed: Disturbed) -> None:
    """Every process that trains exceeds the limit here, so every training is the first of its process."""
    assert len(disturbed.workers - disturbed.killed) >= len(disturbed.ledger.completed)
    assert len(disturbed.ledger.failed) == 1


def test_ray_says_nothing_and_leaves_nothing_behind(disturbed: Disturbed) -> None:
    assert disturbed.output == ("", "")
    assert disturbed.left == {}
    assert disturbed.files == []
    assert disturbed.home <= LIBRARIES


STARTING = """
import os, sys
before = open(os.devnull)
file = open(sys.argv[1], "w")
before.close()
print(flush=True)
while True:  # what an interpreter imports
    open(os.devnull).close()
"""


@pytest.mark.parametrize(
    ("told", "written_to", "ended"), [("ray", "own", True), ("own", "ray", True), ("own", "ray-2", False)]
)
def test_a_worker_that_is_still_starting_ends_with_the_folder_it_uses(
    tmp_path: Path, told: str, written_to: str, ended: bool
) -> None:
    folder = tmp_path / "ray"
    (tmp_path / written_to).mkdir()
    command = [sys.executable, "-c", STARTING, tmp_path / written_to / "log", f"--temp-dir={tmp_path / told}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"\n"
        ray_scratch.clear(folder)
        if not ended:
            time.sleep(0.2)
            assert worker.poll() is None
            worker.kill()
        assert worker.wait(10) == -signal.SIGKILL and not folder.exists()


def test_a_search_that_this_machine_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    settings = small(workers=0, resources=ResourcesConfig(cpus=4096), simulation=SimulationConfig())
    process = started(written(tmp_path, settings), "--out", tmp_path / "run")
    assert "resources.cpus: 4096.0 must be at most" in process.communicate(timeout=240)[1]
    assert process.returncode == 2 and not (tmp_path / "run").exists()
