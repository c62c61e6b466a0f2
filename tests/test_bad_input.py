"""Test bad input of every kind: one clear line, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import yaml
from played_run import played, settings

import run_search
from nas.config import search_config
from nas.loop.run_lock import RunLock
from search_space.network import counted, dump
from search_space.published import A0

ROOT = Path(__file__).parents[1]
FRONTIER = ROOT / "results/published/frontier"
DEAREST = pd.read_csv(FRONTIER / "front.csv")["index"].iloc[-1]
NOBODY = 65534
Run = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def cache() -> Iterator[Path]:
    """Yield one cache for all tests here, in a folder that any user may enter."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        os.chmod(folder, 0o755)
        patch.setenv("MOVINET_NAS_CACHE", f"{folder}/cache")
        yield Path(folder)


@pytest.fixture(scope="module")
def whole(cache: Path) -> Path:
    """Return a finished run."""
    return played(cache / "whole")


@pytest.fixture(scope="module")
def unfinished(cache: Path) -> Path:
    """Return a run without finished trials."""
    return played(cache / "unfinished", trials=0)


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that must fail as bad input does; return its one line."""

    def run(*arguments: object) -> str:
        try:
            code = run_search.main(list(map(str, arguments)))
        except SystemExit as exit:  # argparse exits this way
            code = exit.code
        captured = capsys.readouterr()
        assert (code, captured.out) == (2, "")
        return checked(captured.err)

    return run


def checked(line: str) -> str:
    assert line.startswith("error: ") and line.endswith("\n") and line.count("\n") == 1
    return line


def assert_says(line: str, *words: object) -> None:
    for word in words:
        assert str(word) in line


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder except the lock, which is not part of the record."""
    paths = (path for path in folder.rglob("*") if path.name != "run.lock")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def plain() -> dict[str, Any]:
    """Return a valid configuration as plain data."""
    return search_config.to_dict(settings())


