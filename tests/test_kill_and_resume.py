"""Test kill -9 of a real search and --resume: the result equals that of a search that was never killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from small_search import (
    Unbroken,
    finished,
    kill,
    ledger_of,
    of_session,
    searching,
    started,
    story,
    wait_for,
    workers_of,
    written,
)

from nas.record.events import Note, Resumed
from nas.record.ledger import Ledger

KILLS = 2


def lines(out: Path) -> int:
    file = out / "ledger.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def check_same(ledger: Ledger, unbroken: Unbroken, resumed: int) -> None:
    """Check for equal proposals and measurements in order, one end per trial, and only resumes and notes besides."""
    assert story(ledger) == story(unbroken.ledger)
    assert not ledger.pending and not ledger.failed
    others = [entry.record for entry in ledger.entries if entry.record not in ledger.events]
    assert [type(each) for each in others if not isinstance(each, Note)] == [Resumed] * resumed


def test_killed_at_random_moments_and_resumed_it_is_the_same_search(unbroken: Unbroken, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    out = tmp_path / "out"
    arguments: list[object] = [written(tmp_path, unbroken.settings), "--out", out]
    before: tuple[object, ...] = ()
    for _ in range(KILLS):
        process = started(*arguments, "--serial", MOVINET_NAS_CACHE=unbroken.cache)
        enough = lines(out) + rng.integers(1, 4)
        wait_for(lambda enough=enough: lines(out) >= enough, process)
        time.sleep(rng.random() / 2)
        kill(process)
        after = ledger_of(out).entries
        assert after[: len(before)] == before
        before, arguments = after, ["--resume", out]
    assert len(story(ledger_of(out))) < len(story(unbroken.ledger))

    assert finished(searching(out, "serial", MOVINET_NAS_CACHE=unbroken.cache)) == ("", "")
    assert ledger_of(out).entries[: len(before)] == before
    check_same(ledger_of(out), unbroken, resumed=KILLS)


@pytest.mark.slow
def test_with_ray_a_dead_worker_and_a_dead_driver_cost_nothing_but_time(unbroken: Unbroken, tmp_path: Path) -> None:
    """Kill the worker in the middle of a trial, then everything; resume the run at once."""
    out = tmp_path / "out"
    process = started(written(tmp_path, unbroken.settings), "--out", out, MOVINET_NAS_CACHE=unbroken.cache)
    (worker,) = wait_for(lambda: workers_of(process.pid, "train"), process)
    assert len(ledger_of(out).pending) == 1
    os.kill(worker, signal.SIGKILL)
    (again,) = wait_for(lambda: workers_of(process.pid, "train") - {worker}, process)
    wait_for(lambda: len(ledger_of(out).completed) == 2, process)
    assert not ledger_of(out).failed
    kill(process)
    before = ledger_of(out)
    notes = [entry.record.text for entry in before.entries if isinstance(entry.record, Note)]
    assert len(notes) == 1 and "its worker died; attempt 1 of 3" in notes[0]

    resumed = started("--resume", out, "--quiet", MOVINET_NAS_CACHE=unbroken.cache)
    workers = set()
    while resumed.poll() is None:
        workers |= workers_of(resumed.pid)
        time.sleep(0.1)
    assert len(workers) == 1  # one process trains all remaining trials
    printed, errors = finished(resumed)
    assert (resumed.returncode, errors) == (0, "")
    searched = [index for index in unbroken.ledger.completed if unbroken.ledger.proposals[index].kind == "search"]
    assert printed.startswith(f"{len(searched)} candidates trained") and printed.endswith(f"{out}/ledger.jsonl\n")
    assert ledger_of(out).entries[: len(before.entries)] == before.entries
    check_same(ledger_of(out), unbroken, resumed=1)
    assert of_session(process.pid) == of_session(resumed.pid) == {}


@pytest.mark.slow
def test_what_only_the_driver_started_goes_with_it(unbroken: Unbroken, tmp_path: Path) -> None:
    """Kill the driver alone, like a machine short of memory: Ray's agents search for it for a minute, then end."""
    out = tmp_path / "out"
    process = started(written(tmp_path, unbroken.settings), "--out", out, MOVINET_NAS_CACHE=unbroken.cache)
    wait_for(lambda: workers_of(process.pid, "train"), process)
    process.kill()
    process.communicate()
    resumed = searching(out, "ray", MOVINET_NAS_CACHE=unbroken.cache)  # does not wait for the agents
    assert finished(resumed) == ("", "")
    check_same(ledger_of(out), unbroken, resumed=1)
    end = time.monotonic() + 120
    while of_session(process.pid):
        assert time.monotonic() < end, of_session(process.pid)
        time.sleep(0.5)
