"""Test faults of disk, files, clock and candidates during a run (docs/explanation/faults.md)."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_search import alone, begun, file_system, fill, ran, remount, resumed, resumed_to_the_end, simulated
from played_run import begin, play, settings
from small_search import finished, kill, ledger_of, searching, story, wait_for, written

from nas.config.sections import AlgorithmConfig, EarlyStopping, FaultsConfig, Finals
from nas.loop import run_folder
from nas.loop.retries import Retries
from nas.loop.search import Search
from nas.record.events import Completed, Failed, Note, Proposal, Rung
from nas.record.ledger_writer import LedgerWriter
from results.outcome import write_plots
from search_space.base.errors import InputError

FULL = "'No space left on device' prevented writing a line"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an undisturbed run."""
    return begun(tmp_path_factory.mktemp("whole") / "out", simulated())


def test_a_full_disk_ends_the_run_and_it_goes_on_when_there_is_space(tmp_path: Path, whole: Path) -> None:
    with file_system(tmp_path / "small", "2m") as disk:
        arguments = alone(disk, simulated())
        filler = fill(disk, left=24_000)
        code, output, errors = ran(*arguments)
        assert (code, output, errors) == (2, "", f"error: {disk}/out/ledger.jsonl: {FULL}\n")
        ledger = ledger_of(disk / "out")
        assert not ledger.torn and 0 < len(ledger.events) < len(ledger_of(whole).events)
        with pytest.raises(InputError, match=FULL):
            resumed(disk / "out")
        filler.unlink()
        resumed_to_the_end(disk / "out")
        assert lived(disk / "out") == lived(whole)


def test_a_disk_that_is_full_from_the_start_is_left_as_it_was(tmp_path: Path) -> None:
    with file_system(tmp_path / "small", "1m") as disk:
        fill(disk, left=0)
        with pytest.raises(InputError, match="No space left on device"):
            begun(disk / "out", simulated())
        assert not (disk / "out").exists()


def test_a_disk_too_full_for_the_pictures_keeps_the_record(tmp_path: Path) -> None:
    with file_system(tmp_path / "small", "2m") as disk:
        arguments = alone(disk, simulated())
        filler = fill(disk, left=120_000)
        code, _, errors = ran(*arguments)
        assert (code, errors.count("\n")) == (2, 1) and "No space left" in errors
        assert not ledger_of(disk / "out").pending
        filler.unlink()
        resumed_to_the_end(disk / "out")


def test_a_ledger_that_becomes_read_only_ends_the_run(tmp_path: Path) -> None:
    """Imitate a file system with an error, which becomes read-only even for open files."""
    out = tmp_path / "out"
    process = searching(out, "serial", written(tmp_path, simulated(seconds=0.5)))
    wait_for(lambda: (out / run_folder.LEDGER).exists() and ledger_of(out).completed, process)
    if subprocess.run(["chattr", "+i", out / run_folder.LEDGER], capture_output=True, check=False).returncode:
        kill(process)
        pytest.skip("no file can be made immutable here")
    try:
        _, errors = finished(process)
        assert "ledger.jsonl: 'Operation not permitted' prevented writing a line" in errors
        with pytest.raises(InputError, match=r"ledger.jsonl: 'Operation not permitted' prevented writing it"):
            resumed(out)
    finally:
        subprocess.run(["chattr", "-i", out / run_folder.LEDGER], check=True)
    resumed_to_the_end(out)


def test_a_folder_that_is_read_only_is_not_resumed_but_read(tmp_path: Path, whole: Path) -> None:
    with file_system(tmp_path / "small", "2m") as disk:
        shutil.copytree(whole, disk / "out")
        remount(disk, "ro")
        assert run_folder.read(disk / "out").events == ledger_of(whole).events
        with pytest.raises(InputError, match="'Read-only file system' prevented locking this folder"):
            resumed(disk / "out")
        with pytest.raises(InputError, match="--out"):
            begun(disk / "new", simulated())
        remount(disk, "rw")
        assert (disk / "out" / run_folder.LEDGER).read_bytes() == (whole / run_folder.LEDGER).read_bytes()


