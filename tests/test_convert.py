"""Test `python -m movinet.convert`, which writes complete records of videos, or none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import tensorflow as tf
from painted import encode_painted
from test_records import read

from movinet.convert import main

ROOT = Path(__file__).parents[1]


def videos(root: Path) -> Path:
    for split, count in (("train", 5), ("val", 2)):
        for name in ("run", "walk"):
            for number in range(count):
                times = [Fraction(n, 25) for n in range(20 + number)]
                encode_painted(root / split / name / f"{number}.mp4", "libx264", times, 25)
    (root / "train" / "run" / "bad.mp4").write_text("no video" * 50)
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix == ".tfrecord"}


def convert(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_folder_becomes_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = videos(tmp_path / "v")
    assert convert(root, tmp_path / "out", "--shard-size", 4) == 0
    names = [f"train-{n:05d}-of-00003.tfrecord" for n in range(3)] + ["validation-00000-of-00001.tfrecord"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["classes.txt", "records.json", *names]
    assert (tmp_path / "out" / "classes.txt").read_text() == "run\nwalk\n"
    train = [record for name in names[:3] for record in read(tmp_path / "out" / name)]
    assert sorted((len(frames), label) for frames, label in train) == [
        (20 + n, label) for n in range(5) for label in (0, 1)
    ]
    assert all(frames == list(range(len(frames))) for frames, _ in train)
    assert [label for _, label in train] != sorted(label for _, label in train)  # classes are mixed
    assert [label for _, label in read(tmp_path / "out" / names[3])] == [0, 0, 1, 1]
    summary = json.loads((tmp_path / "out" / "records.json").read_text())
    assert summary["splits"]["train"]["count"] == 10 and summary["splits"]["validation"]["skipped"] == []
    assert [item["file"] for item in summary["splits"]["train"]["skipped"]] == ["train/run/bad.mp4"]
    printed = capsys.readouterr()
    assert "train: 10 videos, 1 skipped\n  train/run/bad.mp4: cannot be decoded" in printed.out
    assert "train: shard 3 of 3, 10 videos, 1 skipped" in printed.err
    assert {file.name for file in tmp_path.iterdir()} == {"v", "out", "out.lock"}


def test_it_is_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    root = videos(tmp_path / "v")
    for workers in (1, 3):
        assert convert(root, tmp_path / f"out{workers}", "--workers", workers, "--shard-size", 3) == 0
    assert content(tmp_path / "out1") == content(tmp_path / "out3")
    assert convert(root, tmp_path / "other", "--seed", 1, "--shard-size", 3) == 0
    assert content(tmp_path / "other") != content(tmp_path / "out1")


def test_rate_size_and_quality(tmp_path: Path) -> None:
    root = videos(tmp_path / "v")
    flags = ("--split", "val", "--target-fps", 5, "--short-side", 32, "--quality", 60)
    assert convert(root, tmp_path / "out", *flags) == 0
    (file,) = content(tmp_path / "out")
    assert [frames for frames, _ in read(tmp_path / "out" / file)] == [[0, 5, 10, 15]] * 4
    record = next(iter(tf.data.TFRecordDataset(str(tmp_path / "out" / file))))
    example = tf.train.SequenceExample.FromString(record.numpy())
    frame = example.feature_lists.feature_list["image/encoded"].feature[0].bytes_list.value[0]
    assert tf.io.decode_jpeg(frame).shape == (32, 64, 3)


def test_a_list_without_splits_becomes_one_of_all(tmp_path: Path) -> None:
    root = videos(tmp_path / "v")
    (tmp_path / "l.csv").write_text("label,file,start,end\nb,train/run/0.mp4,0.2,0.4\na,train/walk/0.mp4,,\n")
    assert convert(tmp_path / "l.csv", tmp_path / "out", "--video-root", root) == 0
    (file,) = content(tmp_path / "out")
    assert file == "all-00000-of-00001.tfrecord"
    assert read(tmp_path / "out" / file) == [([5, 6, 7, 8, 9], 1), (list(range(20)), 0)]


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (("--split", "devel"), "error: split: 'devel' must be one of"),
        (("--split", "test"), "'test' has no videos; splits with videos: train, validation"),
        (("--quality", "0"), "error: quality: 0 must be"),
        (("--target-fps", "-1"), "error: target_fps"),
        (("--shard-size", "0"), "error: shard_size"),
    ],
)
def test_bad_flags_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], rule: str
) -> None:
    assert convert(videos(tmp_path / "v"), tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert rule in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    assert convert(videos(tmp_path / "v"), tmp_path / "out") == 2
    assert "exists already" in capsys.readouterr().err
    assert convert(tmp_path / "nowhere", tmp_path / "other") == 2
    assert convert(tmp_path / "v", tmp_path / "v" / "train" / "run" / "0.mp4" / "out") == 2
    assert "records could not be written" in capsys.readouterr().err


def test_a_split_without_a_usable_video_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v" / "a").mkdir(parents=True)
    (tmp_path / "v" / "a" / "1.mp4").write_text("no video" * 50)
    assert convert(tmp_path / "v", tmp_path / "out", "--split", "all") == 2
    assert "were all skipped; the first: a/1.mp4 cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_killed_conversion_leaves_no_records_and_carries_on(tmp_path: Path) -> None:
    root = videos(tmp_path / "v")
    command = [sys.executable, "-m", "movinet.convert", str(root), str(tmp_path / "out"), "--shard-size", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ})
    assert process.stderr is not None
    while "shard 4 of" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "out").exists()
    partial = tmp_path / "out.partial"
    kept = {file.name: file.stat().st_mtime_ns for file in partial.glob("train-0000[0-3]*.tfrecord")}
    assert len(kept) == 4
    time.sleep(0.01)
    assert convert(root, tmp_path / "out", "--shard-size", 1) == 0
    assert not partial.exists()
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in kept} == kept
    assert convert(root, tmp_path / "whole", "--shard-size", 1) == 0
    assert content(tmp_path / "whole") == content(tmp_path / "out")
