"""Test JSON lines of a search: events of the event log, counts and pace, and the outcome as the last line."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played_run import begin, play, settings
from small_search import ledger_of, small, written

import run_search
from cli import json_output
from nas.config.sections import AlgorithmConfig, EarlyStopping, Finals, SimulationConfig
from nas.loop.retries import Retries
from nas.loop.search import Search
from nas.monitor.json_lines import IN_THE_LEDGER, SCHEMA, JsonLines
from nas.monitor.trackers import TENSORBOARD
from nas.record.events import to_dict

CHOSEN: dict[str, Any] = {
    "trials": 12,
    "algorithm": AlgorithmConfig("random"),
    "early_stopping": EarlyStopping(rungs=(0.5,), bands=3, minimum=2),
}
ENDED = ("completed", "stopped", "failed")

pytestmark = pytest.mark.usefixtures("clip_cache")


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Search]:
    with begin(tmp_path / "run", settings(**CHOSEN)) as writer:
        yield Search(settings(**CHOSEN), writer)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_event_is_one_object_and_ended_trials_tell_how_far_it_is(search: Search) -> None:
    seen, stream = [], io.StringIO()
    search.watchers.append(lambda event: seen.append(to_dict(event)))
    with JsonLines(search, stream):
        play(search, failing=2)
        search.note("größer\nas a note")
    first, *lines = objects(stream.getvalue())
    assert (first["event"], first["schema"]) == ("started", SCHEMA) and first["progress"]["done"] == 0
    assert first["run"] == str(search.ledger.path.parent) and search.watchers == [search.watchers[0]]
    for line, event in zip(lines, seen, strict=True):
        assert ("progress" in line) == (line["event"] in ENDED)
        known = {name: value for name, value in event.items() if name not in IN_THE_LEDGER}
        assert {name: value for name, value in line.items() if name != "progress"} == known
    progress = [line["progress"] for line in lines if "progress" in line]
    assert [now["done"] for now in progress] == list(range(1, len(progress) + 1))
    assert progress[-1]["done"] == progress[-1]["planned"] and progress[-1]["seconds_left"] is None
    assert (progress[-1]["failed"], progress[-1]["stopped"]) == (1, len(search.stopped))
    assert all(now["trials_per_hour"] > 0 and now["seconds"] >= 0 for now in progress)
    volumes = [now["hypervolume"] for now in progress]
    assert volumes == sorted(volumes) and 0 < volumes[-1] < 1


def test_a_run_that_is_resumed_begins_where_it_was(search: Search) -> None:
    play(search, trials=3)
    stream = io.StringIO()
    with JsonLines(search, stream):
        play(search, trials=1)
    first, *_, last = objects(stream.getvalue())
    assert first["progress"]["done"] == 3 and first["progress"]["trials_per_hour"] is None
    assert last["progress"]["done"] == 4 and first["progress"]["hypervolume"] > 0


class Closed(io.StringIO):
    """A stream whose reader has closed it."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_does_not_end_the_search(search: Search) -> None:
    with JsonLines(search, Closed()) as lines:
        play(search, trials=2)
    assert lines.stream.failed and len(search.completed) + len(search.stopped) == 2


def test_the_command_ends_with_its_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run also writes for TensorBoard, which is recorded, so that a resumed run does the same."""
    family = {"targets": {"a0": 1e7}, "ensemble": {}}
    chosen = small(simulation=SimulationConfig(), trials=6, finals=Finals(1, 2, ()), family=family)
    out, file = tmp_path / "run", written(tmp_path, chosen)
    before = signal.getsignal(signal.SIGTERM)
    try:
        asked = ["search", str(file), "--serial", "--json-lines", "--tensorboard", "--out", str(out)]
        assert run_search.main(asked) == 0
        printed, errors = capsys.readouterr()
        assert run_search.main(["search", "--resume", str(out), "--tensorboard"]) == 2
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "--tensorboard: 'True' cannot be combined with --resume" in capsys.readouterr().err
    first, *lines, last = objects(printed)
    assert errors == "" and first["event"] == "started" and last.pop("event") == "outcome"
    ledger = ledger_of(out)
    assert last == json.loads(json_output.text(json_output.outcome(ledger, out)))
    assert [line["event"] for line in lines] == [to_dict(entry.record)["event"] for entry in ledger.entries]
    assert {line["progress"]["workers"] for line in lines if "progress" in line} == {1}
    assert ledger.header.config["tracking"]["tensorboard"] is True
    assert len(list((out / TENSORBOARD).glob("trial_*/events.out.tfevents.*"))) == len(ledger.proposals)


def test_attempts_that_are_made_again_are_counted(search: Search) -> None:
    attempts, stream = Retries(search), io.StringIO()
    with JsonLines(search, stream):
        for number in range(search.config.faults.attempts):
            assert attempts.propose(f"attempt {number}") is not None
            attempts.fail(f"attempt {number}", "its worker died")
    notes = [line["text"] for line in objects(stream.getvalue()) if line["event"] == "note"]
    last = objects(stream.getvalue())[-1]
    assert len(notes) == search.retried == last["progress"]["retried"] == 2 and last["attempts"] == 3


def test_it_cannot_be_quiet_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_search.main(["search", "tiny", "--quiet", "--json-lines"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: argument --json-lines: not allowed with argument --quiet")
