"""Test the event log on real files: round trips, damage of every kind, kill -9, locking and speed."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.loop.run_lock import RunLock
from nas.record import correct_clips
from nas.record.events import Completed, Failed, Note, Proposal, Resumed, Rung, Stopped, from_dict, to_dict
from nas.record.ledger import Header, read
from nas.record.ledger_writer import LedgerWriter
from search_space.base.errors import InputError

HEADER = Header(
    config={"budget": {"steps": 10}},
    versions={"numpy": "2"},
    seed=7,
    data_hash="abc",
    created="2030-01-01T00:00:00+00:00",
)
ROOT = Path(__file__).parents[1]


def proposal(index: int, **changes) -> Proposal:
    values = {
        "kind": "search",
        "genotype": (0, 1, index),
        "architecture": {"stem": {"width": 8}},
        "fingerprint": f"f{index}",
    }
    return Proposal(**{"index": index, **values, "repeat": 0, "seed": 5, "cost": {"macs": 100 + index}, **changes})


STORY = [
    proposal(0),
    proposal(1, kind="reference", genotype=None, label="a0"),
    proposal(2),
    Rung(0, 5, {"accuracy": 0.25}, 1.5),
    Completed(1, 10, {"accuracy": 0.5, "loss": 1}, 3.0, {"clips": 3, "bits": "oA==", "clips_per_video": [1, 2]}),
    Note("a note with \u00fcml\u00e4uts\nand two lines"),
    Rung(2, 5, {"accuracy": 0.1}, 1.5),
    Stopped(2, 5, {"accuracy": 0.1}, 1.5),
    proposal(3),
    Failed(3, "out of memory", 2),
    Resumed({"numpy": "3"}),
    Rung(0, 5, {"accuracy": 0.3}, 1.6),
    Completed(0, 10, {"accuracy": 0.6}, 3.0),
    proposal(4),
    proposal(5),
    Failed(5, "worker died", 1),
    Rung(5, 5, {"accuracy": 0.3}, 1.6),
]


def written(folder: Path, records=tuple(STORY)) -> Path:
    path = folder / "ledger.jsonl"
    ticks = iter(range(1000, 100_000))
    with LedgerWriter.create(path, HEADER, clock=lambda: next(ticks)) as writer:
        for record in records:
            writer.append(record)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    return message


def test_what_is_written_is_read(tmp_path):
    ledger = read(written(tmp_path))
    assert ledger.header == HEADER and not ledger.torn
    assert [entry.record for entry in ledger.entries] == STORY
    assert [entry.time for entry in ledger.entries] == list(range(1000, 1000 + len(STORY)))
    assert [entry.line for entry in ledger.entries] == list(range(2, 2 + len(STORY)))
    assert ledger.size == (tmp_path / "ledger.jsonl").stat().st_size


def test_accessors(tmp_path):
    ledger = read(written(tmp_path))
    assert list(ledger.proposals) == [0, 1, 2, 3, 4, 5]
    assert list(ledger.completed) == [1, 0]  # in the order of completion
    assert list(ledger.stopped) == [2] and list(ledger.failed) == [3]
    assert [p.index for p in ledger.pending] == [4, 5]  # 5 failed once and was retried
    assert [(r.index, r.metrics["accuracy"]) for r in ledger.rungs] == [(0, 0.25), (2, 0.1), (5, 0.3)]
    assert ledger.events == [
        r for r in STORY if not isinstance(r, Note | Resumed) and r != Rung(0, 5, {"accuracy": 0.3}, 1.6)
    ]


def test_the_file_can_be_read_without_our_code(tmp_path):
    lines = [json.loads(line) for line in written(tmp_path).read_text().splitlines()]
    assert lines[0]["schema"] == "movinet-nas/ledger/1" and lines[0]["seed"] == 7
    assert lines[1]["event"] == "proposal" and lines[1]["genotype"] == [0, 1, 0]
    assert lines[5] == {
        "event": "completed",
        "index": 1,
        "steps": 10,
        "metrics": {"accuracy": 0.5, "loss": 1},
        "seconds": 3.0,
        "correct": {"clips": 3, "bits": "oA==", "clips_per_video": [1, 2]},
        "time": 1004,
    }


def test_an_existing_ledger_is_never_overwritten(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="already exists"):
        LedgerWriter.create(path, HEADER)
    assert path.read_bytes() == before


def test_appending_continues_the_record(tmp_path):
    path = written(tmp_path)
    with LedgerWriter.open_for_append(path) as writer:
        writer.append(Completed(4, 10, {"accuracy": 0.5}, 1.0))
        assert read(path).completed.keys() == {0, 1, 4}  # on disk when append returns
    assert [p.index for p in read(path).pending] == [5]
    assert abs(read(path).entries[-1].time - time.time()) < 60


@pytest.mark.parametrize(
    "tail",
    [
        b'{"event":"comp',
        b'{"event":"note","text":"x","time":1}',
        b'{"event":"comp\n',
        b"\0\0\0\n",
        b"\xff\n",
        b"[" * 9999 + b"\n",
    ],
)
def test_a_torn_last_line_is_reported_and_cut_off(tmp_path, tail):
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    ledger = read(path)
    assert ledger.torn and [entry.record for entry in ledger.entries] == STORY
    with LedgerWriter.open_for_append(path) as writer:
        writer.append(Note("on"))
    assert path.read_bytes().startswith(whole + b'{"event":"note","text":"on"')
    assert not read(path).torn and len(read(path).entries) == len(STORY) + 1


@given(cut=st.integers(0, 2000))
def test_cut_anywhere_it_is_read_up_to_there_or_refused(tmp_path_factory, cut):
    path = written(tmp_path_factory.mktemp("cut"))
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole_lines = data.count(b"\n")
    if whole_lines == 0:
        assert "lacks a complete first line" in refusal(path)
    else:
        ledger = read(path)
        assert [entry.record for entry in ledger.entries] == STORY[: whole_lines - 1]
        assert ledger.torn == (not data.endswith(b"\n"))


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (5, "{torn", ":5: '{torn' is not JSON"),
        (5, "", ":5: '' is not JSON"),
        (5, "[1]", ":5: [1] must be a mapping whose 'event' is one of"),
        (5, '{"event":"finished","time":1}', "must be a mapping whose 'event' is one of"),
        (5, '{"event":["rung"],"time":1}', "must be a mapping whose 'event' is one of"),
        (5, '{"event":"rung","index":0,"steps":5,"metrics":{},"seconds":1}', ":5: time: None must be a number"),
        (5, '{"event":"rung","index":0,"steps":5,"metrics":{},"time":1}', "lacks the key 'seconds'"),
        (5, '{"event":"note","text":"x","more":1,"time":1}', "'more' is an unknown key"),
        (5, r'{"event":"note","text":"\ud800","time":1}', "note.text: '\\ud800' must be valid Unicode text"),
        (
            5,
            '{"event":"rung","index":-1,"steps":5,"metrics":{},"seconds":1,"time":1}',
            ":5: rung.index: -1 must be an integer",
        ),
        (
            5,
            '{"event":"rung","index":0,"steps":5,"metrics":{"loss":NaN},"seconds":1,"time":1}',
            "rung.metrics.loss: nan must be",
        ),
        (
            5,
            '{"event":"rung","index":9,"steps":5,"metrics":{},"seconds":1,"time":1}',
            ":5: 'trial 9' was never proposed",
        ),
        (
            6,
            '{"event":"completed","index":0,"steps":9,"metrics":{},"seconds":1,"time":1}',
            "'trial 0' finished twice, lines 6 and 14",
        ),
        (4, '{"event":"proposal"}', "lacks the key"),
        (1, '{"schema":"movinet-nas/ledger/2"}', ":1: 'movinet-nas/ledger/2' is of another version"),
        (1, '{"schema":"movinet-nas/space/1"}', "is not the header of an event log"),
        (1, '{"schema":"movinet-nas/ledger/1"}', "lacks the key 'config'"),
        (
            1,
            '{"schema":"movinet-nas/ledger/1","config":1,"versions":{},"seed":1,"data_hash":"","created":""}',
            "header.config: 1 must be",
        ),
        (1, '{"name": "something else"}', "is not the header of an event log"),
        (1, "[]", "is not the header of an event log"),
        (1, "index,macs,accuracy", "is not the header of an event log"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, line, text, says):
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    assert says in refusal(path)
    with pytest.raises(InputError):
        LedgerWriter.open_for_append(path)


def test_a_second_proposal_or_finish_of_a_trial_is_refused(tmp_path):
    path = written(tmp_path, [*STORY, Completed(2, 10, {}, 1)])
    assert "'trial 2' finished twice, lines 9 and 19" in refusal(path)
    path.unlink()
    assert "'trial 3' was proposed twice, lines 10 and 19" in refusal(written(tmp_path, [*STORY, proposal(3)]))


def test_files_that_are_no_ledger(tmp_path):
    missing, empty, binary = tmp_path / "no.jsonl", tmp_path / "empty.jsonl", tmp_path / "binary.jsonl"
    empty.touch()
    binary.write_bytes(bytes(range(256)) * 10)
    assert "No such file" in refusal(missing)
    assert "lacks a complete first line" in refusal(empty)
    assert "is not the header" in refusal(binary)
    assert "Is a directory" in refusal(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="No such file or directory"):
        LedgerWriter.create(tmp_path / "no" / "ledger.jsonl", HEADER)
    with pytest.raises(InputError, match="No such file or directory"), RunLock(tmp_path / "no"):
        pass


def test_a_line_that_does_not_fit_leaves_nothing_behind(tmp_path):
    path = written(tmp_path)
    size = path.stat().st_size
    writer = LedgerWriter.open_for_append(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        for _ in range(2):
            with pytest.raises(InputError, match="prevented writing"):
                writer.append(Note("longer than twenty bytes"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == size
    writer.append(Note("space again"))
    writer.close()
    assert read(path).entries[-1].record == Note("space again")


names = st.text(min_size=1, max_size=5)
counts = st.integers(0, 2**40)
finite = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(names, finite, max_size=3)
records = st.one_of(
    st.builds(
        Proposal,
        index=counts,
        kind=st.sampled_from(["search", "reference", "finalist"]),
        genotype=st.lists(st.integers(0, 9), max_size=5).map(tuple),
        architecture=st.dictionaries(names, st.integers(), max_size=2),
        fingerprint=names,
        repeat=counts,
        seed=counts,
        cost=st.dictionaries(names, counts, max_size=3),
        label=st.text(max_size=3),
    ),
    *(
        st.builds(kind, index=counts, steps=counts, metrics=metrics, seconds=finite)
        for kind in (Rung, Completed, Stopped)
    ),
    st.builds(Failed, index=counts, reason=names, attempts=st.integers(1, 9)),
    st.builds(Note, text=names),
    st.builds(Resumed, versions=st.dictionaries(names, names, max_size=2)),
)


@given(records)
def test_every_record_survives_json(record):
    assert from_dict(json.loads(json.dumps(to_dict(record)))) == record


@pytest.mark.parametrize(
    "changes",
    [
        {"index": -1},
        {"kind": "winner"},
        {"genotype": None},
        {"genotype": (0, -1)},
        {"architecture": "a0"},
        {"fingerprint": ""},
        {"cost": {"macs": 1.5}},
        {"label": None},
    ],
)
def test_a_wrong_proposal_is_refused(changes):
    with pytest.raises(InputError, match=f"proposal.{next(iter(changes))}"):
        dataclasses.replace(proposal(0), **changes)


@pytest.mark.parametrize(
    ("place", "data"),
    [
        ("", {"clips": 3}),
        ("clips", {"clips": 0, "bits": ""}),
        ("bits", {"clips": 9, "bits": "oA=="}),
        ("bits", {"clips": 3, "bits": "?A=="}),
        ("clips_per_video", {"clips": 3, "bits": "oA==", "clips_per_video": [2]}),
        ("clips_per_video", {"clips": 3, "bits": "oA==", "clips_per_video": [4, -1]}),
    ],
)
def test_wrong_results_of_clips_are_refused(place, data):
    with pytest.raises(InputError, match=f"completed.correct.*{place}"):
        Completed(0, 10, {"accuracy": 0.5}, 1.0, data)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=20))
def test_packed_results_of_clips_are_unpacked_by_video(videos):
    right, sizes = np.concatenate(videos), np.array([len(video) for video in videos])
    found = correct_clips.unpacked(json.loads(json.dumps(correct_clips.packed(right, sizes))))
    assert [found[0].tolist(), found[1].tolist()] == [[sum(video) for video in videos], sizes.tolist()]
    assert correct_clips.unpacked(correct_clips.packed(right))[0].tolist() == right.tolist()


LOCKING = """
import sys, time
from nas.loop.run_lock import RunLock
with RunLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_kept_out_until_the_first_is_killed(tmp_path):
    first = subprocess.Popen([sys.executable, "-c", LOCKING, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"run.lock: '{first.pid}' is the process id"), RunLock(tmp_path):
            pass
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    for _ in range(2):  # after kill -9, and after a release
        with RunLock(tmp_path):
            assert (tmp_path / "run.lock").read_text() == f"{os.getpid()}\n"


APPENDING = """
import sys
from nas.record.ledger_writer import LedgerWriter
from nas.record.events import Note
with LedgerWriter.open_for_append(sys.argv[1]) as writer:
    for i in range(10**6):
        writer.append(Note(f"{i}"))
        print(i, flush=True)
"""


def test_nothing_reported_as_written_is_lost_by_kill_9(tmp_path):
    path = written(tmp_path, [])
    process = subprocess.Popen([sys.executable, "-c", APPENDING, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    reported = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    reported += [int(line) for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    notes = [int(entry.record.text) for entry in read(path).entries]
    assert notes[: len(reported)] == reported and len(notes) - len(reported) <= 1


def test_many_events_are_read_in_seconds(tmp_path):
    path = written(tmp_path, [])
    architecture = {"blocks": [{"layers": [{"expand": 64, "kernel": [3, 3, 3], "squeeze_excite": True}] * 4}] * 5}
    with path.open("a") as file:
        for i in range(10_000):
            for record in (proposal(i, architecture=architecture), Completed(i, 10, {"accuracy": i / 10_000}, 1.0)):
                file.write(json.dumps({**to_dict(record), "time": i}) + "\n")
    started = time.process_time()
    ledger = read(path)
    assert len(ledger.completed) == 10_000 and not ledger.pending
    assert time.process_time() - started < 3  # about 0.4 s measured