def damage(out: Path, number: int) -> None:
    """Overwrite line `number` of an event log, as after a power cut."""
    lines = (out / run_folder.LEDGER).read_bytes().split(b"\n")
    lines[number - 1] = b"\0" * len(lines[number - 1])
    (out / run_folder.LEDGER).write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("kind", [Rung, Completed, Proposal])
def test_a_broken_line_is_named_with_what_to_do_and_that_helps(tmp_path: Path, whole: Path, kind: type) -> None:
    out = tmp_path / "it's here"
    shutil.copytree(whole, out)
    number = next(entry.line for entry in ledger_of(out).entries if isinstance(entry.record, kind))
    damage(out, number)
    before = (out / run_folder.LEDGER).read_bytes()
    place = f"ledger.jsonl:{number}: "
    while True:
        try:
            resumed(out)
            break
        except InputError as error:
            assert place in str(error)
            subprocess.run(["sh", "-c", str(error).partition(", run: ")[2]], check=True)
            place = ""
    assert not place and (out / f"{run_folder.LEDGER}.damaged").read_bytes() == before
    assert not ledger_of(out).pending and not ledger_of(out).failed
    if kind is not Rung:  # without the rung, later decisions used fewer values
        assert len(ledger_of(out).proposals) == len(ledger_of(whole).proposals)


def test_a_proposal_that_is_missing_from_the_record_is_noticed(tmp_path: Path, whole: Path) -> None:
    """Remove all events of one proposal, so that the rest is consistent."""
    ledger = ledger_of(whole)
    with LedgerWriter.create(tmp_path / "ledger.jsonl", ledger.header) as writer:
        events = [event for event in ledger.events if event.index != 1]
        with pytest.raises(InputError, match="'trial 2' must have the index 1: a proposal before it is missing"):
            Search(run_folder.config_of(ledger), writer, events)


def test_a_run_that_was_killed_and_moved_goes_on_elsewhere(tmp_path: Path) -> None:
    """The run's lock is still there, as after a power cut."""
    out, moved = tmp_path / "out", tmp_path / "other" / "place"
    chosen = simulated(seconds=0.5)
    process = searching(out, "serial", written(tmp_path, chosen))
    wait_for(lambda: (out / run_folder.LEDGER).exists() and ledger_of(out).completed, process)
    kill(process)
    moved.parent.mkdir()
    shutil.move(out, moved)
    assert (moved / run_folder.LOCK).read_text().strip() == str(process.pid)
    resumed_to_the_end(moved)
    assert lived(moved) == lived(begun(tmp_path / "whole", chosen))
    assert not out.exists()


def lived(out: Path) -> list[dict[str, Any]]:
    """Return all events of a run, in order."""
    return story(ledger_of(out))


def test_a_clock_that_is_set_back_disturbs_nothing(tmp_path: Path) -> None:
    """Set the clock back by an hour with every line, and to 1970."""
    out, chosen = tmp_path / "out", settings()
    back: Iterator[float] = itertools.chain((1e9 - 3600 * i for i in range(8)), itertools.repeat(0.0))
    begin(out, chosen).close()
    with LedgerWriter(out / run_folder.LEDGER, clock=lambda: next(back)) as writer:
        play(Search(chosen, writer), trials=4)
    with LedgerWriter.open_for_append(out / run_folder.LEDGER) as writer:
        play(Search(chosen, writer, ledger_of(out).events))
    assert write_plots(run_folder.read(out), out)
    assert not ledger_of(out).pending


def test_a_search_in_which_too_much_fails_stops_and_says_why(tmp_path: Path) -> None:
    faults, changes = FaultsConfig(most_failed=0.5, least=4), {"trials": 12, "early_stopping": EarlyStopping(())}
    code, _, errors = ran(*alone(tmp_path, simulated(faults, changes, diverge=1.0)))
    why = "failed, above the limit 0.5 of faults.most_failed; the last one: diverged within 4 steps, as simulated"
    assert (code, errors) == (2, f"error: faults.most_failed: '4 of 4 trials' {why}\n")
    out = tmp_path / "out"
    assert len(ledger_of(out).failed) == 4 and not ledger_of(out).completed
    with pytest.raises(InputError, match="'4 of 4 trials' failed"):  # counts anew: the cause may be fixed
        resumed(out)
    assert len(ledger_of(out).failed) == 8


