"""Test trials whose workers die, hang, freeze, fill their memory or lose their clips."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_search import ran, simulated
from small_search import finished, ledger_of, of_session, searching, small, wait_for, workers_of, written

from nas.config.sections import EarlyStopping, FaultsConfig, Finals
from nas.evaluation.proxy_trainer import open_data
from nas.evaluation.simulation import Simulation
from nas.loop import run_folder
from nas.record.events import Note
from nas.record.ledger import Ledger
from search_space.base.errors import InputError

REASONS = {
    "die": "its worker died",
    "hang": "no result within 2 s",
    "error": "SimulatedError: as simulated",
}


def notes(ledger: Ledger) -> list[str]:
    return [entry.record.text for entry in ledger.entries if isinstance(entry.record, Note)]


def test_every_fault_of_a_worker_is_what_the_record_says_it_was(tmp_path: Path) -> None:
    """The drawn outcome of each attempt of each trial is computed here, and each one must occur."""
    faults = FaultsConfig(trial_seconds=2.0, attempts=2, most_failed=1.0)
    changes = {"workers": 2, "trials": 5, "finals": Finals(0), "early_stopping": EarlyStopping(())}
    chosen = simulated(faults, {**changes, "seed": 64}, die=0.2, hang=0.1, error=0.2, diverge=0.1)
    process = searching(tmp_path / "out", "ray", written(tmp_path, chosen))
    assert finished(process) == ("", "") and of_session(process.pid) == {}
    ledger, simulation = ledger_of(tmp_path / "out"), Simulation(chosen)
    drawn = {index: [simulation._fault(index, attempt)[0] for attempt in range(2)] for index in range(5)}
    assert {first for first, _ in drawn.values()} == {*REASONS, "diverge", ""}
    told: list[str] = []
    for index, (first, second) in drawn.items():
        if first in REASONS:
            told.append(f"trial {index}: {REASONS[first]}; attempt 1 of 2")
        last = second if first in REASONS else first
        if last in REASONS:
            assert ledger.failed[index].reason.endswith(REASONS[last] + (", 2 times" if first == last else ""))
        elif last == "diverge":
            assert ledger.failed[index].reason.startswith("diverged within")
        else:
            assert index in ledger.completed
    assert sorted(notes(ledger)) == sorted(told)
    assert not ledger.pending and len(ledger.completed) + len(ledger.failed) == 5


@pytest.mark.slow
def test_a_frozen_worker_is_ended_from_outside(tmp_path: Path) -> None:
    """A stopped process cannot end itself."""
    out = tmp_path / "out"
    chosen = simulated(FaultsConfig(trial_seconds=3.0), {"trials": 2, "finals": Finals(0)}, seconds=4.0)
    process = searching(out, "ray", written(tmp_path, chosen))
    wait_for(lambda: (out / run_folder.LEDGER).exists() and ledger_of(out).rungs, process)
    (frozen,) = wait_for(lambda: workers_of(process.pid), process)
    os.kill(frozen, signal.SIGSTOP)
    assert finished(process) == ("", "") and of_session(process.pid) == {}
    assert notes(ledger_of(out)) == ["trial 0: no result within 3 s; attempt 1 of 3"]
    assert not ledger_of(out).failed and not ledger_of(out).pending


@contextlib.contextmanager
def memory_group(name: str, megabytes: int) -> Iterator[Path]:
    """Create a control group with a memory limit enforced by the kernel; skip the test where this is not allowed."""
    folder = Path("/sys/fs/cgroup/memory") / name
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(megabytes * 2**20))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    try:
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.slow
def test_a_worker_that_the_kernel_ends_for_its_memory_costs_an_attempt(tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = simulated(changes={"trials": 2, "finals": Finals(0)}, seconds=6.0, memory_mb=100)
    with memory_group(f"movinet-nas-test-{os.getpid()}", 60) as group:
        process = searching(out, "ray", written(tmp_path, chosen))
        wait_for(lambda: (out / run_folder.LEDGER).exists() and ledger_of(out).rungs, process)
        (worker,) = workers_of(process.pid)
        (group / "cgroup.procs").write_text(str(worker))  # from now on its memory counts: for its next trial
        assert finished(process) == ("", "")
    assert notes(ledger_of(out)) == ["trial 1: its worker died; attempt 1 of 3"]
    assert len(ledger_of(out).completed) == 2


def clips_of(out: Path, cache: Path) -> Path:
    """Return the folder of the clips for a search's trainings."""
    (folder,) = (path.parent for path in cache.glob("*/dataset.json"))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of an empty cache."""
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
def test_clips_that_are_cut_off_end_the_run_and_mended_it_goes_on(tmp_path: Path, cache: Path) -> None:
    """The system kills the worker that reads the clips; the next workers find the reason. No candidate is blamed."""
    out = tmp_path / "out"
    process = searching(out, "ray", written(tmp_path, small(trials=3, finals=Finals(0))))
    wait_for(lambda: (out / run_folder.LEDGER).exists() and ledger_of(out).completed, process)
    clips = clips_of(out, cache) / "train" / "clips.npy"
    os.truncate(clips, 4096)
    _, errors = finished(process)
    assert "clips.npy" in errors.splitlines()[-1] and "delete the dataset's folder" in errors
    ledger = ledger_of(out)
    assert len(ledger.completed) + len(ledger.stopped) >= 1 and len(ledger.pending) == 1 and not ledger.failed
    code, _, errors = ran("--resume", out)
    assert (code, errors.count("\n")) == (2, 1) and "clips.npy" in errors
    shutil.rmtree(clips.parents[1])
    assert finished(searching(out, "ray")) == ("", "")
    assert not ledger_of(out).pending and not ledger_of(out).failed


def test_clips_that_changed_are_noticed_on_resume_and_missing_ones_are_made_again(tmp_path: Path, cache: Path) -> None:
    from played_run import played

    out = played(tmp_path / "out", trials=2)
    ledger, folder = run_folder.read(out), clips_of(out, cache)
    with open(folder / "validation" / "clips.npy", "r+b") as file:
        file.seek(5000)
        file.write(b"changed")
    with pytest.raises(InputError, match="is the recorded sha256, but the content differs"):
        run_folder.data_of(ledger)
    shutil.rmtree(folder)
    assert run_folder.data_of(ledger).content_hash == ledger.header.data_hash
    config = run_folder.config_of(ledger)
    assert open_data(config.data, config.space).path == folder