def changed(place: str, value: Any, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Replace the value at a place like `space.blocks.0.depths` of `data` or `plain`; `...` removes it."""
    data = copy.deepcopy(data) if data else plain()
    inner: Any = data
    *way, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copy.deepcopy(data)


def test_the_good_configuration_is_good() -> None:
    assert search_config.from_dict(yaml.safe_load(yaml.safe_dump(plain()))) == settings()


# Field, value, and the texts that the line must contain beside the field.
CONFIGURATIONS = [
    ("steps", 3, "'steps'", "unknown key", "training"),
    ("training.stepps", 3, "'stepps'", "unknown key", "steps"),
    ("training.steps", ..., "lacks the key 'steps'"),
    ("training", [1], "mapping"),
    ("training.steps", "12", "'12'", "integer"),
    ("training.steps", True, "True", "integer"),
    ("training.steps", 0, "0 must be", "from 1"),
    ("training.batch_size", 10**30, 10**30, "65536"),
    ("training.learning_rate", float("nan"), "nan", "number from"),
    ("seed", 2**31, 2**31, "integer from 0"),
    ("resources.cpus", 0, "0 must be", "from 0.01"),
    ("resources", {"gpus": 1, "engine": "fused"}, "resources.gpus", "engine fused"),
    ("schema", "movinet-nas/search/2", "movinet-nas/search/2", "movinet-nas/search/1"),
    ("space", ..., "lacks the key 'space'"),
    ("space.resolutions", [], "[]", "at least 1 entry"),
    ("space.resolutions", [16, 16], "16", "twice"),
    ("space.resolutions", [24, "x"], "'x'", "integer"),
    ("space.blocks.0.stride", 3, "3", "from 1 to 2"),
    ("space.blocks.1.kernels", [[2, 3, 3]], "(2, 3, 3)", "odd"),
    ("space.blocks.1.expansions", [float("nan")], "nan", "number above 0"),
    ("limits", {"flops": 1}, "'flops'", "must be one of macs"),
    ("limits", [8], "[8]", "mapping"),
    ("data.source", "youtube", "'youtube'", "moving_digits, video_folder, video_csv"),
    ("data.level", "defualt", "'defualt'", "did you mean 'default'"),
    ("data.path", "/videos", "'/videos'", "must be left out for the source moving_digits"),
    ("algorithm.name", "random_saerch", "'random_saerch'", "stratified_random"),
    ("algorithm.options", {"stratum": 3}, "'stratum'", "unknown key; known: repeats, strata"),
    ("early_stopping.rungs", [0.5, 0.25], "[0.5, 0.25]", "must rise"),
    ("early_stopping.reduction", 1, "1", "number from"),
    ("finals.references", ["a0", "b7"], "'b7'", "a0, a1"),
    ("family", {"clases": 600}, "'clases'", "unknown key", "classes"),
    ("family", {"targets": {"a0": "2.7 G"}}, "'2.7 G'", "number"),
    ("family", {"lift": {"width": float("nan")}}, "nan", "lift.width"),
]


@pytest.mark.parametrize(
    ("place", "value", "words"), [(place, value, words) for place, value, *words in CONFIGURATIONS]
)
def test_configurations(place: str, value: Any, words: list[object], error: Run, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(changed(place, value)))
    line = error("search", file, "--out", tmp_path / "out")
    assert_says(line, file, place.partition(".")[0], *words)
    assert os.listdir(tmp_path) == ["my.yaml"]


# Valid parts that do not fit together: found with the data at hand, but before a folder is created.
UNFIT = [
    ("space.classes", 13, "space.classes: 13", "must be 12", "moving_digits"),
    ("space.frames", 32, "space.frames: 32", "must be 16"),
    ("space.resolutions", [16, 48], "space.resolutions: 48", "at most 24"),
    ("limits", {"macs": 10}, "macs: 10", "cheapest architecture"),
    ("limits", {"macs": 2e6, "total_parameters": 100.5}, "total_parameters: 100.5", "cheapest architecture"),
    ("algorithm.options", {"strata": 0}, "strata: 0", "integer from 1"),
]


@pytest.mark.parametrize(("place", "value", "words"), [(place, value, words) for place, value, *words in UNFIT])
def test_what_does_not_fit_leaves_no_folder(
    place: str, value: Any, words: list[object], error: Run, tmp_path: Path
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(changed(place, value)))
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (tmp_path / "deep/er/out", empty):
        assert_says(error("search", file, "--out", folder), *words)
    assert sorted(os.listdir(tmp_path)) == ["empty", "my.yaml"] and not os.listdir(empty)


BEFORE_DATA = [
    ("limits", {"macs": 10}, "search.limits.macs: 10", "cheapest architecture"),
    ("algorithm", {"name": "frontier_search", "options": {"start": 0}}, "start: 0"),
    ("finals.references", ["a0@5x17"], "finals.references: 'a0@5x17'", "one of the space's clips"),
    ("costs", ["macs", "state_bytes"], "costs", "too many for stratified_random"),
    ("family", {"targets": {"a0": 2e9, "a1": 1e9}}, "search.family.targets.a1", "must not be below"),
    ("family", {"strides": [1, 2]}, "search.family.strides: [1, 2]", "must be 5 strides"),
]


@pytest.mark.parametrize(("place", "value", "words"), [(place, value, words) for place, value, *words in BEFORE_DATA])
def test_the_configuration_is_checked_before_any_video_is_decoded(
    place: str, value: Any, words: list[object], error: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "cache"))
    videos = tmp_path / "videos"
    for name in ("one", "two"):
        (videos / name).mkdir(parents=True)
        for number in range(3):
            (videos / name / f"broken{number}.mp4").write_bytes(b"no video")  # decoding it is an error
    data = changed("data", {"source": "video_folder", "path": str(videos)})
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(data))
    assert "broken" in error("search", file, "--out", tmp_path / "out")
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(tmp_path / "unused"))
    file.write_text(yaml.safe_dump(changed(place, value, data)))
    line = error("search", file, "--out", tmp_path / "out")
    assert_says(line, *words)
    assert "broken" not in line and not {"out", "unused"} & {*os.listdir(tmp_path)}


TEXTS = {
    "empty": (b"", "None", "mapping"),
    "a list": (b"- 1\n- 2\n", "[1, 2]", "mapping"),
    "no YAML": (b"training: {steps: 1\ntrials: [", "is not YAML", "line 2"),
    "tabs": (b"training:\n\tsteps: 1\n", "is not YAML", "line 2"),
    "a Python tag": (b"!!python/object/apply:os.system ['echo hacked']", "is not YAML", "python/object"),
    "a Python name": (b"training: !!python/name:os.system", "is not YAML"),
    "recursion": (b"family: &a {x: *a}", "is not YAML", "deeper than 50 levels"),
    "depth": (b"[" * 1500, "is not YAML"),
    "a key twice": (b"trials: 3\nseed: 1\ntrials: 4\n", "'trials' again", "line 3"),
    "a date": (b"family: {made: 2024-02-29}", "not plain data", "date"),
    "no such date": (b"family: {made: 2023-02-29}", "is not YAML", "day"),
    "a huge number": (b"trials: 0x" + b"f" * 10_000, "not plain data", "integer"),
    "a huge decimal": (b"trials: " + b"9" * 10_000, "is not YAML", "integer"),
    "a bad tag": (b"trials: !!int ''", "is not YAML"),
    "binary": (bytes(range(256)), "is not YAML", "utf-8"),
    "a space": (b"schema: movinet-nas/space/1\nname: x\n", "movinet-nas/space/1", "key space of a search"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_files_that_hold_no_configuration(case: str, error: Run, tmp_path: Path) -> None:
    text, *words = TEXTS[case]
    file = tmp_path / "my.yaml"
    file.write_bytes(text)
    assert_says(error("search", file, "--out", tmp_path / "out"), file, *words)
    assert os.listdir(tmp_path) == ["my.yaml"]
    if case != "a space":
        assert_says(error("describe", file), file)


def test_a_large_file_is_refused_before_it_is_read_whole(error: Run, tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    with file.open("wb") as new:
        new.truncate(2**40)
    for command in ("search", "describe"):
        assert_says(error(command, file), file, "larger")


FLAGS = [
    (["serach", "tiny"], "'serach'", "did you mean 'search'?"),
    (["tiny"], "'tiny'", "did you mean 'search tiny'?"),
    (["frobnicate"], "'frobnicate'", "search, one-shot, plot, report"),
    (["search", "tyni"], "'tyni'", "did you mean 'tiny'?"),
    (["search", "no/such.yaml"], "'no/such.yaml'", "No such file"),
    (["search", "."], "'.'", "nor a YAML file"),
    (["search", "tiny", "--wrokers", "3"], "'--wrokers'", "did you mean '--workers'?"),
    (["search", "tiny", "more"], "'more'", "unexpected"),
    (["compare", "x.csv", "--ot", "x"], "'--ot'", "did you mean '--out'?"),  # reported before the missing --out
    (["compare", "tiny", "--out", "x", "--algorithms", "frontier_serch"], "did you mean 'frontier_search'?"),
    (["completion", "bsh"], "'bsh'", "did you mean 'bash'?"),
    (["scale", str(FRONTIER), "--refine", "a9"], "'a9'", "did you mean 'a"),
    (["reproduce", str(FRONTIER), f"trail {DEAREST}"], f"'trail {DEAREST}'", f"did you mean 'trial {DEAREST}'?"),
    (["search", "tiny", "--workers", "two"], "--workers", "'two'"),
    (["search", "tiny", "--workers", "-1"], "--workers: -1", "integer from 0"),
    (["search", "tiny", "--seed", str(10**20)], f"--seed: {10**20}", "integer from 0"),
    (["search", "tiny", "--seed"], "--seed", "expected one argument"),
    (["--workers", "-1"], "--workers: -1", "integer from 0"),  # of the default search
    (["plot"], "required", "run"),
    (["plot", "x", "--out", "y"], "'--out'", "plot"),
    (["plot", "/no/such"], "'/no/such'", "is not a folder"),
    (["describe", "a7"], "'a7'", "known: a0", "did you mean"),
    (["describe", "a" * 5000], "not a published network"),
    (["describe", "no/such.yaml"], "'no/such.yaml'", "No such file"),
    (["describe", "/"], "'/'", "Is a directory"),
    (["describe", "a0", "--classes", "0"], "--classes: 0", "integer from 1"),
]


@pytest.mark.parametrize(("arguments", "words"), [(arguments, words) for arguments, *words in FLAGS])
def test_flags(
    arguments: list[str], words: list[str], error: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_says(error(*arguments), *words)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("more", [["--seed", "1"], ["--out", "x"], ["--workers", "1"], ["--trials", "9"], ["tiny"]])
def test_resume_takes_nothing_else(more: list[str], error: Run, whole: Path) -> None:
    before = contents(whole)
    assert_says(error("search", *more, "--resume", whole), more[0] if len(more) > 1 else "config", "--resume")
    assert contents(whole) == before


def test_the_output_of_another_run_is_not_touched(error: Run, whole: Path) -> None:
    before = contents(whole)
    assert_says(error("search", "tiny", "--out", whole), "--out", whole, "already contains a run", "--resume")
    assert contents(whole) == before


@pytest.mark.parametrize("name", ["notes.txt", "notes.txt/deep/er"])
def test_output_where_something_else_is(name: str, error: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert_says(error("search", "tiny", "--out", tmp_path / name), "--out", tmp_path)
    assert_says(error("search", "tiny", "--out", tmp_path), "--out", "new or an empty folder")
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_output_where_nothing_can_be_made(error: Run) -> None:
    assert_says(error("search", "tiny", "--trials", "1", "--out", "/proc/run"), "--out", "/proc/run")


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def with_header(folder: Path, **values: object) -> list[bytes]:
    first, *rest = lines_of(folder)
    return [json.dumps(json.loads(first) | values).encode() + b"\n", *rest]


def with_config(folder: Path, place: str, value: object) -> list[bytes]:
    return with_header(folder, config=changed(place, value))


LEDGERS: dict[str, tuple[Callable[[Path], list[bytes]], tuple[str, ...]]] = {
    "empty": (lambda run: [], ("is not an event log", "first line")),
    "half a header": (lambda run: [lines_of(run)[0][:80]], ("is not an event log", "first line")),
    "not a ledger": (lambda run: [b"hello\n", b"you\n"], (":1", "'hello'", "header")),
    "binary": (lambda run: [bytes(range(256)) * 9], (":1", "header")),
    "a newer schema": (
        lambda run: with_header(run, schema="movinet-nas/ledger/2"),
        ("movinet-nas/ledger/2", "another version"),
    ),
    "a broken line": (lambda run: [*lines_of(run)[:3], b'{"event":\n', *lines_of(run)[3:]], (":4", "JSON")),
    "an unknown event": (
        lambda run: [lines_of(run)[0], b'{"event":"party","time":1}\n', lines_of(run)[1]],
        (":2", "'party'", "must be"),
    ),
    "a trial never proposed": (lambda run: [lines_of(run)[0], *lines_of(run)[2:]], (":2", "never proposed")),
    "a trial proposed twice": (lambda run: [*lines_of(run)[:2], *lines_of(run)[1:]], (":3", "twice")),
}


@pytest.mark.parametrize("case", LEDGERS)
@pytest.mark.parametrize("command", ["plot", "scale", "search --resume"])
def test_broken_ledgers(case: str, command: str, error: Run, whole: Path, tmp_path: Path) -> None:
    make, words = LEDGERS[case]
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(make(whole)))
    before = contents(tmp_path)
    assert_says(error(*command.split(), tmp_path), tmp_path / "ledger.jsonl", *words)
    assert contents(tmp_path) == before


RESUMES: dict[str, tuple[Callable[[Path], list[bytes]], tuple[str, ...]]] = {
    "changed data": (lambda run: with_header(run, data_hash="0" * 64), ("0" * 64, "clips have changed")),
    "an unknown key": (lambda run: with_config(run, "colour", "red"), (":1: config", "'colour'", "unknown key")),
    "another space": (
        lambda run: with_config(run, "space.project", [72]),
        ("ledger.jsonl: tiny: head.project", "from 0 to 0"),
    ),
}


@pytest.mark.parametrize("case", RESUMES)
def test_runs_that_cannot_be_resumed(case: str, error: Run, whole: Path, tmp_path: Path) -> None:
    make, words = RESUMES[case]
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(make(whole)))
    before = contents(tmp_path)
    assert_says(error("search", "--serial", "--resume", tmp_path), *words)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["plot", "scale", "search --resume"])
def test_a_folder_without_a_run(command: str, error: Run, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    assert_says(error(*command.split(), tmp_path), tmp_path, "ledger.jsonl")
    assert_says(error(*command.split(), tmp_path / "photo.jpg"), "photo.jpg", "is not a folder")
    assert contents(tmp_path) == {"photo.jpg": b"mine"}


def test_a_run_that_another_process_uses(error: Run, whole: Path) -> None:
    before = contents(whole)
    with RunLock(whole):
        line = error("search", "--serial", "--resume", whole)
    assert_says(line, "run.lock", os.getpid(), "process")
    assert contents(whole) == before


@pytest.mark.parametrize("command", ["plot", "scale"])
def test_a_run_without_a_finished_trial(command: str, error: Run, unfinished: Path) -> None:
    before = contents(unfinished)
    assert_says(error(command, unfinished), "0", "trial")
    assert contents(unfinished) == before


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["a0"], ["--target: 'a0'", "NAME=MACS"]),
        (["a0=inf"], ["--target: 'a0=inf'", "NAME=MACS"]),
        (["a0=-1"], ["--target: a0: -1.0", "number from 1"]),
        (["../x=1e9"], ["--target", "'../x'", "lower-case"]),
        (["a0=1e9", "a0=2e9"], ["--target", "second target of a0"]),
        (["a0=2e9", "a1=1e9"], ["--target: a1", "below the target before"]),
        (["a0=100"], ["a0: 100.0", "multiply-adds", "nearest"]),
        (["a0=1e18"], ["a0: 1e+18", "multiply-adds"]),
    ],
)
def test_targets(targets: list[str], words: list[str], error: Run, whole: Path) -> None:
    before = contents(whole)
    flags = [flag for target in targets for flag in ("--target", target)]
    assert_says(error("scale", whole, *flags), *words)
    assert contents(whole) == before


def test_a_network_with_another_cost_than_it_says(error: Run, tmp_path: Path) -> None:
    network = counted("mine", (A0,), 600)
    file = tmp_path / "mine.yaml"
    file.write_text(dump(network).replace(f"macs: {network.cost['macs']}", "macs: 12345"))
    assert_says(error("describe", file), file, "cost.macs: 12345", network.cost["macs"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("movinet-nas/network/1", "movinet-nas/network/9", ["schema", "network/9"]),
        ("frames: 50", "frames: fifty", ["members[0]", "clip.frames", "'fifty'"]),
        ("width: 8", "width: 8\n    height: 9", ["'height'", "unknown key"]),
        ("classes: 600", "classes: 0", ["classes: 0", "integer from 1"]),
    ],
)
def test_files_that_are_no_network(old: str, new: str, words: list[str], error: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(dump(counted("mine", (A0,), 600)).replace(old, new, 1))
    assert_says(error("describe", file, "--json"), file, *words)


def test_a_line_stays_one_line(error: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two\nlines.yaml").write_text("trials: 1\n")
    assert_says(error("search", "two\nlines.yaml"), "lacks the key")


def video(file: Path) -> None:
    """Write a video of a few frames."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for grey in range(0, 160, 10):
            image = np.full((32, 32, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def search_videos(error: Run, tmp_path: Path, path: object) -> str:
    """Return the error of a search over a folder of videos; it must leave neither a run nor a dataset behind."""
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(plain() | {"data": {"source": "video_folder", "path": str(path)}}))
    line = error("search", file, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    return line


@pytest.mark.parametrize("path", ["missing", "file.mp4", "nul\0byte", ""])
def test_folders_of_videos_that_are_none(path: str, error: Run, tmp_path: Path) -> None:
    (tmp_path / "file.mp4").write_bytes(b"")
    assert_says(search_videos(error, tmp_path, path and tmp_path / path), "folder")


def test_folders_without_videos(error: Run, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    assert_says(search_videos(error, tmp_path, root), root, "one sub-folder of videos per class")
    (root / "run").mkdir()
    (root / "run/notes.txt").write_text("none")
    assert_says(search_videos(error, tmp_path, root), root, "'run'", "without videos")
    video(root / "run/only.mp4")
    assert_says(search_videos(error, tmp_path, root), root, "three files")


def test_videos_that_are_corrupt_or_of_other_classes(error: Run, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for label, number in ((label, number) for label in ("run", "walk") for number in range(4)):
        video(root / f"{label}/{number}.mp4")
    assert_says(search_videos(error, tmp_path, root), "space.classes: 12", "must be 2")
    for file in (root / "walk").iterdir():
        file.write_bytes(b"\0" * 2000)
    assert_says(search_videos(error, tmp_path, root), root, "no usable video", "walk/", "cannot be decoded")
    shutil.rmtree(root / "walk")
    (root / "walk").symlink_to(tmp_path)
    assert_says(search_videos(error, tmp_path, root), "space.classes: 12", "must be 1")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Switch to another user for a while, because permissions do not restrict root."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a read-only folder that any user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_output_into_a_folder_that_is_read_only(error: Run, open_folder: Path) -> None:
    for out in (open_folder, open_folder / "new", open_folder / "new/deeper"):
        with unprivileged():
            line = error("search", "tiny", "--out", out)
        assert_says(line, "--out", out, "read-only")
    assert os.listdir(open_folder) == []


def test_a_run_that_is_read_only(error: Run, open_folder: Path, whole: Path) -> None:
    open_folder.chmod(0o755)
    shutil.copy(whole / "ledger.jsonl", open_folder)
    open_folder.chmod(0o555)
    before = contents(open_folder)
    for command in ("plot", "scale", "search --serial --resume"):
        with unprivileged():
            assert_says(error(*command.split(), open_folder), open_folder, "denied")
    assert contents(open_folder) == before


def test_folders_that_cannot_be_read(error: Run, tmp_path: Path, open_folder: Path) -> None:
    open_folder.chmod(0)  # no permission to enter it
    for arguments in (
        ["plot", open_folder],
        ["search", "tiny", "--out", open_folder / "x"],
        ["describe", open_folder / "x.yaml"],
    ):
        with unprivileged():
            assert_says(error(*arguments), open_folder)


def test_a_cache_that_cannot_be_written(
    error: Run, open_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVINET_NAS_CACHE", str(open_folder / "cache"))
    with tempfile.TemporaryDirectory() as out:
        os.chmod(out, 0o777)
        with unprivileged():
            assert_says(error("search", "tiny", "--out", f"{out}/run"), open_folder / "cache", "denied")
        assert os.listdir(out) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "tyni"], ["did you mean 'tiny'"]),
        (["search", "--resume", "/no/such"], ["/no/such"]),
    ],
)
def test_a_process_of_its_own_says_the_same(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "run_search.py"), *arguments]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert_says(checked(result.stderr), *words)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_for_what_is_printed() -> None:
    program = [sys.executable, str(ROOT / "run_search.py"), "describe", "a0"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2
    assert_says(checked(result.stderr), "standard output", "No space left")
