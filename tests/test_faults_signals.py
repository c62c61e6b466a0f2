"""Test one and two stop signals to a run, from a terminal and a system shutdown, and the cleanup after runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faulty_search import alone, begun, resumed_to_the_end, simulated
from small_search import ROOT, finished, kill, ledger_of, of_session, started, wait_for, workers_of, written

from nas.config.search_config import SearchConfig
from nas.config.sections import Finals
from nas.execution import ray_scratch
from nas.record.events import Completed, Proposal
from nas.record.ledger import Record
from nas.record.ledger_writer import LedgerWriter

NOTICE = "interrupted: running trials are finished; interrupt again to stop at once"
NO_FINALS = Finals(0, 1, ())  # interrupted runs do not reach them, and others should not wait for them
KINDS = ("finished", "SIGINT", "SIGTERM", "SIGKILL")


def resume(out: Path) -> str:
    return f"interrupted; resume with: run_search.py search --resume {shlex.quote(str(out))}"


def in_a_trial(process: subprocess.Popen[str], out: Path) -> int:
    """Wait for the first early measurement; return the number of trials that have ended until then."""
    file = out / "ledger.jsonl"
    wait_for(lambda: file.exists() and ledger_of(out).rungs, process)
    return len(ledger_of(out).completed)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_told_once_it_finishes_what_it_has_begun(tmp_path: Path, sent: signal.Signals) -> None:
    out = tmp_path / "out"
    process = started(*alone(tmp_path, simulated(changes={"trials": 2, "finals": NO_FINALS}, seconds=2.0)))
    in_a_trial(process, out)
    process.send_signal(sent)
    output, errors = finished(process)
    assert (process.returncode, output) == (130, "")
    assert errors.splitlines() == [NOTICE, resume(out)]
    ledger = ledger_of(out)
    assert len(ledger.completed) == len(ledger.proposals) == 1  # finished, and no other was begun
    resumed_to_the_end(out)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_told_twice_it_stops_at_once(tmp_path: Path, second: signal.Signals) -> None:
    out = tmp_path / "out"
    process = started(*alone(tmp_path, simulated(seconds=100.0)))
    wait_for(lambda: (out / "ledger.jsonl").exists() and ledger_of(out).proposals, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None and process.stderr.readline() == f"{NOTICE}\n"
    process.send_signal(second)
    sent = time.monotonic()
    _, errors = finished(process)
    assert (process.returncode, errors) == (130, f"{resume(out)}\n") and time.monotonic() - sent < 10
    assert len(ledger_of(out).pending) == 1


def test_a_proposal_that_is_written_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = LedgerWriter.append

    def interrupted(self: LedgerWriter, record: Record) -> None:
        append(self, record)
        if isinstance(record, Proposal):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(LedgerWriter, "append", interrupted)
        begun(tmp_path / "out", simulated())
    assert len(ledger_of(tmp_path / "out").proposals) == 1
    resumed_to_the_end(tmp_path / "out")


BOUNDED = """
import os, signal, time
from nas.loop.signals import gently
begun = time.monotonic()
try:
    with gently(lambda: None, "a test", grace=0.5):
        os.kill(os.getpid(), signal.{})
        time.sleep(3)
    print("finished")
except KeyboardInterrupt:
    print(0.5 <= time.monotonic() - begun < 2.5)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0, 0)
"""


@pytest.mark.parametrize(("sent", "said"), [("SIGTERM", "True\n"), ("SIGHUP", "True\n"), ("SIGINT", "finished\n")])
def test_a_system_that_goes_down_does_not_wait_for_ever(sent: str, said: str) -> None:
    command = [sys.executable, "-c", BOUNDED.format(sent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (said, "interrupted: a test; interrupt again to stop at once\n")


STARTING = """
import signal, sys, time
import ray
from nas.loop import signals as interrupts
from nas.execution.ray_cluster import session
from nas.config.search_config import load
interrupts.soon.__defaults__ = (0.5,)
ray.init = lambda **options: (print("starting", flush=True), [time.sleep(0.1) for _ in range(600)])
ray.shutdown = lambda: None
try:
    with interrupts.gently(lambda: print("told", flush=True), "a test", 0.5), session(load("tiny"), "", "/tmp"):
        print("started")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ray_that_does_not_start_can_be_stopped() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTING], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "starting\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30)[0].split() == ["told", "interrupted"]