def attempts_of(tmp_path: Path, **faults: float) -> Retries:
    chosen = settings(faults=FaultsConfig(**faults))  # type: ignore[arg-type]
    return Retries(Search(chosen, begin(tmp_path / "out", chosen)))


def test_the_reason_of_every_attempt_is_kept(tmp_path: Path) -> None:
    attempts = attempts_of(tmp_path, attempts=3)
    for attempt, reason in enumerate(("its node\nwas lost", "RuntimeError: no", "its node was lost")):
        first = attempts.propose(f"x{attempt}")
        assert first is not None and attempts.errors(first) == attempt
        attempts.fail(f"x{attempt}", reason)
    notes = [entry.record for entry in ledger_of(tmp_path / "out").entries if isinstance(entry.record, Note)]
    assert [note.text for note in notes] == [
        "trial 0: its node was lost; attempt 1 of 3",
        "trial 0: RuntimeError: no; attempt 2 of 3",
    ]
    assert attempts.search.failed == {0: Failed(0, "its node was lost, 2 times, RuntimeError: no", 3)}
    assert not attempts.over


def test_clips_that_cannot_be_had_are_the_fault_of_no_candidate(tmp_path: Path) -> None:
    attempts = attempts_of(tmp_path, attempts=2)
    fault = InputError("clips.npy", "Stale file handle", "prevented reading the dataset")
    for name in ("x", "y"):
        assert attempts.propose(name) and not attempts.over
        attempts.fail(name, fault)
    assert attempts.fault is fault and attempts.over
    assert [proposal.index for proposal in ledger_of(tmp_path / "out").pending] == [0]


def test_a_trial_without_a_sign_for_too_long_is_overdue(tmp_path: Path) -> None:
    attempts = attempts_of(tmp_path, trial_seconds=1.0)
    assert attempts.propose("x") and attempts.propose("y")
    attempts.begin("x")
    assert attempts.not_begun() == ["y"] and attempts.overdue() == []
    attempts._last["x"] -= 2.0
    assert attempts.overdue() == ["x"]
    attempts.begin("x")  # repeated in every turn
    assert attempts.overdue() == ["x"]
    attempts.observe("x", Rung(0, 1, {"likelihood": 0.1}, 1.0))
    assert attempts.overdue() == []
    attempts._last["x"] -= 2.0
    attempts.die("x")
    assert attempts._reasons == {0: ["no result within 1 s"]}


def test_a_search_that_drains_hands_out_nothing(tmp_path: Path) -> None:
    attempts = attempts_of(tmp_path)
    assert attempts.propose("x") and attempts.propose("y")
    attempts.search.drain()
    assert attempts.propose("z") is None and not attempts.over
    attempts.die("x")
    assert attempts.propose("z") is None and not attempts.over  # not even the trial that was running
    attempts.observe("y", Completed(1, 4, {"likelihood": 0.1}, 1.0))
    attempts.end("y")
    assert attempts.over and not attempts.search.finished
    assert [proposal.index for proposal in ledger_of(tmp_path / "out").pending] == [0]


@pytest.mark.parametrize("failing", [0.5, 1.0])
@pytest.mark.parametrize("name", ["random", "stratified_random", "ageing_evolution", "nsga2", "frontier_search"])
def test_what_failed_is_not_proposed_again(tmp_path: Path, name: str, failing: float) -> None:
    chosen = settings(
        algorithm=AlgorithmConfig(name), trials=12, finals=Finals(0), faults=FaultsConfig(most_failed=1.0)
    )
    with begin(tmp_path / "out", chosen) as writer:
        search = Search(chosen, writer)
        seen: list[Proposal] = []
        while (proposal := search.propose()) is not None:
            seen.append(proposal)
            failed = Failed(proposal.index, "made up", 1)
            measured = Completed(proposal.index, 4, {"likelihood": 0.1 + 0.01 * proposal.index}, 1.0)
            search.observe(failed if proposal.index < failing * 12 else measured)
    assert len({proposal.fingerprint for proposal in seen}) == len(seen) == 12