def test_what_is_ignored_stays_ignored() -> None:
    """Ignore SIGHUP, as under nohup."""
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)" + BOUNDED.format("SIGHUP")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("finished\n", "")


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_workers_finish_what_they_have_begun(tmp_path: Path, sent: signal.Signals) -> None:
    """Signal every process of the group, like a terminal and a system shutdown."""
    out = tmp_path / "out"
    chosen = simulated(changes={"workers": 4, "trials": 6, "finals": NO_FINALS}, seconds=2.0)
    process = started(written(tmp_path, chosen), "--out", out, "--quiet")
    before = in_a_trial(process, out)
    os.killpg(process.pid, sent)
    output, errors = finished(process)
    assert (process.returncode, output, errors.splitlines()) == (130, "", [NOTICE, resume(out)])
    ledger = ledger_of(out)
    assert len(ledger.pending) <= 3 and not ledger.failed  # trials that wait for a worker or a core are not started
    assert not {proposal.index for proposal in ledger.pending} & {rung.index for rung in ledger.rungs}
    assert before <= len(ledger.completed) + len(ledger.stopped) <= before + 4
    assert of_session(process.pid) == {}
    resumed_to_the_end(out)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Yield a folder for temporary files, with a short path, because it contains sockets."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def shared_memory() -> set[str]:
    """Return this user's files in shared memory, except semaphores of living processes, which belong to other tests."""
    files = {path.name for path in Path("/dev/shm").iterdir()}
    makers = {name: re.match(r"sem\.\w+-(\d+)-", name) for name in files}
    return {name for name, made_by in makers.items() if not (made_by and Path("/proc", made_by[1]).exists())}


def left_behind(folder: Path) -> subprocess.Popen[bytes]:
    """Create a folder of Ray and a worker of it; a killed search leaves these only by chance."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", f"--temp-dir={folder}"])


def one(kind: str, folder: Path, chosen: SearchConfig, temporary: Path, after: float) -> None:
    """Run a search with workers that ends in a way of `KINDS` after `after` seconds; resume it if it was cut."""
    out = folder / "out"
    folder.mkdir()
    process = started(written(folder, chosen), "--out", out, "--quiet", TMPDIR=temporary)
    sessions = [process.pid]
    if kind != "finished":
        wait_for(lambda: workers_of(process.pid), process)
        time.sleep(after)
        if kind == "SIGKILL":
            kill(process)
            worker = left_behind(temporary / ray_scratch.folder_of(out).name)
        else:
            process.send_signal(getattr(signal, kind))
            _, errors = finished(process)
            ended = process.returncode, errors.splitlines()
            # All remaining trials may have started by then, and were finished.
            assert ended in ((130, [NOTICE, resume(out)]), (0, [NOTICE]))
        process = started("--resume", out, "--quiet", TMPDIR=temporary)
        sessions.append(process.pid)
    _, errors = finished(process)
    assert (process.returncode, errors) == (0, "")
    if kind == "SIGKILL":
        assert worker.wait(10) == -signal.SIGKILL
    assert [of_session(session) for session in sessions] == [{}] * len(sessions)
    completed = [event.index for event in ledger_of(out).events if isinstance(event, Completed)]
    assert len(completed) == len(set(completed)) and not ledger_of(out).pending


@pytest.mark.parametrize("count", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_searches_leave_no_process_no_shared_memory_and_no_file(tmp_path: Path, temporary: Path, count: int) -> None:
    before, rng = shared_memory(), np.random.default_rng(count)
    chosen = simulated(changes={"workers": 2, "trials": 4, "finals": NO_FINALS}, seconds=0.5)
    for i in range(count):
        kind = KINDS[-1 - i % len(KINDS)]
        one(kind, tmp_path / str(i), chosen, temporary, rng.uniform(0, 3))
    assert list(temporary.iterdir()) == []
    assert shared_memory() <= before
